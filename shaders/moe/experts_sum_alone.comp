// y[n, m] = residual[n, m] + sum over j of factors[n, j] (routed[n, j, m] + bias[e, m]) for e = ids[n, j], clamped, with
// no expert for all tokens. RESIDUAL, BIASED: whether these are there. Inner axes have stride 1.
// Grid: runs of RUN columns fastest, then tokens n.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint RUN = 64;
layout(constant_id = 2) const uint RESIDUAL = 0;
layout(constant_id = 3) const uint BIASED = 0;

layout(std430, binding = 0) readonly buffer Routed { float routed[]; };
layout(std430, binding = 1) readonly buffer Factors { float factors[]; };
layout(std430, binding = 2) readonly buffer Residual { float residual[]; };
layout(std430, binding = 3) readonly buffer Ids { int ids[]; };
layout(std430, binding = 4) readonly buffer Bias { float bias[]; };
layout(std430, binding = 5) buffer Y { float y[]; };
layout(push_constant) uniform Args {
    uint routed_at, factors_at, residual_at, ids_at, bias_at, y_at;
    uint n_tokens, n_slots, n_experts, n_cols;
    uint routed_token, routed_slot, factors_token, factors_slot, residual_token;
    uint ids_token, ids_slot, bias_expert, y_token;
};

float made(uint n, uint j, uint m) {
    float x = routed[routed_at + n * routed_token + j * routed_slot + m];
    if (BIASED != 0u) {
        uint e = uint(clamp(ids[ids_at + n * ids_token + j * ids_slot], 0, int(n_experts) - 1));
        x += bias[bias_at + e * bias_expert + m];
    }
    return x;
}

void main() {
    uint runs = (n_cols + RUN - 1u) / RUN, group = group_index(), n = group / runs;
    if (n >= n_tokens) {
        return;
    }
    uint first = group % runs * RUN, stop = min(first + RUN, n_cols);
    for (uint m = first + gl_LocalInvocationID.x; m < stop; m += gl_WorkGroupSize.x) {
        float sum = 0.0;
        for (uint j = 0u; j < n_slots; j++) {
            sum += factors[factors_at + n * factors_token + j * factors_slot] * made(n, j, m);
        }
        if (RESIDUAL != 0u) {
            sum += residual[residual_at + n * residual_token + m];
        }
        y[y_at + n * y_token + m] = sum;
    }
}
