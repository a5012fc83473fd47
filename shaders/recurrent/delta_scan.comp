#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
// The gated delta rule, chunk after chunk, from what delta_parts.comp made of each, by cooperative matrices:
//   X = u - w S^T,  o = (grown S^T + p X) / sqrt(DIM),  S = exp(G_C) S + X^T left
// Sums are fp32, the state stays in registers; halves of S and X are of a power of two of them. Where that yields what
// is no number, the chunk is taken again in fp32.
// A workgroup has ROWS rows of a head's state, and four subgroups for each 16 of them: such a one makes X and o of 16
// tokens, and a quarter of S's columns. Grid: tiles of rows fastest, then heads, then sequences.

#include "maths.glsl"
#include "matrices.glsl"
#include "numbers.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 3) const uint DIM = 128;
layout(constant_id = 4) const uint N_HEADS = 1;
layout(constant_id = 9) const uint ROWS = 32;
const uint STATE_SIZE = DIM * DIM;

layout(std430, binding = 0) readonly buffer W { uvec4 w[]; };
layout(std430, binding = 1) readonly buffer Left { uvec4 left[]; };
layout(std430, binding = 2) readonly buffer Grown { uvec4 grown[]; };
layout(std430, binding = 3) readonly buffer Pairs { uvec4 p[]; };
layout(std430, binding = 4) readonly buffer U { float u[]; };
layout(std430, binding = 5) readonly buffer Ends { float ends[]; };
layout(std430, binding = 6) buffer State { float state[]; };
layout(std430, binding = 7) readonly buffer Slots { int slots[]; };
layout(std430, binding = 8) readonly buffer Valid { int n_valid[]; };
layout(std430, binding = 9) buffer Y { float y[]; };
layout(push_constant) uniform Args {
    uint n_seqs, n_tokens, n_chunks, n_slots;
    uint w_at, left_at, grown_at, p_at, u_at, ends_at;
    uint state_slot, state_at, slots_at, n_valid_at;
    uint y_seq, y_token, y_head, y_at;
};

#include "delta_slots.glsl"

const uint CHUNK = 64u, TILES = CHUNK / 16u;
const uint LOCAL = gl_WorkGroupSize.x;
const uint WIDE = DIM / 8u, PITCH = WIDE + 1u, X_PITCH = ROWS / 8u + 1u;  // of rows of halves, in words of eight
const uint DIM_TILES = DIM / 16u / TILES;  // of a subgroup's part of S
const float SCALE = 16384.0;

shared uvec4 state_halves[ROWS * PITCH], x_halves[CHUNK * X_PITCH];
shared vec4 exact_state[ROWS * DIM / 4u], exact_x[CHUNK * ROWS / 4u];  // whose places matrices want at 16 bytes
shared float tops[ROWS / 4u];  // one a subgroup
shared uint bad;  // chunks up to one that halves could not hold

#define EXACT_STATE(i) exact_state[(i) / 4u][(i) % 4u]
#define EXACT_X(i) exact_x[(i) / 4u][(i) % 4u]

uint lane, part, of_rows, seq, head, n, row_first;  // part: a quarter of tokens and columns; of_rows: 16 of ROWS
float sigma;  // S and X are times this

SUMS s[DIM_TILES];
SUMS next_s[DIM_TILES];
SUMS x;
SUMS o;

uint chunk_of(uint chunk) {
    return (seq * N_HEADS + head) * n_chunks + chunk;
}

// Of tile i of the subgroup's part of S.
uint first_column(uint i) {
    return (part * DIM_TILES + i) * 16u;
}

float power_of_two(int exponent) {
    return uintBitsToFloat(uint(127 + clamp(exponent, -100, 100)) << 23);
}

// For set_scale, after a barrier: the largest finite number of the subgroup's part of S.
void note_top() {
    float top = 0.0;
    [[unroll]] for (uint i = 0u; i < DIM_TILES; i++) {
        [[unroll]] for (uint e = 0u; e < s[i].length(); e++) {
            top = is_finite(s[i][e]) ? max(top, abs(s[i][e])) : top;
        }
    }
    top = subgroupMax(top);
    if (gl_SubgroupInvocationID == 0u) {
        tops[gl_SubgroupID] = top;
    }
}

int exponent_of(float x) {
    return int(floatBitsToUint(x) >> 23) - 127;
}

// Halves hold S and X of a chunk best where the largest is about 2^8: both may grow.
void set_scale(uint chunk) {
    float top = chunk * CHUNK < n ? ends[ends_at + 2u * chunk_of(chunk) + 1u] * sigma : 0.0;
    for (uint i = 0u; i < ROWS / 4u; i++) {
        top = max(top, tops[i]);
    }
    float scale = power_of_two(exponent_of(sigma) + 8 - exponent_of(top));
    [[unroll]] for (uint i = 0u; i < DIM_TILES; i++) {
        [[unroll]] for (uint e = 0u; e < s[i].length(); e++) {
            s[i][e] *= scale / sigma;
        }
        STORE_HALVES(s[i], state_halves, of_rows * PITCH + first_column(i) / 8u, PITCH);
    }
    sigma = scale;
}

void load_state(uint from) {
    [[unroll]] for (uint i = 0u; i < DIM_TILES; i++) {
        LOAD_SUMS(s[i], state, from + (row_first + of_rows) * DIM + first_column(i), DIM);
    }
    sigma = 1.0;
    note_top();
    barrier();
    set_scale(0u);
    barrier();
}

void store_state(uint to) {
    [[unroll]] for (uint i = 0u; i < DIM_TILES; i++) {
        SUMS plain = s[i];
        [[unroll]] for (uint e = 0u; e < plain.length(); e++) {
            plain[e] *= 1.0 / sigma;
        }
        STORE_SUMS(plain, state, to + (row_first + of_rows) * DIM + first_column(i), DIM);
    }
}

void store_places(uint first) {
    for (uint place = FIRST_PLACE; place < N_PLACES; place++) {
        int slot = place_of(place, seq, first, first + CHUNK >= n);
        if (is_slot(slot)) {
            store_state(state_of(slot, head));
        }
    }
}

// X of the subgroup's tokens, and what the old state gives to o.
void meet_state(uint chunk) {
    uint from = chunk_of(chunk) * CHUNK * WIDE + part * 16u * WIDE;
    SUMS of_u;
    LOAD_SUMS(of_u, u, u_at + 8u * from + row_first + of_rows, DIM);
    x = NO_SUMS;
    o = NO_SUMS;
    [[unroll]] for (uint d = 0u; d < DIM / 16u; d++) {
        LEFT of_w;
        LEFT of_q;
        RIGHT of_s;
        LOAD_ROWS(of_w, w, (w_at >> 3) + from + 2u * d, WIDE);
        LOAD_ROWS(of_q, grown, (grown_at >> 3) + from + 2u * d, WIDE);
        LOAD_COLUMNS(of_s, state_halves, of_rows * PITCH + 2u * d, PITCH);
        ADD_PRODUCT(of_w, of_s, x);
        ADD_PRODUCT(of_q, of_s, o);
    }
    [[unroll]] for (uint e = 0u; e < x.length(); e++) {
        x[e] = of_u[e] * sigma - x[e] * (1.0 / SCALE);
    }
    STORE_HALVES(x, x_halves, part * 16u * X_PITCH + of_rows / 8u, X_PITCH);
    barrier();
}

// What the chunk's own tokens give to o.
void add_pairs(uint chunk) {
    uint from = (p_at >> 3) + chunk_of(chunk) * CHUNK * (CHUNK / 8u) + part * 16u * (CHUNK / 8u);
    [[unroll]] for (uint c = 0u; c < TILES; c++) {
        if (c <= part) {
            LEFT of_p;
            RIGHT of_x;
            LOAD_ROWS(of_p, p, from + 2u * c, CHUNK / 8u);
            LOAD_ROWS(of_x, x_halves, c * 16u * X_PITCH + of_rows / 8u, X_PITCH);
            ADD_PRODUCT(of_p, of_x, o);
        }
    }
}

void make_state(uint chunk) {
    uint from = (left_at >> 3) + chunk_of(chunk) * CHUNK * WIDE;
    [[unroll]] for (uint i = 0u; i < DIM_TILES; i++) {
        next_s[i] = NO_SUMS;
    }
    [[unroll]] for (uint c = 0u; c < TILES; c++) {
        LEFT of_x;
        LOAD_COLUMNS(of_x, x_halves, c * 16u * X_PITCH + of_rows / 8u, X_PITCH);
        [[unroll]] for (uint i = 0u; i < DIM_TILES; i++) {
            RIGHT of_k;
            LOAD_ROWS(of_k, left, from + c * 16u * WIDE + first_column(i) / 8u, WIDE);
            ADD_PRODUCT(of_x, of_k, next_s[i]);
        }
    }
    float kept = ends[ends_at + 2u * chunk_of(chunk)];
    [[unroll]] for (uint i = 0u; i < DIM_TILES; i++) {
        [[unroll]] for (uint e = 0u; e < s[i].length(); e++) {
            next_s[i][e] = s[i][e] * kept + next_s[i][e] * (1.0 / SCALE);
        }
    }
}

bool is_good() {
    bool good = true;
    [[unroll]] for (uint i = 0u; i < DIM_TILES; i++) {
        [[unroll]] for (uint e = 0u; e < next_s[i].length(); e++) {
            good = good && is_finite(next_s[i][e]);
        }
    }
    [[unroll]] for (uint e = 0u; e < o.length(); e++) {
        good = good && is_finite(o[e]);
    }
    return good;
}

uint y_of(uint t) {
    return y_at + seq * y_seq + t * y_token + head * y_head + row_first;
}

// Tokens that do not count give 0.
void store_output(uint t, uint row, float value) {
    if (t < n_tokens) {
        y[y_of(t) + row] = t < n ? value / (SCALE * sigma * sqrt(float(DIM))) : 0.0;
    }
}

void store_outputs(uint first) {
    uint t = first + part * 16u, at = gl_SubgroupID * 256u;
    if (first + CHUNK <= n && ((y_of(t) | y_token) & 3u) == 0u) {
        [[unroll]] for (uint e = 0u; e < o.length(); e++) {
            o[e] *= 1.0 / (SCALE * sigma * sqrt(float(DIM)));
        }
        STORE_SUMS(o, y, y_of(t) + of_rows, y_token);
        return;
    }
    STORE_SUMS(o, exact_x, at / 4u, 4u);
    subgroupBarrier();
    for (uint e = gl_SubgroupInvocationID; e < 256u; e += gl_SubgroupSize) {
        store_output(t + e / 16u, of_rows + e % 16u, EXACT_X(at + e));
    }
}

#include "delta_exact.glsl"

void take_chunk(uint chunk) {
    meet_state(chunk);
    add_pairs(chunk);
    make_state(chunk);
    if (!is_good()) {
        atomicMax(bad, chunk + 1u);
    }
    barrier();
    if (bad == chunk + 1u) {
        redo(chunk);
    } else {
        store_outputs(chunk * CHUNK);
        [[unroll]] for (uint i = 0u; i < DIM_TILES; i++) {
            s[i] = next_s[i];
        }
    }
    note_top();
    barrier();
    set_scale(chunk + 1u);
    barrier();
}

void main() {
    uint group = group_index(), row_tiles = DIM / ROWS;
    lane = gl_LocalInvocationIndex, part = gl_SubgroupID % TILES, of_rows = gl_SubgroupID / TILES * 16u;
    head = group / row_tiles % N_HEADS, seq = group / row_tiles / N_HEADS, row_first = group % row_tiles * ROWS;
    if (seq >= n_seqs) {
        return;
    }
    n = uint(clamp(n_valid[n_valid_at + seq], 0, int(n_tokens)));
    if (lane == 0u) {
        bad = 0u;
    }
    load_state(state_of(slot_of(seq, 0u), head));
    uint first = 0u;
    for (; first < n; first += CHUNK) {
        take_chunk(first / CHUNK);
        store_places(first);
    }
    for (uint i = first * ROWS + lane; i < n_tokens * ROWS; i += LOCAL) {
        y[y_of(i / ROWS) + i % ROWS] = 0.0;
    }
}
