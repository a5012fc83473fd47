#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
// What the gated delta rule knows of a chunk of tokens before it knows the state, by cooperative matrices: see
// runtime/ir/composites/recurrent/delta_parts.py. With T = (I + A)^-1 in fp32, from halves of k and q after their norm:
//   u = T (beta v),  w = T (beta exp(G) k),  grown = exp(G) q,  left = exp(G_C - G) k,  p = lower(q k^T L)
// all but u as halves times SCALE, since none is larger than 1.
// v has rows of any size: halves of it are of v times a power of two. What is no number is computed again in fp32, so
// that it reaches no token before it.
// A workgroup is eight subgroups and has a chunk of a head: two of them make what belongs to 16 tokens. Grid: chunks fastest, then heads, then sequences.

#include "maths.glsl"
#include "matrices.glsl"
#include "numbers.glsl"

layout(local_size_x_id = 0) in;

layout(std430, binding = 0) readonly buffer Q { vec4 q[]; };
layout(std430, binding = 1) readonly buffer K { vec4 k[]; };
layout(std430, binding = 2) readonly buffer V { vec4 v[]; };
layout(std430, binding = 3) readonly buffer Beta { float beta[]; };
layout(std430, binding = 4) readonly buffer Alpha { float alpha[]; };
layout(std430, binding = 5) readonly buffer A { float a[]; };
layout(std430, binding = 6) readonly buffer Dt { float dt[]; };
layout(std430, binding = 7) readonly buffer Valid { int n_valid[]; };
layout(std430, binding = 8) buffer W { uvec4 w[]; };
layout(std430, binding = 9) buffer Left { uvec4 left[]; };
layout(std430, binding = 10) buffer Grown { uvec4 grown[]; };
layout(std430, binding = 11) buffer Pairs { uvec4 p[]; };
layout(std430, binding = 12) buffer U { float u[]; };
layout(std430, binding = 13) buffer Ends { float ends[]; };
layout(push_constant) uniform Args {
    uint n_seqs, n_tokens, n_chunks;
    uint q_seq, q_token, q_head, q_at, k_at;  // k has q's strides, alpha has beta's
    uint v_seq, v_token, v_head, v_at;
    uint beta_seq, beta_token, beta_at, alpha_at;
    uint a_at, dt_at, n_valid_at;
    uint w_at, left_at, grown_at, p_at, u_at, ends_at;
};

const uint CHUNK = 64u, TILES = CHUNK / 16u;
#include "delta_heads.glsl"

const uint LOCAL = gl_WorkGroupSize.x;
const uint WIDE = DIM / 8u, PITCH = WIDE + 1u;  // of a row of halves, in words of eight
const uint PAIR_PITCH = CHUNK / 4u + 1u;  // of a row of A, in words of four floats
const uint ROOM = CHUNK * (PITCH > PAIR_PITCH ? PITCH : PAIR_PITCH);
const uint T_PITCH = CHUNK / 8u + 1u;
const uint SLICE = 8u;  // invocations that load a row
const uint OCTETS = WIDE / SLICE;  // of a row, an invocation
const uint N_SUMS = DIM / 32u;  // of a subgroup, for 16 tokens
const float SCALE = 16384.0;

shared uvec4 keys[CHUNK * PITCH];  // k, then v
shared uvec4 others[ROOM];  // q, then A and T as floats
shared uvec4 factors[CHUNK * T_PITCH];  // T with factors, as halves
shared float tops[8];  // one a subgroup
shared float grows[CHUNK];  // exp(G)
shared uint n_bad;

uint lane, seq, head, chunk, first, n;
uint part, second;  // the subgroup's 16 tokens, and which of two it is

#include "delta_sums.glsl"

#define PAIR(i, j) others[(i) * PAIR_PITCH + (j) / 4u][(j) % 4u]

float pair_of(uint i, uint j) {
    return uintBitsToFloat(PAIR(i, j));
}

uvec4 halves(vec4 a, vec4 b) {
    return uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
}

// Where the chunk's rows of a tensor [B, Hv, N, C, columns] start.
uint place(uint columns) {
    return ((seq * N_HEADS + head) * n_chunks + chunk) * CHUNK * columns;
}

// What column j of T is multiplied by: in u and in w.
float factor_of(uint j, bool is_grown) {
    return strengths[j] * (is_grown ? SCALE * grows[j] : 1.0);
}

float sum_of_slice(float x) {
    [[unroll]] for (uint mask = 1u; mask < SLICE; mask *= 2u) {
        x += subgroupShuffleXor(x, mask);
    }
    return x;
}

// k and q of the chunk, normed, into shared memory; with their decays into `left` and `grown`.
void take_rows() {
    uint key_first = seq * q_seq + key_of(head) * q_head, to = place(DIM) >> 3;
    for (uint row = lane / SLICE; row < CHUNK; row += LOCAL / SLICE) {
        uint from = (key_first + min(first + row, n_tokens - 1u) * q_token) >> 2;
        float there = first + row < n ? 1.0 : 0.0;
        vec4 of_k[2u * OCTETS], of_q[2u * OCTETS];
        vec2 squares = vec2(0);
        [[unroll]] for (uint i = 0u; i < 2u * OCTETS; i++) {
            uint at = from + i / 2u * 2u * SLICE + lane % SLICE * 2u + i % 2u;
            of_k[i] = there != 0.0 ? k[(k_at >> 2) + at] : vec4(0);
            of_q[i] = there != 0.0 ? q[(q_at >> 2) + at] : vec4(0);
            squares += vec2(dot(of_k[i], of_k[i]), dot(of_q[i], of_q[i]));
        }
        vec2 norms = 1.0 / sqrt(vec2(sum_of_slice(squares.x), sum_of_slice(squares.y)) + 1e-6);
        float stays = SCALE * norms.x * decay_between(sums[CHUNK - 1u], sums[row]);
        float grown_by = SCALE * norms.y * grows[row];
        [[unroll]] for (uint i = 0u; i < OCTETS; i++) {
            uint octet = lane % SLICE + i * SLICE;
            vec4 k0 = of_k[2u * i], k1 = of_k[2u * i + 1u], q0 = of_q[2u * i], q1 = of_q[2u * i + 1u];
            keys[row * PITCH + octet] = halves(k0 * norms.x, k1 * norms.x);
            others[row * PITCH + octet] = halves(q0 * norms.y, q1 * norms.y);
            left[(left_at >> 3) + to + row * WIDE + octet] = halves(k0 * stays, k1 * stays);
            grown[(grown_at >> 3) + to + row * WIDE + octet] = halves(q0 * grown_by, q1 * grown_by);
        }
    }
    barrier();
}

SUMS kk[TILES / 2u];  // tiles second, second + 2
SUMS qk[TILES / 2u];

// Products of the subgroup's tokens with those up to them.
void multiply_rows() {
    [[unroll]] for (uint c = 0u; c < TILES / 2u; c++) {
        kk[c] = NO_SUMS;
        qk[c] = NO_SUMS;
    }
    [[unroll]] for (uint d = 0u; d < DIM / 16u; d++) {
        LEFT of_k;
        LEFT of_q;
        LOAD_ROWS(of_k, keys, part * 16u * PITCH + 2u * d, PITCH);
        LOAD_ROWS(of_q, others, part * 16u * PITCH + 2u * d, PITCH);
        [[unroll]] for (uint c = 0u; c < TILES / 2u; c++) {
            if (2u * c + second <= part) {
                RIGHT other;
                LOAD_COLUMNS(other, keys, (2u * c + second) * 16u * PITCH + 2u * d, PITCH);
                ADD_PRODUCT(of_k, other, kk[c]);
                ADD_PRODUCT(of_q, other, qk[c]);
            }
        }
    }
    barrier();
}

void put_pairs() {
    [[unroll]] for (uint c = 0u; c < TILES / 2u; c++) {
        STORE_SUMS_IN_QUADS(qk[c], others, part * 16u * PAIR_PITCH + 4u * (2u * c + second), PAIR_PITCH);
    }
    barrier();
    for (uint item = lane; item < CHUNK * CHUNK / 8u; item += LOCAL) {
        uint row = item / (CHUNK / 8u), octet = item % (CHUNK / 8u);
        float x[8];
        [[unroll]] for (uint e = 0u; e < 8u; e++) {
            uint j = octet * 8u + e;
            x[e] = j <= row ? SCALE * decay_between(sums[row], sums[j]) * pair_of(row, j) : 0.0;
        }
        p[((p_at + place(CHUNK)) >> 3) + item] = halves(vec4(x[0], x[1], x[2], x[3]), vec4(x[4], x[5], x[6], x[7]));
    }
    barrier();
}

// A: what each token's correction takes from those before it.
void set_up() {
    [[unroll]] for (uint c = 0u; c < TILES / 2u; c++) {
        STORE_SUMS_IN_QUADS(kk[c], others, part * 16u * PAIR_PITCH + 4u * (2u * c + second), PAIR_PITCH);
    }
    barrier();
    for (uint item = lane; item < CHUNK * CHUNK / 4u; item += LOCAL) {
        uint row = item / (CHUNK / 4u), quad = item % (CHUNK / 4u);
        vec4 x = uintBitsToFloat(others[row * PAIR_PITCH + quad]);
        [[unroll]] for (uint e = 0u; e < 4u; e++) {
            uint j = quad * 4u + e;
            x[e] = j < row ? strengths[row] * decay_between(sums[row], sums[j]) * x[e] : 0.0;
        }
        others[row * PAIR_PITCH + quad] = floatBitsToUint(x);
    }
    barrier();
}

#include "delta_inverse.glsl"

// T with a factor for each column, as halves.
void put_factors(bool is_grown) {
    for (uint item = lane; item < CHUNK * CHUNK / 8u; item += LOCAL) {
        uint row = item / (CHUNK / 8u), octet = item % (CHUNK / 8u);
        float x[8];
        [[unroll]] for (uint e = 0u; e < 8u; e++) {
            uint j = octet * 8u + e;
            x[e] = j <= row ? pair_of(row, j) * factor_of(j, is_grown) : 0.0;
        }
        factors[row * T_PITCH + octet] = halves(vec4(x[0], x[1], x[2], x[3]), vec4(x[4], x[5], x[6], x[7]));
    }
    barrier();
}

SUMS made[N_SUMS];

// Of all invocations.
bool are_numbers() {
    bool is_good = true;
    [[unroll]] for (uint d = 0u; d < N_SUMS; d++) {
        [[unroll]] for (uint e = 0u; e < made[d].length(); e++) {
            is_good = is_good && is_finite(made[d][e]);
        }
    }
    if (!is_good) {
        atomicOr(n_bad, 1u);
    }
    barrier();
    is_good = n_bad == 0u;
    barrier();
    if (lane == 0u) {
        n_bad = 0u;
    }
    return is_good;
}

// T with factors times the rows in `keys`; whether all of it are numbers.
bool multiply_factors() {
    [[unroll]] for (uint d = 0u; d < N_SUMS; d++) {
        made[d] = NO_SUMS;
    }
    [[unroll]] for (uint c = 0u; c < TILES; c++) {
        if (c <= part) {
            LEFT of_t;
            LOAD_ROWS(of_t, factors, part * 16u * T_PITCH + 2u * c, T_PITCH);
            [[unroll]] for (uint d = 0u; d < N_SUMS; d++) {
                RIGHT rows;
                LOAD_ROWS(rows, keys, c * 16u * PITCH + 2u * (second * N_SUMS + d), PITCH);
                ADD_PRODUCT(of_t, rows, made[d]);
            }
        }
    }
    return are_numbers();
}

vec4 exact_w(uint row, uint at) {
    vec4 sum = vec4(0);
    for (uint j = 0u; j <= row; j++) {
        uint low = keys[j * PITCH + at / 2u][at % 2u * 2u], high = keys[j * PITCH + at / 2u][at % 2u * 2u + 1u];
        vec4 x = vec4(f16_to_f32(low & 0xffffu), f16_to_f32(low >> 16), f16_to_f32(high & 0xffffu), f16_to_f32(high >> 16));
        sum += pair_of(row, j) * factor_of(j, true) * x;
    }
    return sum;
}

void put_w() {
    put_factors(true);
    uint to = (w_at + place(DIM)) >> 3;
    if (multiply_factors()) {
        [[unroll]] for (uint d = 0u; d < N_SUMS; d++) {
            STORE_HALVES(made[d], w, to + part * 16u * WIDE + 2u * (second * N_SUMS + d), WIDE);
        }
    } else {
        for (uint item = lane; item < CHUNK * WIDE; item += LOCAL) {
            uint row = item / WIDE, octet = item % WIDE;
            w[to + item] = halves(exact_w(row, 2u * octet), exact_w(row, 2u * octet + 1u));
        }
    }
}

#include "delta_values.glsl"

// A chunk without tokens.
void put_nothing() {
    uint to = place(DIM) >> 3;
    for (uint item = lane; item < CHUNK * WIDE; item += LOCAL) {
        w[(w_at >> 3) + to + item] = left[(left_at >> 3) + to + item] = grown[(grown_at >> 3) + to + item] = uvec4(0);
    }
    for (uint item = lane; item < CHUNK * CHUNK / 8u; item += LOCAL) {
        p[((p_at + place(CHUNK)) >> 3) + item] = uvec4(0);
    }
    for (uint item = lane; item < CHUNK * DIM; item += LOCAL) {
        u[u_at + place(DIM) + item] = 0.0;
    }
}

// What is done for a chunk with tokens; its ends.
vec2 take_chunk() {
    if (lane == 0u) {
        n_bad = 0u;
    }
    fetch_values();
    take_gates(first);
    if (lane < CHUNK) {
        grows[lane] = decay_between(sums[lane], vec2(0));
    }
    barrier();
    take_rows();
    multiply_rows();
    put_pairs();
    set_up();
    invert();
    put_w();
    return vec2(grows[CHUNK - 1u], put_u());
}

void main() {
    uint group = group_index();
    lane = gl_LocalInvocationIndex, part = gl_SubgroupID % TILES, second = gl_SubgroupID / TILES;
    chunk = group % n_chunks, head = group / n_chunks % N_HEADS, seq = group / n_chunks / N_HEADS, first = chunk * CHUNK;
    if (seq >= n_seqs) {
        return;
    }
    n = uint(clamp(n_valid[n_valid_at + seq], 0, int(n_tokens)));
    vec2 of_chunk = vec2(1, 0);
    if (first < n) {
        of_chunk = take_chunk();
    } else {
        put_nothing();
    }
    if (lane == 0u) {
        uint at = ends_at + ((seq * N_HEADS + head) * n_chunks + chunk) * 2u;
        ends[at] = of_chunk.x;
        ends[at + 1u] = of_chunk.y;
    }
}
