#version 450
#extension GL_GOOGLE_include_directive : require
// y = x as halves in the order of halved.glsl, one invocation eight of them.
#include "common.glsl"
#include "halved.glsl"

layout(local_size_x = 64) in;

layout(std430, binding = 0) readonly buffer X { vec4 x[]; };
layout(std430, binding = 1) buffer Y { uvec4 y[]; };
layout(push_constant) uniform Args { uint n_octets, x_at, y_at; };

void main() {
    uint i = group_index() * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (i < n_octets) {
        uint at = (x_at >> 2) + 2u * i;
        y[(y_at >> 3) + i] = uvec4(halves(x[at]), halves(x[at + 1u]));
    }
}
