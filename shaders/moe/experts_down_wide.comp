#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#if defined(DOT) && !defined(TEXT)
#extension GL_EXT_spirv_intrinsics : require
#endif
// experts_down.comp for GPUs with subgroups (wide.glsl): the rows of a token's experts and of the shared one joined to one
// long row. Piece p is of slot p / (pieces of an expert), and beyond all slots of the shared expert.
// TYPE_<name>: the type of down; SECOND_<name>: that of shared_down, if another. Grid: tiles of rows, then tokens n.

#if defined(SECOND_F32) || defined(SECOND_F16) || defined(SECOND_Q8_0)
#define TWO_TYPES
#endif
#define N_WEIGHTS 2
#define N_FIRST 1u
#define TAKE(p) uint piece = take(p)
#define QUADS_GIVEN
#define X_GIVEN
#define AFTER_ASKING load_first_rows()
#include "maths.glsl"
#define TABLE_SHARED
#include "weights.glsl"
#include "experts_down_args.glsl"

layout(std430, binding = 2) readonly buffer Hidden4 { vec4 hidden4[]; };
layout(std430, binding = 3) readonly buffer SharedHidden4 { vec4 shared_hidden4[]; };

uint n_inner, n, m, n_pieces;

uint take(uint p);
void load_first_rows();

#include "../matmul/wide.glsl"

uint slot_of(uint p) {
    return fast_div(p, per_magic, per_shift);
}

// Sets where rows begin that piece p is of; its number in them.
uint take(uint p) {
    bool is_shared = p >= n_pieces;
#if defined(TWO_TYPES)
    is_shared = source == 1u;
#else
    source = is_shared ? 1u : 0u;
#endif
    uint j = slot_of(p), first = shared_down_at, step_ = shared_down_row;
    n_inner = n_inner_shared;
    if (!is_shared) {
        uint e = uint(clamp(ids[ids_at + n * ids_token + j * ids_slot], 0, int(n_experts) - 1));
        first = down_at + e * down_expert;
        step_ = down_row;
        n_inner = n_inner_experts;
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        rows[r] = first + min(m + r * ROW_STEP, n_rows - 1u) * step_;
    }
    return p - (is_shared ? n_pieces : j * (n_inner_experts >> 5));
}

float gate, open;  // of the shared expert, as it stands there and as a factor

// With the factor of the piece's expert, or 1 beside it for the shared one.
Asked ask_quad(uint c, uint p, uint quad) {
    uint piece = take(p), j = source == 1u ? 0u : slot_of(p), k = quad_place(piece, quad, n_inner);
    float factor = factors[factors_at + n * factors_token + j * factors_slot];
    vec4 beside = vec4(factor, float(source), 0, 0);
    if (source == 1u) {
        uint at = shared_at + n * shared_token + k;
        if (X_ALIGNED != 0u) {
            return Asked(shared_hidden4[at >> 2], beside);
        }
        return Asked(vec4(shared_hidden[at], shared_hidden[at + 1u], shared_hidden[at + 2u], shared_hidden[at + 3u]), beside);
    }
    uint at = hidden_at + n * hidden_token + j * hidden_slot + k;
    if (X_ALIGNED != 0u) {
        return Asked(hidden4[at >> 2], beside);
    }
    return Asked(vec4(hidden[at], hidden[at + 1u], hidden[at + 2u], hidden[at + 3u]), beside);
}

vec4 made_quad(uint c, Asked quad) {
    return quad.a * (quad.b.y == 0.0 ? quad.b.x : open);
}

void take_tile(uint t) {
}

void of_tile(uint t) {
}

float added;

void start_tile(uint t) {
    uint row = m + own_row() * ROW_STEP;
    if (is_writer() && row < n_rows) {
        added = residual[residual_at + n * residual_token + row];
    }
}

void store_tile(uint t) {
    uint row = m + own_row() * ROW_STEP;
    if (is_writer() && row < n_rows) {
        y[y_at + n * y_token + row] = added + sum_of(own_row(), 0u);
    }
}

uint first_piece, stop_piece;
bool is_started;  // the first pieces of rows are on their way

// Rows stand where ids say, so that columns, which need none, are asked for before.
void load_first_rows() {
    if (!is_started) {
        is_started = true;
        load_rows(first_piece + min(invocation() % ALONG, stop_piece - first_piece - 1u));
        open = OPEN != 0u ? 1.0 : sigmoid(gate);
    }
}

void add_joined(uint first, uint stop) {
    first_piece = first;
    stop_piece = stop;
    is_started = false;
    if (HELD_AHEAD) {
        hold_columns(first, min(HELD, stop - first));
    }
    add_pieces(0u, 0u, first, stop, HELD_AHEAD);
}

void main() {
    fill_table(gl_WorkGroupSize.x);  // the barrier before the first columns is its too
    await_inputs();
    uint tiles = (n_rows + TILE_OF(ROWS) - 1u) / TILE_OF(ROWS), group = group_index();
    n = group / tiles;
    m = group % tiles * TILE_OF(ROWS) + FIRST_ROW;
    if (n >= n_tokens) {
        return;
    }
    gate = shared_gate[gate_at + n * gate_token];
    n_pieces = n_slots * (n_inner_experts >> 5);
    uint n_shared = n_inner_shared >> 5;
    clear_sums();
#if defined(TWO_TYPES)
    source = 0u;
    add_joined(0u, n_pieces);
    source = 1u;
    add_joined(n_pieces, n_pieces + n_shared);
#else
    add_joined(0u, n_pieces + n_shared);
#endif
    gather_sums(0u);
    store_tile(0u);
}
