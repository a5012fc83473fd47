// Attention over a cache for prompts, by cooperative matrices: attention.comp's whole form, with its options. Twice
// over the keys, KEYS at a time: first for each row's largest logit, then for the weights; so sums need no rescaling.
// Operands are halves, as caches are with -DK_HALVES and -DV_HALVES; with -DK_QUANTS and -DV_QUANTS these are Q8_0. Sums are fp32. What halves cannot hold makes an output that is no number:
// it is computed again in fp32.
// A workgroup takes QUERIES tokens of a head; each of its eight subgroups 16 of them and half of the keys or dims.
// q, k, v: inner stride 1, rows start at multiples of 4 elements. Grid: tiles of tokens fastest, then heads, sequences.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#include "maths.glsl"
#include "cached.glsl"

layout(local_size_x_id = 0) in;  // eight subgroups
layout(constant_id = 3) const uint DIM = 64;
layout(constant_id = 4) const uint V_SLOT = 0u;  // strides of v where they are not those of k
layout(constant_id = 5) const uint V_ROW = 0u;
layout(constant_id = 6) const uint K_SCALES = 0u;  // of rows of Q8_0, the words before their scales
layout(constant_id = 7) const uint V_SCALES = 0u;

const uint QUERIES = 64u, KEYS = 32u;
const uint PITCH = DIM / 8u + 1u;  // of a row of the block, in words of 8 halves
const uint SCORES = KEYS + 4u, PROBS = KEYS / 8u + 1u;
const uint ITEMS = KEYS * DIM / 8u / gl_WorkGroupSize.x;  // of 8 elements
const uint N_DIMS = DIM / 32u;  // columns of 16 dims that a subgroup sums

layout(std430, binding = 0) readonly buffer Q { vec4 q[]; };
layout(std430, binding = 1) readonly buffer K { K_QUAD k[]; };
layout(std430, binding = 2) readonly buffer V { V_QUAD v[]; };
layout(std430, binding = 3) readonly buffer Slots { int slots[]; };
layout(std430, binding = 4) readonly buffer Pos { int pos[]; };
layout(std430, binding = 5) buffer Y { float y[]; };
#ifdef GATE
layout(std430, binding = 6) readonly buffer Gate { float gate[]; };
#endif
#ifdef SINKS
#ifdef GATE
#define SINKS_BINDING 7
#else
#define SINKS_BINDING 6
#endif
layout(std430, binding = SINKS_BINDING) readonly buffer Sinks { float sinks[]; };
#endif
layout(push_constant) uniform Push {
    uint n_seqs, n_heads, n_tokens;
    uint share, n_kv, n_ctx, n_slots, window;
    uint cache_slot, cache_row, slots_0;
    uint q_seq, q_token, q_head, y_seq, y_token, y_head, pos_seq, pos_token;
    uint q_at, k_at, v_at, slots_at, pos_at, y_at;
    float scale, cap;
#ifdef GATE
    uint gate_seq, gate_token, gate_head, gate_at;
#endif
#ifdef SINKS
    uint sinks_at;
#endif
} p;

shared uvec4 block[KEYS * PITCH];
shared float scores[QUERIES * SCORES];
shared uvec4 probs[QUERIES * PROBS];
shared uint starts[QUERIES], stops[QUERIES];  // keys that each query sees
shared float tops[QUERIES * 4u], totals[QUERIES * 4u];

coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> queries[DIM / 16u];
coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> sums[N_DIMS];
K_QUAD next_k[2u * ITEMS];
V_QUAD next_v[2u * ITEMS];
#ifdef K_QUANTS
float k_scales[ITEMS];
#endif
#ifdef V_QUANTS
float v_scales[ITEMS];
#endif

uint cache, cache_v, q_rows;  // where the head's keys start, its values, and the head's queries
uint k_shift, v_shift;  // see cached.glsl
uint row, run;  // four invocations share a query, each takes every fourth run of 8 keys
bool is_query;

uint item_of(uint i) {
    return i * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
}

uint part_row() {
    return gl_SubgroupID / 2u * 16u;
}

uint part_col() {
    return gl_SubgroupID % 2u;
}

uvec4 halves(vec4 a, vec4 b) {
    return uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
}

#if defined(K_QUANTS)
#define K_AS_HALVES(i) halves(four_bytes(next_k[2u * i]) * k_scales[i], four_bytes(next_k[2u * i + 1u]) * k_scales[i])
#elif defined(K_HALVES)
#define K_AS_HALVES(i) uvec4(next_k[2u * i], next_k[2u * i + 1u])
#else
#define K_AS_HALVES(i) halves(next_k[2u * i], next_k[2u * i + 1u])
#endif
#if defined(V_QUANTS)
#define V_AS_HALVES(i) halves(four_bytes(next_v[2u * i]) * v_scales[i], four_bytes(next_v[2u * i + 1u]) * v_scales[i])
#elif defined(V_HALVES)
#define V_AS_HALVES(i) uvec4(next_v[2u * i], next_v[2u * i + 1u])
#else
#define V_AS_HALVES(i) halves(next_v[2u * i], next_v[2u * i + 1u])
#endif

// Where the key of position s starts, in quads, and its value.
uint row_of(uint s) {
    return K_QUAD_AT(cache + s % p.n_ctx * p.cache_row);
}

uint row_of_v(uint s) {
    return V_QUAD_AT(cache_v + s % p.n_ctx * (V_ROW > 0u ? V_ROW : p.cache_row));
}

// Keys beyond the last repeat it; their products are not used.
uint key_of(uint i, uint first) {
    return min(first + item_of(i) / (DIM / 8u), p.n_kv - 1u);
}

void fetch_k(uint first) {
    [[unroll]] for (uint i = 0u; i < ITEMS; i++) {
        uint at = row_of(key_of(i, first)), eight = item_of(i) % (DIM / 8u);
        next_k[2u * i] = k[at + 2u * eight];
        next_k[2u * i + 1u] = k[at + 2u * eight + 1u];
#ifdef K_QUANTS
        k_scales[i] = SCALE_AT(k, at, k_shift + eight / 4u);
#endif
    }
}

void fetch_v(uint first) {
    [[unroll]] for (uint i = 0u; i < ITEMS; i++) {
        uint at = row_of_v(key_of(i, first)), eight = item_of(i) % (DIM / 8u);
        next_v[2u * i] = v[at + 2u * eight];
        next_v[2u * i + 1u] = v[at + 2u * eight + 1u];
#ifdef V_QUANTS
        v_scales[i] = SCALE_AT(v, at, v_shift + eight / 4u);
#endif
    }
}

#define PUT(AS_HALVES)                                                                               \
    [[unroll]] for (uint i = 0u; i < ITEMS; i++) {                                                   \
        block[item_of(i) / (DIM / 8u) * PITCH + item_of(i) % (DIM / 8u)] = AS_HALVES(i);             \
    }

void put_k() {
    PUT(K_AS_HALVES)
}

void put_v() {
    PUT(V_AS_HALVES)
}

void take_queries(uint first) {
    for (uint part = 0u; part < QUERIES; part += KEYS) {
        barrier();
        [[unroll]] for (uint i = 0u; i < ITEMS; i++) {
            uint token = min(first + part + item_of(i) / (DIM / 8u), p.n_tokens - 1u), d = item_of(i) % (DIM / 8u);
            uint at = ((q_rows + token * p.q_token) >> 2) + 2u * d;
            block[item_of(i) / (DIM / 8u) * PITCH + d] = halves(q[at] * p.scale, q[at + 1u] * p.scale);
        }
        barrier();
        if (part_row() / KEYS * KEYS == part) {
            [[unroll]] for (uint d = 0u; d < DIM / 16u; d++) {
                coopMatLoad(queries[d], block, (part_row() - part) * PITCH + 2u * d, PITCH,
                            gl_CooperativeMatrixLayoutRowMajor);
            }
        }
    }
    barrier();
}

// Products of the subgroup's queries and keys of the block.
void put_scores() {
    coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> z =
        coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0.0);
    [[unroll]] for (uint d = 0u; d < DIM / 16u; d++) {
        coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB> keys;
        coopMatLoad(keys, block, part_col() * 16u * PITCH + 2u * d, PITCH, gl_CooperativeMatrixLayoutColumnMajor);
        z = coopMatMulAdd(queries[d], keys, z);
    }
    coopMatStore(z, scores, part_row() * SCORES + part_col() * 16u, SCORES, gl_CooperativeMatrixLayoutRowMajor);
}

void add_values() {
    [[unroll]] for (uint s = 0u; s < KEYS; s += 16u) {
        coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> weights;
        coopMatLoad(weights, probs, part_row() * PROBS + s / 8u, PROBS, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint d = 0u; d < N_DIMS; d++) {
            coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB> values;
            coopMatLoad(values, block, s * PITCH + part_col() * (DIM / 16u) + 2u * d, PITCH,
                        gl_CooperativeMatrixLayoutRowMajor);
            sums[d] = coopMatMulAdd(weights, values, sums[d]);
        }
    }
}

float capped(float z) {
    return p.cap > 0.0 ? p.cap * tanh_of(z / p.cap) : z;
}

float sink_of(uint head) {
#ifdef SINKS
    return sinks[p.sinks_at + head];
#else
    return -INFINITY;
#endif
}

// An output in plain fp32.
float exact(uint i, uint token, uint head, uint d) {
    float top = sink_of(head), total = top > -INFINITY ? 1.0 : 0.0, sum = 0.0;
    for (uint s = starts[i]; s < stops[i]; s++) {
        uint at = row_of(s);
        float z = 0.0;
        for (uint j = 0u; j < DIM / 4u; j++) {
            z += dot(q[((q_rows + token * p.q_token) >> 2) + j] * p.scale, K_FOUR_OF(at, j));
        }
        z = capped(z);
        float higher = max(top, z), shrink = exp_of(top - higher), weight = exp_of(z - higher);
        total = total * shrink + weight;
        sum = sum * shrink + weight * V_FOUR_OF(row_of_v(s), d >> 2)[d & 3u];
        top = higher;
    }
    return total > 0.0 ? sum / total : 0.0;
}

void store(uint first, uint seq, uint head) {
    uint at = gl_SubgroupID * 256u;
    [[unroll]] for (uint i = 0u; i < N_DIMS; i++) {
        coopMatStore(sums[i], scores, at, 16u, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        for (uint e = gl_SubgroupInvocationID; e < 256u; e += gl_SubgroupSize) {
            uint query = part_row() + e / 16u, token = first + query, d = part_col() * (DIM / 2u) + i * 16u + e % 16u;
            if (token < p.n_tokens) {
                uint of = query * 4u;
                float total = totals[of] + totals[of + 1u] + totals[of + 2u] + totals[of + 3u];
                total += exp_of(sink_of(head) - tops[query * 4u]);
                float o = scores[at + e];
                bool is_number = (floatBitsToUint(o) & 0x7f800000u) != 0x7f800000u && total < INFINITY;
                o = is_number ? (total > 0.0 ? o / total : 0.0) : exact(query, token, head, d);
#ifdef GATE
                o *= sigmoid(gate[p.gate_at + seq * p.gate_seq + token * p.gate_token + head * p.gate_head + d]);
#endif
                y[p.y_at + seq * p.y_seq + token * p.y_token + head * p.y_head + d] = o;
            }
        }
        subgroupBarrier();
    }
}

bool is_seen(uint key) {
    return starts[row] <= key && key < stops[row];
}

// Which keys the tile's queries see.
void find_keys(uint first, uint seq) {
    for (uint i = gl_LocalInvocationID.x; i < QUERIES; i += gl_WorkGroupSize.x) {
        int position = pos[p.pos_at + seq * p.pos_seq + min(first + i, p.n_tokens - 1u) * p.pos_token];
        stops[i] = min(p.n_kv, uint(max(position + 1, 0)));
        starts[i] = p.window == 0u ? 0u : uint(max(position + 1 - int(p.window), 0));
    }
}

// The keys that any of the queries sees, from a multiple of KEYS on.
uvec2 keys_of_all() {
    uvec2 keys = uvec2(p.n_kv, 0u);
    for (uint i = 0u; i < QUERIES; i++) {
        keys = uvec2(min(keys.x, starts[i]), max(keys.y, stops[i]));
    }
    return uvec2(keys.x / KEYS * KEYS, keys.y);
}

// The largest logit of the invocation's query.
float find_top(uvec2 keys, uint head) {
    float top = -INFINITY;
    fetch_k(keys.x);
    for (uint s = keys.x; s < keys.y; s += KEYS) {
        put_k();
        fetch_k(s + KEYS < keys.y ? s + KEYS : keys.x);
        barrier();
        put_scores();
        barrier();
        [[unroll]] for (uint j = 0u; j < 8u; j++) {
            float z = capped(scores[row * SCORES + run + j]);
            top = is_seen(s + run + j) ? max(top, z) : top;
        }
    }
    if (is_query) {
        tops[gl_LocalInvocationID.x] = top;
    }
    barrier();
    top = max(max(tops[row * 4u], tops[row * 4u + 1u]), max(tops[row * 4u + 2u], tops[row * 4u + 3u]));
    return max(top, sink_of(head));
}

// The weights of a block's keys from s on; their sum.
float weigh(uint s, float top) {
    float weights[8], total = 0.0;
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
        float z = capped(scores[row * SCORES + run + j]);
        weights[j] = is_seen(s + run + j) ? exp_of(z - top) : 0.0;
        total += weights[j];
    }
    if (is_query) {
        probs[row * PROBS + run / 8u] = halves(vec4(weights[0], weights[1], weights[2], weights[3]),
                                               vec4(weights[4], weights[5], weights[6], weights[7]));
    }
    return total;
}

// The weighted sum of the values; into totals the sum of the weights that the invocation made.
void sum_values(uvec2 keys, float top) {
    float total = 0.0;
    [[unroll]] for (uint d = 0u; d < N_DIMS; d++) {
        sums[d] = coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0.0);
    }
    for (uint s = keys.x; s < keys.y; s += KEYS) {
        put_k();
        fetch_v(s);
        barrier();
        put_scores();
        barrier();
        total += weigh(s, top);
        put_v();
        fetch_k(s + KEYS < keys.y ? s + KEYS : keys.x);
        barrier();
        add_values();
        barrier();
    }
    if (is_query) {
        totals[gl_LocalInvocationID.x] = total;
    }
}

void main() {
    uint tiles = (p.n_tokens + QUERIES - 1u) / QUERIES, group = group_index();
    uint first = group % tiles * QUERIES, head = group / tiles % p.n_heads, seq = group / tiles / p.n_heads;
    if (seq >= p.n_seqs) {
        return;
    }
    uint id = gl_LocalInvocationID.x;
    is_query = id < QUERIES * 4u;
    row = min(id / 4u, QUERIES - 1u);
    run = id % 4u * 8u;
    uint slot = uint(clamp(slots[p.slots_at + seq * p.slots_0], 0, int(p.n_slots) - 1)), in_row = head / p.share * DIM;
    cache = p.k_at + slot * p.cache_slot + K_FIRST(in_row);
    cache_v = p.v_at + slot * (V_ROW > 0u ? V_SLOT : p.cache_slot) + V_FIRST(in_row);
    k_shift = shift_of(K_SCALES, in_row);
    v_shift = shift_of(V_SCALES, in_row);
    q_rows = p.q_at + seq * p.q_seq + head * p.q_head;
    find_keys(first, seq);
    take_queries(first);
    uvec2 keys = keys_of_all();
    float top = find_top(keys, head);
    barrier();
    if (is_query) {
        tops[id] = top;
    }
    sum_values(keys, top);
    barrier();
    store(first, seq, head);
}
