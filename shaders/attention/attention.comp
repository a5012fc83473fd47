// Causal attention over a cache, a block of LANES keys at a time with a running softmax (Milakov & Gimelshein, 2018).
//   whole      y[b, t, h] = sum_s softmax(scale q k_s) v_s over keys s <= pos[b, t], s < n_kv; -DGATE: times sigmoid(gate)
//   -DSPLIT    y[b, h, part] = sums of exp(z - top) v, then top and the sum of exp(z - top), of the part's keys
// window: where not 0 only the last so many keys; cap: where not 0 logits z are cap * tanh(z / cap); -DSINKS: one more
// logit a head, of value 0.
// The key of position s stands in row s % n_ctx of its slot. -DK_HALVES, -DV_HALVES: caches of fp16, whose heads have even
// sizes and places; -DK_QUANTS, -DV_QUANTS: of Q8_0, whose heads are whole blocks.
// q, gate, y: inner stride 1; caches k [n_slots, n_ctx, heads * DIM], v [.., heads * DIM_V]; slots are clamped.
// Grid: a workgroup for each part (or token) of each head of each sequence.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "rows.glsl"
#include "maths.glsl"
#include "cached.glsl"

layout(constant_id = 3) const uint DIM = 64;
layout(constant_id = 4) const uint DIM_V = 64;  // of values
layout(constant_id = 5) const uint V_SLOT = 0u;  // strides of v where they are not those of k
layout(constant_id = 6) const uint V_ROW = 0u;
layout(constant_id = 7) const uint K_SCALES = 0u;  // of rows of Q8_0, the words before their scales
layout(constant_id = 8) const uint V_SCALES = 0u;

layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 1) readonly buffer K { K_PACK k[]; };
layout(std430, binding = 2) readonly buffer V { V_PACK v[]; };
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
    uint n_seqs, n_heads, n_steps;  // steps: tokens, or parts
    uint share, n_kv, n_ctx, n_slots, window;
    uint cache_slot, cache_row, slots_0;
    uint q_seq, q_token, q_head, y_seq, y_step, y_head, pos_seq, pos_token;
    uint q_at, k_at, v_at, slots_at, pos_at, y_at;
    float scale, cap;
#ifdef GATE
    uint gate_seq, gate_token, gate_head, gate_at;
#endif
#ifdef SINKS
    uint sinks_at;
#endif
} p;

shared K_NUMBERS query[DIM / K_N_PACK];
shared float weights[gl_WorkGroupSize.x];
V_NUMBERS acc[DIM_V / V_N_PACK / gl_WorkGroupSize.x + 1u];  // of packs of dims LANE, LANE + LANES, ...

#define EACH_DIM(i, d) for (uint i = 0u, d = LANE; d < DIM_V / V_N_PACK; i++, d += LANES)

#define FROM_1(x, at, d) x[at + d]
#define FROM_2(x, at, d) vec2(x[at + 2u * d], x[at + 2u * d + 1u])
#define FROM_4(x, at, d) vec4(x[at + 4u * d], x[at + 4u * d + 1u], x[at + 4u * d + 2u], x[at + 4u * d + 3u])
#if defined(K_QUANTS)
#define QUERIES_FROM FROM_4
#elif defined(K_HALVES)
#define QUERIES_FROM FROM_2
#else
#define QUERIES_FROM FROM_1
#endif
#if defined(V_QUANTS)
#define GATES_FROM FROM_4
#define PUT(at, d, numbers)           \
    y[at + 4u * d] = (numbers).x;      \
    y[at + 4u * d + 1u] = (numbers).y; \
    y[at + 4u * d + 2u] = (numbers).z; \
    y[at + 4u * d + 3u] = (numbers).w;
#elif defined(V_HALVES)
#define GATES_FROM FROM_2
#define PUT(at, d, numbers)        \
    y[at + 2u * d] = (numbers).x;  \
    y[at + 2u * d + 1u] = (numbers).y;
#else
#define GATES_FROM FROM_1
#define PUT(at, d, numbers) y[at + d] = numbers;
#endif

uint k_shift, v_shift;  // see cached.glsl

// Of a row, from its first pack on.
float product_of(uint row) {
#if defined(K_QUANTS)
    float z = 0.0;
    for (uint b = 0u; b < DIM / 32u; b++) {
        vec4 sum = vec4(0.0);
        for (uint d = 8u * b; d < 8u * b + 8u; d++) {
            sum += query[d] * four_bytes(k[row + d]);
        }
        z += (sum.x + sum.y + sum.z + sum.w) * SCALE_AT(k, row, k_shift + b);
    }
    return z;
#else
    K_NUMBERS sum = K_NUMBERS(0.0);
    for (uint d = 0u; d < DIM / K_N_PACK; d++) {
        sum += query[d] * K_NUMBERS_OF(row, d);
    }
#if defined(K_HALVES)
    return sum.x + sum.y;
#else
    return sum;
#endif
#endif
}

float dot_key(uint at) {
    float z = product_of(K_PACK_AT(at));
    return p.cap > 0.0 ? p.cap * tanh_of(z / p.cap) : z;
}

uint seq, head, token, step_;
uint first, last, cache, cache_v;  // keys that are looked at; where those of the slot's head start, and its values

void find_keys() {
#ifdef SPLIT
    token = 0u;
#else
    token = step_;
#endif
    int position = pos[p.pos_at + seq * p.pos_seq + token * p.pos_token];
    last = min(p.n_kv, uint(max(position + 1, 0)));
    first = p.window > 0u ? uint(max(position + 1 - int(p.window), 0)) : 0u;
#ifdef SPLIT
    uint size = (last - min(first, last) + p.n_steps - 1u) / p.n_steps;
    first += step_ * size;
    last = min(first + size, last);
#endif
    uint slot = uint(clamp(slots[p.slots_at + seq * p.slots_0], 0, int(p.n_slots) - 1));
    uint in_row = head / p.share * DIM, in_row_v = head / p.share * DIM_V;
    cache = slot * p.cache_slot + K_FIRST(in_row);
    cache_v = slot * (V_ROW > 0u ? V_SLOT : p.cache_slot) + V_FIRST(in_row_v);
    k_shift = shift_of(K_SCALES, in_row);
    v_shift = shift_of(V_SCALES, in_row_v);
}

void start(out float top, out float total) {
    uint q_row = p.q_at + seq * p.q_seq + token * p.q_token + head * p.q_head;
    for (uint d = LANE; d < DIM / K_N_PACK; d += LANES) {
        query[d] = QUERIES_FROM(q, q_row, d) * p.scale;
    }
    EACH_DIM(i, d) {
        acc[i] = V_NUMBERS(0.0);
    }
    barrier();
    top = -INFINITY, total = 0.0;
#ifdef SINKS
    if (first < last) {
        top = sinks[p.sinks_at + head];
        total = 1.0;
    }
#endif
}

// LANES keys from s on; top and total are those of the running softmax.
void take_keys(uint s, inout float top, inout float total) {
    uint from = s % p.n_ctx, n_keys = min(LANES, last - s), n_before = min(n_keys, p.n_ctx - from);  // the ring's end
    bool is_key = LANE < n_keys;
    uint at = LANE < n_before ? from + LANE : from + LANE - p.n_ctx;
    float z = is_key ? dot_key(p.k_at + cache + at * p.cache_row) : -INFINITY;
    float higher = max(top, group_max(z)), shrink = exp_of(top - higher);
    float weight = is_key ? exp_of(z - higher) : 0.0;
    total = total * shrink + group_sum(weight);
    weights[LANE] = weight;
    barrier();
    uint v_row = V_PACK_AT(V_ROW > 0u ? V_ROW : p.cache_row), row = V_PACK_AT(p.v_at + cache_v) + from * v_row;
    EACH_DIM(i, d) {
        V_NUMBERS sum = acc[i] * shrink;
        for (uint j = 0u; j < n_before; j++) {
            sum += weights[j] * V_NUMBERS_OF(row + j * v_row, d);
        }
        for (uint j = n_before; j < n_keys; j++) {
            sum += weights[j] * V_NUMBERS_OF(row + j * v_row - p.n_ctx * v_row, d);
        }
        acc[i] = sum;
    }
#ifdef SUBGROUPS
    if (gl_NumSubgroups == 1u) {  // else the next reductions have barriers
        barrier();
    }
#endif
    top = higher;
}

#if defined(V_QUANTS)
vec4 open_of(vec4 gates) {
    return vec4(sigmoid(gates.x), sigmoid(gates.y), sigmoid(gates.z), sigmoid(gates.w));
}
#elif defined(V_HALVES)
vec2 open_of(vec2 gates) {
    return vec2(sigmoid(gates.x), sigmoid(gates.y));
}
#else
float open_of(float gate_) {
    return sigmoid(gate_);
}
#endif

#ifdef SPLIT
void store(uint y_row, float top, float total) {
    EACH_DIM(i, d) {
        PUT(y_row, d, acc[i])
    }
    if (LANE == 0u) {
        y[y_row + DIM_V] = top;
        y[y_row + DIM_V + 1u] = total;
    }
}
#else
void store(uint y_row, float top, float total) {
    float factor = total > 0.0 ? 1.0 / total : 0.0;
#ifdef GATE
    uint gate_row = p.gate_at + seq * p.gate_seq + token * p.gate_token + head * p.gate_head;
#endif
    EACH_DIM(i, d) {
        V_NUMBERS made = acc[i] * factor;
#ifdef GATE
        made *= open_of(GATES_FROM(gate, gate_row, d));
#endif
        PUT(y_row, d, made)
    }
}
#endif

void main() {
    uint group = group_index();
    head = group % p.n_heads, step_ = group / p.n_heads % p.n_steps, seq = group / p.n_heads / p.n_steps;
    if (seq >= p.n_seqs) {
        return;
    }
    find_keys();
    float top, total;
    start(top, total);
    for (uint s = first; s < last; s += LANES) {
        take_keys(s, top, total);
    }
    store(p.y_at + seq * p.y_seq + step_ * p.y_step + head * p.y_head, top, total);
}
