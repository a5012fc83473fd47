// attention_decode.comp by cooperative matrices, for caches of fp16: the HEADS query heads that share a key are rows of
// a matrix, so that a key costs next to no instructions. Matrices have 16 rows for at most eight heads: rows h and h + 8
// hold head h's queries, and weights, as two halves whose sum they are, and so nothing is lost to halves.
// A subgroup scores blocks of 16 keys of a tile, then sums 32 dims of the values, of all of its keys or of every SETS-th
// 32. It holds PIECES of 2 KB in registers: where one of the keys is used up a piece of the values is asked for, and the
// other way round, so that memory never waits for arithmetic. No piece is used in a branch, where compilers wait for all
// that was asked for since; so what lies beyond the part repeats its last row.
//   y as in attention_decode.comp
// DIM is 64, 128 or 256. q, y: inner stride 1; caches whose rows begin at multiples of 8 halves; slots are clamped.
// -DROPE: q and the step's own keys and values come as projections make them, see attention_inputs.glsl. The own row of
// a cache is written by the first part, read by none: its numbers are known to all. Subgroups have DIM / 8 invocations
// and more.
// Grid: a workgroup for each HEADS heads of each part of each sequence.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#ifdef ROPE
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#include "maths.glsl"
#ifdef ROPE
#include "numbers.glsl"
#endif

layout(local_size_x_id = 0) in;  // eight subgroups
layout(constant_id = 1) const uint DIM = 64;
layout(constant_id = 2) const uint HEADS = 1;  // at most eight

#include "attention_parts.glsl"

const uint LANES = gl_WorkGroupSize.x / 8u, ITEMS = 128u / LANES;  // octets of a piece that a lane has
const uint OCTETS = DIM / 8u, WIDTHS = DIM / 64u;  // of a row, pieces of the keys beside each other
const uint BLOCKS = DIM > 128u ? 1u : 2u, PIECES = BLOCKS * WIDTHS, TILE = 128u * BLOCKS;
const uint GROUPS = DIM / 32u, SETS = 8u / GROUPS;  // of subgroups, for the values
const uint QUERY_OCTETS = (OCTETS + LANES - 1u) / LANES;  // of a head's that a lane has
const uint PAIRS = TILE / 2u / LANES;  // of keys, whose weights a lane makes
const uint Q_PITCH = OCTETS + 1u, P_PITCH = TILE / 8u + 1u, K_PITCH = 9u, V_PITCH = 5u;
const uint STAGE = 32u * V_PITCH;  // room of a subgroup, for a piece or for scores or sums
const uint RESIDENT = 2u;  // workgroups of a processor: while one is at a barrier the other's loads are under way
const float HALVES_UP = 16384.0;  // so far up halves hold what is small beside the largest number

shared uvec4 queries[16u * Q_PITCH], probs[16u * P_PITCH], stage[8u * STAGE];
shared float shrinks[256];  // of each row, in all 16 columns

uvec4 held[PIECES * ITEMS];
float query[8u * QUERY_OCTETS];
coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> scores[BLOCKS];
coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> sums[2];
uint k_first, v_first, n_keys;  // the part's keys from there on, in octets
float top = -INFINITY, total = 0.0, unscale;  // of the subgroup's head; those beyond HEADS repeat the last one

uint lane() {
    return gl_SubgroupInvocationID;
}

uint own_stage() {
    return gl_SubgroupID * STAGE;
}

uint invocation() {
    return gl_SubgroupID * LANES + lane();
}

#ifdef ROPE
const uint TEAM = OCTETS;

// A subgroup's hold the same.
uint team() {
    return gl_SubgroupID + lane() / TEAM * 8u;
}

#include "attention_inputs.glsl"

int own_key, aside;  // the own row, counted from the part's first key; from there to a neighbour
#endif

// Two numbers cut to halves, and what those miss: drivers take a half and back for the number itself.
uvec2 in_two(vec2 x) {
    vec2 large = uintBitsToFloat(floatBitsToUint(x) & 0xffffe000u);
    return uvec2(packHalf2x16(large), packHalf2x16(x - large));
}

// Of 16 keys 64 dims each: how far a lane's i-th octet of a piece stands below its first row, that of its first piece.
uint key_step(uint piece, uint i) {
    return piece / WIDTHS * 128u + i * (LANES / 8u);
}

uint key_row() {
    return gl_SubgroupID * 16u + lane() / 8u;
}

// The same of 32 values, 32 dims each; no eight lanes next to each other meet in a bank.
uint value_step(uint piece, uint i) {
    return piece * SETS * 32u + i * LANES / 32u * 8u + i * LANES % 32u / 8u;
}

uint value_row() {
    return gl_SubgroupID / GROUPS * 32u + lane() / 32u * 8u + lane() % 32u / 8u + lane() / 4u % 2u * 4u;
}

// How far down stands what is read in the place of a row, in a tile whose own row is so far down: that one is another's to
// write, and a neighbour comes for it.
uint beside(int down, int own) {
#ifdef ROPE
    down += down == own ? aside : 0;
#endif
    return uint(down);
}

// Keys beyond the last of n repeat it.
void load_keys(uint piece, uint first, uint n, int own) {
    uint at = first + key_row() * K_ROW + lane() % 8u;
    int up = int(key_row()), last = int(n) - 1 - up;
    [[unroll]] for (uint i = 0u; i < ITEMS; i++) {
        uint down = beside(min(int(key_step(piece, i)), last), own - up);
        held[piece * ITEMS + i] = k[at + down * K_ROW + piece % WIDTHS * 8u];
    }
}

void load_values(uint piece, uint first, uint n, int own) {
    uint at = first + value_row() * V_ROW + gl_SubgroupID % GROUPS * 4u + lane() % 4u;
    int up = int(value_row()), last = int(n) - 1 - up;
    [[unroll]] for (uint i = 0u; i < ITEMS; i++) {
        held[piece * ITEMS + i] = v[at + beside(min(int(value_step(piece, i)), last), own - up) * V_ROW];
    }
}

#ifdef ROPE
// What is staged of the own row is replaced by those that staged it.
void put_own_key(uint piece, int own) {
    uint row = uint(own) - gl_SubgroupID * 16u - key_step(piece, 0u), place = lane() % 8u;
    if (row < 16u && row % (LANES / 8u) == lane() / 8u) {
        stage[own_stage() + row * K_PITCH + place] = fresh[piece % WIDTHS * 8u + place];
    }
}

void put_own_value(uint piece, uint n, int own) {
    uvec4 value = fresh[OCTETS + gl_SubgroupID % GROUPS * 4u + lane() % 4u];
    [[unroll]] for (uint i = 0u; i < ITEMS; i++) {
        if (min(value_row() + value_step(piece, i), n - 1u) == uint(own)) {
            stage[own_stage() + (value_row() % 32u + value_step(0u, i)) * V_PITCH + lane() % 4u] = value;
        }
    }
}
#endif

void add_keys(uint piece, int own) {
    subgroupBarrier();
    [[unroll]] for (uint i = 0u; i < ITEMS; i++) {
        stage[own_stage() + (lane() / 8u + key_step(0u, i)) * K_PITCH + lane() % 8u] = held[piece * ITEMS + i];
    }
#ifdef ROPE
    put_own_key(piece, own);
#endif
    subgroupBarrier();
    [[unroll]] for (uint d = 0u; d < 8u; d += 2u) {
        coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> rows;
        coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB> keys;
        coopMatLoad(rows, queries, piece % WIDTHS * 8u + d, Q_PITCH, gl_CooperativeMatrixLayoutRowMajor);
        coopMatLoad(keys, stage, own_stage() + d, K_PITCH, gl_CooperativeMatrixLayoutColumnMajor);
        scores[piece / WIDTHS] = coopMatMulAdd(rows, keys, scores[piece / WIDTHS]);
    }
}

void put_scores() {
    subgroupBarrier();
    [[unroll]] for (uint b = 0u; b < BLOCKS; b++) {
        coopMatStore(scores[b], stage, own_stage() + b * 64u, 4u, gl_CooperativeMatrixLayoutRowMajor);
        scores[b] = coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0.0);
    }
}

float score_of(uint at, uint c) {
    float z = (uintBitsToFloat(stage[at][c]) + uintBitsToFloat(stage[at + 32u][c])) * unscale;
    return p.cap > 0.0 ? p.cap * tanh_of(z / p.cap) : z;
}

// The weights of a tile's n keys, a head a subgroup.
void weigh(uint h, uint n) {
    vec2 z[PAIRS];
    float most = top, sum = 0.0;
    [[unroll]] for (uint i = 0u; i < PAIRS; i++) {
        uint pair = i * LANES + lane(), at = pair / 8u % 8u * STAGE + pair / 64u * 64u + h * 4u + pair % 8u / 2u;
        z[i] = vec2(score_of(at, pair % 2u * 2u), score_of(at, pair % 2u * 2u + 1u));
        z[i] = vec2(2u * pair < n ? z[i].x : -INFINITY, 2u * pair + 1u < n ? z[i].y : -INFINITY);
        most = max(most, max(z[i].x, z[i].y));
    }
    float higher = subgroupMax(most), shrink = exp_of(top - higher);
    [[unroll]] for (uint i = 0u; i < PAIRS; i++) {
        uint pair = i * LANES + lane();
        vec2 weight = vec2(exp_of(z[i].x - higher), exp_of(z[i].y - higher));
        uvec2 halves = in_two(weight * HALVES_UP);
        probs[h * P_PITCH + pair / 4u][pair % 4u] = halves.x;
        probs[(h + 8u) * P_PITCH + pair / 4u][pair % 4u] = halves.y;
        sum += weight.x + weight.y;
    }
    total = total * shrink + subgroupAdd(sum);
    top = higher;
    for (uint e = lane(); e < 32u; e += LANES) {
        shrinks[(h + e / 16u * 8u) * 16u + e % 16u] = shrink;
    }
}

void shrink_sums() {
    coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> factors;
    coopMatLoad(factors, shrinks, 0u, 16u, gl_CooperativeMatrixLayoutRowMajor);
    [[unroll]] for (uint e = 0u; e < factors.length(); e++) {
        sums[0][e] *= factors[e];
        sums[1][e] *= factors[e];
    }
}

void add_values(uint piece, uint n, int own) {
    subgroupBarrier();
    [[unroll]] for (uint i = 0u; i < ITEMS; i++) {
        stage[own_stage() + (value_row() % 32u + value_step(0u, i)) * V_PITCH + lane() % 4u] = held[piece * ITEMS + i];
    }
#ifdef ROPE
    if (uint(own) < n) {
        put_own_value(piece, n, own);
    }
#endif
    subgroupBarrier();
    uint at = (piece * SETS + gl_SubgroupID / GROUPS) * 4u;
    [[unroll]] for (uint s = 0u; s < 32u; s += 16u) {
        coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> weights;
        coopMatLoad(weights, probs, at + s / 8u, P_PITCH, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint d = 0u; d < 2u; d++) {
            coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB> values;
            coopMatLoad(values, stage, own_stage() + s * V_PITCH + 2u * d, V_PITCH, gl_CooperativeMatrixLayoutRowMajor);
            sums[d] = coopMatMulAdd(weights, values, sums[d]);
        }
    }
}

#ifdef ROPE
void scale_queries() {
    make_inputs();
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        query[j] = query_low[j];
        query[4u + j] = query_high[j];
    }
}
#else
void load_queries(uint q_row) {
    [[unroll]] for (uint i = 0u; i < 8u * QUERY_OCTETS; i++) {
        query[i] = q[q_row + min(i / 8u * LANES + lane(), OCTETS - 1u) * 8u + i % 8u];
    }
}

void scale_queries() {
    [[unroll]] for (uint i = 0u; i < 8u * QUERY_OCTETS; i++) {
        query[i] *= p.scale;
    }
}
#endif

// The queries of the subgroup's head, by a power of two so large that the largest number is a half beyond HALVES_UP.
void put_queries(uint h) {
    float most = 0.0;
    scale_queries();
    [[unroll]] for (uint i = 0u; i < 8u * QUERY_OCTETS; i++) {
        most = max(most, abs(query[i]));
    }
    uint exponent = max(floatBitsToUint(subgroupMax(most)) >> 23, 20u);
    float up = uintBitsToFloat((268u - exponent) << 23);
    unscale = uintBitsToFloat((exponent - 14u) << 23);
    [[unroll]] for (uint i = 0u; i < QUERY_OCTETS; i++) {
        uint at = i * LANES + lane();
        uvec4 large, rest;
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
            uvec2 halves = in_two(vec2(query[8u * i + 2u * j], query[8u * i + 2u * j + 1u]) * up);
            large[j] = halves.x;
            rest[j] = halves.y;
        }
        if (at < OCTETS) {
            queries[h * Q_PITCH + at] = large;
            queries[(h + 8u) * Q_PITCH + at] = rest;
        }
    }
}

// A head's sum of a dimension's values, of all sets.
float sum_of(uint h, uint d) {
    float sum = 0.0;
    [[unroll]] for (uint set = 0u; set < SETS; set++) {
        uint at = (set * GROUPS + d / 32u) * STAGE + h * 8u + d % 32u / 4u;
        sum += uintBitsToFloat(stage[at][d % 4u]) + uintBitsToFloat(stage[at + 64u][d % 4u]);
    }
    return sum / HALVES_UP;
}

void store(uint y_row) {
    subgroupBarrier();
    [[unroll]] for (uint d = 0u; d < 2u; d++) {
        coopMatStore(sums[d], stage, own_stage() + 4u * d, 8u, gl_CooperativeMatrixLayoutRowMajor);
    }
    barrier();
    for (uint i = invocation(); i < HEADS * DIM; i += gl_WorkGroupSize.x) {
        y[y_row + i / DIM * Y_HEAD + i % DIM] = sum_of(i / DIM, i % DIM);
    }
    if (gl_SubgroupID < HEADS && lane() == 0u) {
        y[y_row + gl_SubgroupID * Y_HEAD + DIM] = top;
        y[y_row + gl_SubgroupID * Y_HEAD + DIM + 1u] = total;
    }
}

// The own row, counted from the part's s-th key on.
int own_from(uint s) {
#ifdef ROPE
    return own_key - int(s);
#else
    return 0;
#endif
}

// The first keys are on their way.
void take_keys() {
    [[dont_unroll]] for (uint s = 0u; s < n_keys; s += TILE) {
        uint n = min(TILE, n_keys - s), next = s + TILE;
        [[unroll]] for (uint i = 0u; i < PIECES; i++) {
            add_keys(i, own_from(s));
            load_values(i, v_first + s * V_ROW, n, own_from(s));
        }
        put_scores();
        barrier();
        weigh(gl_SubgroupID, n);
        barrier();
        if (s > 0u) {
            shrink_sums();
        }
        [[unroll]] for (uint i = 0u; i < PIECES; i++) {
            add_values(i, n, own_from(s));
            if (next < n_keys) {
                load_keys(i, k_first + next * K_ROW, min(TILE, n_keys - next), own_from(next));
            }
        }
    }
}

void ask() {
    int last_pos = pos[p.pos_at + seq * POS_SEQ], asked = slots[p.slots_at + seq * SLOTS_0];
    uint key = chunk / SHARE, head = chunk * HEADS + min(gl_SubgroupID, HEADS - 1u);
#ifdef ROPE
    int position = turns[p.turns_at + seq];
    own_row = rows[p.rows_at + seq];
    ask_inputs(seq, head, key);
#else
    load_queries(p.q_at + seq * p.q_seq + head * p.q_head);
#endif
    uint stop = min(p.n_kv, uint(max(last_pos + 1, 0))), size = size_of_parts(stop);
    uint first = min(part * size, max(stop, 1u) - 1u);  // which stands in the cache where the part has no keys
    uint slot = uint(clamp(asked, 0, int(p.n_slots) - 1));
    n_keys = min(size, stop - min(part * size, stop));
    k_first = (p.k_at >> 3) + slot * K_SLOT + first * K_ROW + key * OCTETS;
    v_first = (p.v_at >> 3) + slot * V_SLOT + first * V_ROW + key * OCTETS;
#ifdef ROPE
    ask_angles(position);
    own_key = own_row - int(slot * p.n_ctx + first);
    aside = own_key + int(first) > 0 ? -1 : 1;
    if (stop == 0u) {  // the slot may be another's
        return;
    }
#endif
    [[unroll]] for (uint i = 0u; i < PIECES; i++) {
        load_keys(i, k_first, clamp(n_keys, 1u, TILE), own_from(0u));
    }
}

void main() {
    find_part();
    if (seq >= p.n_seqs) {
        return;
    }
    ask();
    put_queries(gl_SubgroupID);
    [[unroll]] for (uint i = 0u; i < 2u; i++) {
        sums[i] = coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0.0);
    }
    [[unroll]] for (uint i = 0u; i < BLOCKS; i++) {
        scores[i] = coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0.0);
    }
    barrier();
#ifdef ROPE
    if (part == 0u && chunk % SHARE == 0u && own_row >= 0 && uint(own_row) < p.n_slots * p.n_ctx) {
        write_own(uint(own_row) * K_ROW + chunk / SHARE * OCTETS);
    }
#endif
    take_keys();
    store(p.y_at + seq * Y_SEQ + part * Y_PART + chunk * HEADS * Y_HEAD);
}
