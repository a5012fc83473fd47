// y = x, bits as they are: 16 bytes at a time, then the words beside them. x and y are contiguous, hold whole words and
// start at multiples of 16 bytes. Grid: a workgroup for every QUADS vectors a lane, which are all on their way at once.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SHIFT = 2;  // 2^SHIFT elements in 16 bytes
#define QUADS 4u

layout(std430, binding = 0) readonly buffer X4 { uvec4 x4[]; };
layout(std430, binding = 0) readonly buffer X1 { uint x1[]; };
layout(std430, binding = 1) writeonly buffer Y4 { uvec4 y4[]; };
layout(std430, binding = 1) writeonly buffer Y1 { uint y1[]; };
layout(push_constant) uniform Push { uint n_words, x_at, y_at; } p;

void main() {
    uint lanes = gl_WorkGroupSize.x, n = p.n_words >> 2, x = p.x_at >> SHIFT, y = p.y_at >> SHIFT;
    uint i = group_index() * lanes * QUADS + gl_LocalInvocationIndex;
    if (i + 3u * lanes < n) {
        uvec4 a = x4[x + i], b = x4[x + i + lanes], c = x4[x + i + 2u * lanes], d = x4[x + i + 3u * lanes];
        y4[y + i] = a;
        y4[y + i + lanes] = b;
        y4[y + i + 2u * lanes] = c;
        y4[y + i + 3u * lanes] = d;
    } else {
        for (; i < n; i += lanes) {  // less than QUADS times
            y4[y + i] = x4[x + i];
        }
    }
    uint left = 4u * n + gl_LocalInvocationIndex;
    if (group_index() == 0u && left < p.n_words) {
        y1[4u * y + left] = x1[4u * x + left];
    }
}
