// y[n, j, f] = glu(gate[n, j, f] + gate_bias[e, f], up[n, j, f] + up_bias[e, f]) for e = ids[n, j], which are clamped.
// GLU: 0 silu(a) b, 1 gelu(a) b, 2 min(a, 7) sigmoid(1.702 min(a, 7)) (clamp(b, -7, 7) + 1). Inner axes have stride 1.
// Grid: runs of RUN columns fastest, then slots j, then tokens n.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "maths.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint RUN = 64;
layout(constant_id = 2) const uint GLU = 0;

layout(std430, binding = 0) readonly buffer Gate { float gate[]; };
layout(std430, binding = 1) readonly buffer Up { float up[]; };
layout(std430, binding = 2) readonly buffer Ids { int ids[]; };
layout(std430, binding = 3) readonly buffer GateBias { float gate_bias[]; };
layout(std430, binding = 4) readonly buffer UpBias { float up_bias[]; };
layout(std430, binding = 5) buffer Y { float y[]; };
layout(push_constant) uniform Args {
    uint gate_at, up_at, ids_at, gate_bias_at, up_bias_at, y_at;
    uint n_tokens, n_slots, n_experts, n_cols;
    uint gate_token, gate_slot, up_token, up_slot, ids_token, ids_slot;
    uint gate_bias_expert, up_bias_expert, y_token, y_slot;
};

// NaN stays NaN.
float clamped(float x, float low, float high) {
    return select_nan(x, clamp(x, low, high));
}

float glu(float a, float b) {
    if (GLU == 0u) {
        return silu(a) * b;
    }
    if (GLU == 1u) {
        return gelu(a) * b;
    }
    float opened = select_nan(a, min(a, 7.0));
    return opened * sigmoid(1.702 * opened) * (clamped(b, -7.0, 7.0) + 1.0);
}

void main() {
    uint runs = (n_cols + RUN - 1u) / RUN, group = group_index(), row = group / runs;
    uint n = row / n_slots, j = row % n_slots;
    if (n >= n_tokens) {
        return;
    }
    uint e = uint(clamp(ids[ids_at + n * ids_token + j * ids_slot], 0, int(n_experts) - 1));
    uint first = group % runs * RUN, stop = min(first + RUN, n_cols);
    for (uint f = first + gl_LocalInvocationID.x; f < stop; f += gl_WorkGroupSize.x) {
        float a = gate[gate_at + n * gate_token + j * gate_slot + f] + gate_bias[gate_bias_at + e * gate_bias_expert + f];
        float b = up[up_at + n * up_token + j * up_slot + f] + up_bias[up_bias_at + e * up_bias_expert + f];
        y[y_at + n * y_token + j * y_slot + f] = glu(a, b);
    }
}
