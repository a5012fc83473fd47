// attention_combine.comp for GPUs and at most 64 parts: each invocation has the factors of one or two of a subgroup's, and
// a dimension of all parts, which are asked for before the first factor is known.
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

const uint LANES = gl_WorkGroupSize.x, OWN = (8u * EIGHTS + SUBGROUP - 1u) / SUBGROUP;  // parts

float asked[8u * EIGHTS], tops[OWN], totals[OWN], factors[OWN];
float sum = 0.0;  // of the invocation's dimension

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
    float times = subgroupShuffle(factors[i / SUBGROUP], i % SUBGROUP);
    sum += times > 0.0 ? times * asked[i] : 0.0;  // what has no weight may be NaN
}

void add_eight(uint i) {
#define ADD(j) add_part(i * 8u + (j));
    EACH_TO_8(8u, ADD)
}

void ask_factors(uint first, uint width) {
    [[unroll]] for (uint i = 0u; i < OWN; i++) {
        uint part = i * SUBGROUP + gl_SubgroupInvocationID, tail = first + min(part, p.n_split - 1u) * width + p.dim;
        tops[i] = parts[tail];
        totals[i] = part < p.n_split ? parts[tail + 1u] : 0.0;
    }
}

// Their total with the parts' own, and the sink's.
float make_factors(float sink) {
    float top = max(tops[0], sink), total = 0.0;
    [[unroll]] for (uint i = 1u; i < OWN; i++) {
        top = max(top, tops[i]);
    }
    top = most_of(top);
    [[unroll]] for (uint i = 0u; i < OWN; i++) {
        float factor = exp_of(tops[i] - top);
        factors[i] = totals[i] > 0.0 ? factor : 0.0;
        total += factors[i] * totals[i];
    }
    return sum_of(total) + sink_weight(sink, top);
}

void main() {
    uint runs = (p.dim + LANES - 1u) / LANES, group = group_index(), row = group / runs;
    uint head = row % HEADS, seq = row / HEADS;
    if (seq >= p.n_seqs) {
        return;
    }
    uint width = p.dim + 2u, first = p.parts_at + row * p.n_split * width, last = p.n_split - 1u;
    uint d = group % runs * LANES + gl_SubgroupID * SUBGROUP + gl_SubgroupInvocationID, dim = min(d, p.dim - 1u);
    float sink = sink_of(head);
    ask_factors(first, width);
#ifdef GATE
    float open = gate[p.gate_at + seq * p.gate_seq + head * p.gate_head + dim];
#endif
    [[unroll]] for (uint i = 0u; i < 8u * EIGHTS; i++) {
        asked[i] = parts[first + min(i, last) * width + dim];
    }
    float total = make_factors(sink);
    EACH_TO_8(EIGHTS, add_eight)
    float made = total > 0.0 ? sum / total : 0.0;
#ifdef GATE
    made *= sigmoid(open);
#endif
    if (d < p.dim) {
        y[p.y_at + seq * p.y_seq + head * p.y_head + d] = made;
    }
}
