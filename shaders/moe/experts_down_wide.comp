#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
// experts_down.comp for GPUs with subgroups (wide.glsl): the rows of a token's experts and of the shared one joined to one
// long row. Piece p is of slot p / (pieces of an expert), and beyond all slots of the shared expert.
// TYPE_<name>: the type of down; SECOND_<name>: that of shared_down, if another. Grid: tiles of rows, then tokens n.

#if defined(SECOND_F32) || defined(SECOND_F16) || defined(SECOND_Q8_0)
#define TWO_TYPES
#endif
#define N_WEIGHTS 2
#define N_FIRST 1u
#define TAKE(p) uint piece = take(p)
#define X_QUAD(c, p, quad) hidden_quad(p, quad)
#include "maths.glsl"
#define TABLE_SHARED
#include "weights.glsl"
#include "experts_down_args.glsl"

layout(std430, binding = 2) readonly buffer Hidden4 { vec4 hidden4[]; };
layout(std430, binding = 3) readonly buffer SharedHidden4 { vec4 shared_hidden4[]; };

uint n_inner, n, m, n_pieces;

uint take(uint p);
vec4 hidden_quad(uint p, uint quad);

#include "../matmul/wide.glsl"

uint slot_of(uint p) {
    return p / (n_inner_experts >> 5);
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

// With the factor of the piece's expert.
vec4 hidden_quad(uint p, uint quad) {
    uint piece = take(p);
    if (source == 1u) {
        uint at = shared_at + n * shared_token + quad_place(piece, quad, n_inner);
        vec4 x = (at & 3u) == 0u ? shared_hidden4[at >> 2] : vec4(shared_hidden[at], shared_hidden[at + 1u],
                                                                  shared_hidden[at + 2u], shared_hidden[at + 3u]);
        return shared_factor(n) * x;
    }
    uint j = slot_of(p), at = hidden_at + n * hidden_token + j * hidden_slot + quad_place(piece, quad, n_inner);
    vec4 x = (at & 3u) == 0u ? hidden4[at >> 2] : vec4(hidden[at], hidden[at + 1u], hidden[at + 2u], hidden[at + 3u]);
    return factors[factors_at + n * factors_token + j * factors_slot] * x;
}

void take_tile(uint t) {
}

void store_tile(uint t) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        uint row = m + r * ROW_STEP;
        if (is_writer() && row < n_rows) {
            y[y_at + n * y_token + row] = residual[residual_at + n * residual_token + row] + sums[r][0];
        }
    }
}

void add_joined(uint first, uint stop) {
    load_rows(first + min(invocation() % ALONG, stop - first - 1u));
    add_pieces(0u, 0u, first, stop, false);
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
