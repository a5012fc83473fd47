// y[b, v] = logits[b, v] where bit v % 32 of mask[b, v / 32] is set, else -inf; see runtime/ir/ops/sampling.py. Grid: a
// workgroup for each 128 logits of a row.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x = 128) in;

layout(std430, binding = 0) readonly buffer Logits { float logits[]; };
layout(std430, binding = 1) readonly buffer Mask { int mask[]; };
layout(std430, binding = 2) buffer Y { float y[]; };
layout(push_constant) uniform Push {
    uint n_seqs, n_vocab;
    uint logits_seq, mask_seq, y_seq;
    uint logits_at, mask_at, y_at;
} p;

void main() {
    uint n_groups = (p.n_vocab + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
    uint b = group_index() / n_groups;
    uint v = group_index() % n_groups * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (b < p.n_seqs && v < p.n_vocab) {
        bool allowed = (uint(mask[p.mask_at + b * p.mask_seq + v / 32u]) >> (v % 32u) & 1u) != 0u;
        y[p.y_at + b * p.y_seq + v] = allowed ? logits[p.logits_at + b * p.logits_seq + v] : -INFINITY;
    }
}
