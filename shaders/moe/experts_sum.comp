// y[n, e] = residual[n, e] + sum over j of factors[n, j] routed[n, j, e] + sigmoid(gate[n]) shared[n, e]. Any layouts.
// Grid: runs of RUN columns fastest, then tokens n.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "maths.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint RUN = 64;

layout(std430, binding = 0) readonly buffer Routed { float routed[]; };
layout(std430, binding = 1) readonly buffer Factors { float factors[]; };
layout(std430, binding = 2) readonly buffer Shared { float shared_y[]; };
layout(std430, binding = 3) readonly buffer Gate { float gate[]; };
layout(std430, binding = 4) readonly buffer Residual { float residual[]; };
layout(std430, binding = 5) buffer Y { float y[]; };
layout(push_constant) uniform Args {
    uint routed_at, factors_at, shared_at, gate_at, residual_at, y_at;
    uint n_tokens, n_slots, n_cols;
    uint routed_token, routed_slot, routed_col, factors_token, factors_slot, shared_token, shared_col, gate_token;
    uint residual_token, residual_col, y_token, y_col;
};

void main() {
    uint runs = (n_cols + RUN - 1u) / RUN, group = group_index(), n = group / runs;
    if (n >= n_tokens) {
        return;
    }
    uint first = group % runs * RUN, stop = min(first + RUN, n_cols);
    float share = sigmoid(gate[gate_at + n * gate_token]);
    for (uint e = first + gl_LocalInvocationID.x; e < stop; e += gl_WorkGroupSize.x) {
        uint from = routed_at + n * routed_token + e * routed_col;
        float sum = 0.0;
        for (uint j = 0u; j < n_slots; j++) {
            sum += factors[factors_at + n * factors_token + j * factors_slot] * routed[from + j * routed_slot];
        }
        sum += share * shared_y[shared_at + n * shared_token + e * shared_col];
        y[y_at + n * y_token + e * y_col] = residual[residual_at + n * residual_token + e * residual_col] + sum;
    }
}
