// y[b, 0, h] = the parts of a split attention together (attention.comp, SPLIT), 0 without keys; -DGATE: times
// sigmoid(gate[b, 0, h]); -DSINKS: beside one more logit a head, of value 0.
// parts [b, h, n_split, dim + 2] contiguous; gate, y: inner stride 1. Grid: a workgroup for each head of each sequence.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "maths.glsl"
#include "attention_combine.glsl"

layout(local_size_x_id = 0) in;


void main() {
    uint group = group_index();
    uint head = group % p.n_heads, seq = group / p.n_heads;
    if (seq >= p.n_seqs) {
        return;
    }
    uint width = p.dim + 2u, first = p.parts_at + group * p.n_split * width;
    float sink = sink_of(head), top = sink;
    for (uint i = 0u; i < p.n_split; i++) {
        top = max(top, parts[first + i * width + p.dim]);
    }
    float total = sink_weight(sink, top);
    for (uint i = 0u; i < p.n_split; i++) {
        uint at = first + i * width + p.dim;
        total += parts[at + 1u] > 0.0 ? exp_of(parts[at] - top) * parts[at + 1u] : 0.0;
    }
    for (uint d = gl_LocalInvocationID.x; d < p.dim; d += gl_WorkGroupSize.x) {
        float sum = 0.0;
        for (uint i = 0u; i < p.n_split; i++) {
            uint at = first + i * width;
            sum += parts[at + p.dim + 1u] > 0.0 ? exp_of(parts[at + p.dim] - top) * parts[at + d] : 0.0;
        }
        float open = 1.0;
#ifdef GATE
        open = sigmoid(gate[p.gate_at + seq * p.gate_seq + head * p.gate_head + d]);
#endif
        y[p.y_at + seq * p.y_seq + head * p.y_head + d] = (total > 0.0 ? sum / total : 0.0) * open;
    }
}
