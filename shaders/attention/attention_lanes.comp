// Causal attention for prompts on CPUs: y[b, t, h] as in attention.comp, whole. A subgroup is a workgroup; each of its
// lanes owns a query of one head. Every load is a gather there, so eight lanes load 32 numbers of a key or value at once
// and hand them round. One key at a time and no more queries: LLVM takes seconds to compile what is unrolled further.
// DIM is 32 or 64; -DHALVES: caches of fp16; subgroups have 8 lanes or more. Grid: tiles of queries fastest, then heads,
// then sequences.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "maths.glsl"
#include "cached.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint DIM = 64;
const uint QUADS = DIM / 4u, LOADS = DIM / 32u;

layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 1) readonly buffer K { PACK k[]; };
layout(std430, binding = 2) readonly buffer V { PACK v[]; };
layout(std430, binding = 3) readonly buffer Slots { int slots[]; };
layout(std430, binding = 4) readonly buffer Pos { int pos[]; };
layout(std430, binding = 5) buffer Y { float y[]; };
#ifdef GATE
layout(std430, binding = 6) readonly buffer Gate { float gate[]; };
#endif
layout(push_constant) uniform Push {
    uint n_seqs, n_heads, n_tokens, share, n_kv, n_slots;
    uint cache_slot, cache_row, slots_0;
    uint q_seq, q_token, q_head, y_seq, y_token, y_head, pos_seq, pos_token;
    uint q_at, k_at, v_at, slots_at, pos_at, y_at;
    float scale;
#ifdef GATE
    uint gate_seq, gate_token, gate_head, gate_at;
#endif
} p;

vec4 query[QUADS], acc[QUADS], quads[LOADS];

#ifdef HALVES
#define FOUR_AT(x, at) vec4(unpackHalf2x16(x[(at) / 2u]), unpackHalf2x16(x[(at) / 2u + 1u]))
#else
#define FOUR_AT(x, at) vec4(x[at], x[at + 1u], x[at + 2u], x[at + 3u])
#endif
#define LOAD(x, row)                                                               \
    [[unroll]] for (uint l = 0u; l < LOADS; l++) {                                 \
        uint at = (row) + l * 32u + (gl_SubgroupInvocationID & 7u) * 4u;           \
        quads[l] = FOUR_AT(x, at);                                                 \
    }
#define HANDED(i) subgroupShuffle(quads[(i) / 8u], (i) % 8u)
#define EACH_QUAD [[unroll]] for (uint i = 0u; i < QUADS; i++)

float score(uint row) {
    float z = 0.0;
    LOAD(k, p.k_at + row)
    EACH_QUAD {
        z += dot(query[i], HANDED(i));
    }
    return z;
}

uint seq, head, t, cache;  // what the lane's query is of, and where the keys and values of its head start
float top, total;  // of the running softmax

void start() {
    uint slot = uint(clamp(slots[p.slots_at + seq * p.slots_0], 0, int(p.n_slots) - 1));
    cache = slot * p.cache_slot + head / p.share * DIM;
    uint q_row = p.q_at + seq * p.q_seq + t * p.q_token + head * p.q_head;
    EACH_QUAD {
        uint at = q_row + 4u * i;
        query[i] = vec4(q[at], q[at + 1u], q[at + 2u], q[at + 3u]) * p.scale;
        acc[i] = vec4(0);
    }
    top = -1e30, total = 0.0;
}

void take_key(uint s, bool is_seen) {
    uint row = cache + s * p.cache_row;
    float z = score(row);
    z = is_seen ? z : -INFINITY;
    float higher = max(top, z), shrink = exp_of(top - higher), weight = exp_of(z - higher);
    total = total * shrink + weight;
    top = higher;
    LOAD(v, p.v_at + row)
    EACH_QUAD {
        acc[i] = acc[i] * shrink + weight * HANDED(i);
    }
}

void store() {
    float factor = total > 0.0 ? 1.0 / total : 0.0;
    uint y_row = p.y_at + seq * p.y_seq + t * p.y_token + head * p.y_head;
    EACH_QUAD {
        [[unroll]] for (uint c = 0u; c < 4u; c++) {
            uint d = 4u * i + c;
            float open = 1.0;
#ifdef GATE
            open = sigmoid(gate[p.gate_at + seq * p.gate_seq + t * p.gate_token + head * p.gate_head + d]);
#endif
            y[y_row + d] = acc[i][c] * factor * open;
        }
    }
}

void main() {
    uint group = group_index(), n_tiles = (p.n_tokens + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
    uint token = group % n_tiles * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    head = group / n_tiles % p.n_heads, seq = group / n_tiles / p.n_heads;
    if (seq >= p.n_seqs) {
        return;
    }
    t = min(token, p.n_tokens - 1u);
    start();
    int last = pos[p.pos_at + seq * p.pos_seq + t * p.pos_token];
    uint stop = min(uint(subgroupMax(last) + 1), p.n_kv);
    for (uint s = 0u; s < stop; s++) {
        take_key(s, int(s) <= last);
    }
    if (token < p.n_tokens) {
        store();
    }
}
