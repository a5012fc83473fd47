// attention_combine.comp for GPUs and no more parts than a subgroup has invocations: each of those has the factor of a
// part, and a dimension of all parts, which are asked for before the first factor is known.
// Grid: runs of as many dimensions as there are invocations fastest, then heads, then sequences.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "maths.glsl"
#include "attention_combine.glsl"
#include "each.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SUBGROUP = 32;
layout(constant_id = 2) const uint EIGHTS = 1;  // of parts, at most eight
layout(constant_id = 3) const uint HEADS = 1;

const uint LANES = gl_WorkGroupSize.x;

float asked[8u * EIGHTS];
float factor, sum = 0.0;  // of the invocation's part; of its dimension

float most_of(float z) {
    [[unroll]] for (uint mask = 1u; mask < SUBGROUP; mask *= 2u) {
        z = max(z, subgroupShuffleXor(z, mask));
    }
    return z;
}

float sum_of(float z) {
    [[unroll]] for (uint mask = 1u; mask < SUBGROUP; mask *= 2u) {
        z += subgroupShuffleXor(z, mask);
    }
    return z;
}

void add_part(uint i) {
    float times = subgroupShuffle(factor, i);
    sum += times > 0.0 ? times * asked[i] : 0.0;  // what has no weight may be NaN
}

void add_eight(uint i) {
#define ADD(j) add_part(i * 8u + (j));
    EACH_TO_8(8u, ADD)
}

void main() {
    uint runs = (p.dim + LANES - 1u) / LANES, group = group_index(), row = group / runs;
    uint head = row % HEADS, seq = row / HEADS, lane = gl_SubgroupInvocationID;
    if (seq >= p.n_seqs) {
        return;
    }
    uint width = p.dim + 2u, first = p.parts_at + row * p.n_split * width, last = p.n_split - 1u;
    uint d = group % runs * LANES + gl_SubgroupID * SUBGROUP + lane, dim = min(d, p.dim - 1u);
    uint tail = first + min(lane, last) * width + p.dim;
    float top = parts[tail], own = lane < p.n_split ? parts[tail + 1u] : 0.0, sink = sink_of(head);
#ifdef GATE
    float open = gate[p.gate_at + seq * p.gate_seq + head * p.gate_head + dim];
#endif
    [[unroll]] for (uint i = 0u; i < 8u * EIGHTS; i++) {
        asked[i] = parts[first + min(i, last) * width + dim];
    }
    float most = max(most_of(top), sink);
    factor = exp_of(top - most);
    factor = own > 0.0 ? factor : 0.0;
    float total = sum_of(factor * own) + sink_weight(sink, most);
    EACH_TO_8(EIGHTS, add_eight)
    float made = total > 0.0 ? sum / total : 0.0;
#ifdef GATE
    made *= sigmoid(open);
#endif
    if (d < p.dim) {
        y[p.y_at + seq * p.y_seq + head * p.y_head + d] = made;
    }
}
