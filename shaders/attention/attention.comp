// Causal attention over a cache, a block of LANES keys at a time with a running softmax (Milakov & Gimelshein, 2018).
//   whole      y[b, t, h] = sigmoid(gate) * sum_s softmax(scale q k_s) v_s over keys s <= pos[b, t], s < n_kv
//   -DSPLIT    y[b, h, part] = sums of exp(z - top) v, then top and the sum of exp(z - top), of the part's keys
// q, gate, y: inner stride 1; caches k, v [n_slots, n_ctx, heads * DIM], of one layout; slots are clamped.
// Grid: a workgroup for each part (or token) of each head of each sequence.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "rows.glsl"
#include "maths.glsl"

layout(constant_id = 3) const uint DIM = 64;

layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 1) readonly buffer K { float k[]; };
layout(std430, binding = 2) readonly buffer V { float v[]; };
layout(std430, binding = 3) readonly buffer Slots { int slots[]; };
layout(std430, binding = 4) readonly buffer Pos { int pos[]; };
layout(std430, binding = 5) buffer Y { float y[]; };
#ifndef SPLIT
layout(std430, binding = 6) readonly buffer Gate { float gate[]; };
#endif
layout(push_constant) uniform Push {
    uint n_seqs, n_heads, n_steps;  // steps: tokens, or parts
    uint dim, share, n_kv, part_size, n_slots;
    uint cache_slot, cache_row, slots_0;
    uint q_seq, q_token, q_head, y_seq, y_step, y_head, pos_seq, pos_token;
    uint q_at, k_at, v_at, slots_at, pos_at, y_at;
    float scale;
#ifndef SPLIT
    uint gate_seq, gate_token, gate_head, gate_at;
#endif
} p;

shared float query[DIM];
shared float weights[gl_WorkGroupSize.x];
float acc[DIM / gl_WorkGroupSize.x + 1u];  // of dims LANE, LANE + LANES, ...

#define EACH_DIM(i, d) for (uint i = 0u, d = LANE; d < p.dim; i++, d += LANES)

float dot_key(uint row) {
    float z = 0.0;
    for (uint d = 0u; d < p.dim; d++) {
        z += query[d] * k[row + d];
    }
    return z;
}

void main() {
    uint group = group_index();
    uint head = group % p.n_heads, step_ = group / p.n_heads % p.n_steps, seq = group / p.n_heads / p.n_steps;
    if (seq >= p.n_seqs) {
        return;
    }
#ifdef SPLIT
    uint token = 0u, first = step_ * p.part_size, last = first + p.part_size;
#else
    uint token = step_, first = 0u, last = p.n_kv;
#endif
    int position = pos[p.pos_at + seq * p.pos_seq + token * p.pos_token];
    last = min(min(last, p.n_kv), uint(max(position + 1, 0)));
    uint slot = uint(clamp(slots[p.slots_at + seq * p.slots_0], 0, int(p.n_slots) - 1));
    uint cache = slot * p.cache_slot + head / p.share * p.dim;
    uint q_row = p.q_at + seq * p.q_seq + token * p.q_token + head * p.q_head;
    EACH_DIM(i, d) {
        query[d] = q[q_row + d] * p.scale;
        acc[i] = 0.0;
    }
    barrier();
    float top = -INFINITY, total = 0.0;
    for (uint s = first; s < last; s += LANES) {
        bool is_key = s + LANE < last;
        float z = is_key ? dot_key(p.k_at + cache + (s + LANE) * p.cache_row) : -INFINITY;
        float higher = max(top, group_max(z)), shrink = exp_of(top - higher);
        float weight = is_key ? exp_of(z - higher) : 0.0;
        total = total * shrink + group_sum(weight);
        weights[LANE] = weight;
        barrier();
        uint n_keys = min(LANES, last - s), row = p.v_at + cache + s * p.cache_row;
        EACH_DIM(i, d) {
            float sum = acc[i] * shrink;
            for (uint j = 0u; j < n_keys; j++) {
                sum += weights[j] * v[row + j * p.cache_row + d];
            }
            acc[i] = sum;
        }
        barrier();
        top = higher;
    }
    uint y_row = p.y_at + seq * p.y_seq + step_ * p.y_step + head * p.y_head;
#ifdef SPLIT
    EACH_DIM(i, d) {
        y[y_row + d] = acc[i];
    }
    if (LANE == 0u) {
        y[y_row + p.dim] = top;
        y[y_row + p.dim + 1u] = total;
    }
#else
    uint gate_row = p.gate_at + seq * p.gate_seq + token * p.gate_token + head * p.gate_head;
    EACH_DIM(i, d) {
        y[y_row + d] = (total > 0.0 ? acc[i] / total : 0.0) * sigmoid(gate[gate_row + d]);
    }
#endif
}
