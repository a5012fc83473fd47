// attention_combine.comp for GPUs: SPAN dimensions of a head a workgroup, its invocations take parts in turn.
// Grid: runs of SPAN dimensions fastest, then heads, then sequences.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#define SUBGROUPS
#include "rows.glsl"
#include "maths.glsl"
#include "attention_combine.glsl"

layout(constant_id = 3) const uint SPAN = 64;
layout(constant_id = 4) const uint MOST_PARTS = 256;


const uint SETS = gl_WorkGroupSize.x / SPAN;

shared float factors[MOST_PARTS];
shared float sums[gl_WorkGroupSize.x];

// Each part's factor into `factors`; their total with the parts' own, and the sink's.
float make_factors(uint tail, uint width, float sink) {
    float top = -INFINITY, total = 0.0;
    for (uint i = LANE; i < p.n_split; i += LANES) {
        top = max(top, parts[tail + i * width]);
    }
    top = max(group_max(top), sink);
    for (uint i = LANE; i < p.n_split; i += LANES) {
        float of = parts[tail + i * width + 1u];
        float factor = of > 0.0 ? exp_of(parts[tail + i * width] - top) : 0.0;
        factors[i] = factor;
        total += factor * of;
    }
    return group_sum(total) + sink_weight(sink, top);  // whose barrier is the factors' too: a workgroup is several subgroups
}

// The sum of a dimension of all parts times their factors, in the first SPAN invocations.
float sum_of(uint first, uint width) {
    float sum = 0.0;
    for (uint i = LANE / SPAN; i < p.n_split; i += SETS) {
        float of = parts[first + i * width];
        sum += factors[i] > 0.0 ? factors[i] * of : 0.0;
    }
    sums[LANE] = sum;
    barrier();
    for (uint i = 1u; i < SETS && LANE < SPAN; i++) {
        sum += sums[LANE + i * SPAN];
    }
    return sum;
}

void main() {
    uint runs = (p.dim + SPAN - 1u) / SPAN, group = group_index(), row = group / runs;
    uint head = row % p.n_heads, seq = row / p.n_heads;
    if (seq >= p.n_seqs) {
        return;
    }
    uint width = p.dim + 2u, first = p.parts_at + row * p.n_split * width;
    uint d = group % runs * SPAN + LANE % SPAN;
    float total = make_factors(first + p.dim, width, sink_of(head));
    float sum = sum_of(first + min(d, p.dim - 1u), width);
    if (LANE >= SPAN || d >= p.dim) {
        return;
    }
    float made = total > 0.0 ? sum / total : 0.0;
#ifdef GATE
    made *= sigmoid(gate[p.gate_at + seq * p.gate_seq + head * p.gate_head + d]);
#endif
    y[p.y_at + seq * p.y_seq + head * p.y_head + d] = made;
}
