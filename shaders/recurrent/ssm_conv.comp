#version 450
#extension GL_GOOGLE_include_directive : require
// y[b, t, c] = sum over j < n_taps of x[b, t + j, c] w[c, j]: the depthwise causal convolution; any strides.
// Grid: tiles of channels fastest, then t, then b.

#include "common.glsl"

layout(local_size_x_id = 0) in;

layout(std430, binding = 0) readonly buffer X {
    float x[];
};
layout(std430, binding = 1) readonly buffer W {
    float w[];
};
layout(std430, binding = 2) buffer Y {
    float y[];
};
layout(push_constant) uniform Args {
    uint x_at, w_at, y_at;
    uint n_batch, n_tokens, n_channels, n_taps;
    uint x_batch, x_token, x_channel;
    uint w_channel, w_tap;
    uint y_batch, y_token, y_channel;
};

void main() {
    uint tiles = (n_channels + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
    uint group = group_index();
    uint channel = group % tiles * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    uint token = group / tiles % n_tokens, batch = group / tiles / n_tokens;
    if (batch >= n_batch || channel >= n_channels) {
        return;
    }
    uint first = x_at + batch * x_batch + token * x_token + channel * x_channel;
    float sum = 0.0;
    for (uint j = 0u; j < n_taps; j++) {
        sum += x[first + j * x_token] * w[w_at + channel * w_channel + j * w_tap];
    }
    y[y_at + batch * y_batch + token * y_token + channel * y_channel] = sum;
}
