// y = x after 8 * n_rounds times v = v * factor + bias: arithmetic in registers, to measure what a device can do.
// x and y contiguous, F32. Each lane takes 32 elements, in 8 vectors that do not wait for each other.
// Grid: a workgroup for every 32 elements a lane.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x_id = 0) in;

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(push_constant) uniform Push { uint count, x_at, y_at, n_rounds; float factor, bias; } p;

#define EIGHT(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7)
#define LOADED(k) vec4 v##k = loaded(first + uint(k) * 4u * lanes, lanes);
#define STEP(k) v##k = fma(v##k, factor, bias);
#define STORED(k) store(first + uint(k) * 4u * lanes, lanes, v##k);
#define ROUND EIGHT(STEP) EIGHT(STEP) EIGHT(STEP) EIGHT(STEP) EIGHT(STEP) EIGHT(STEP) EIGHT(STEP) EIGHT(STEP)

// Elements at, at + lanes, ..., so that the lanes of a workgroup touch neighbours; zeros beyond the end.
vec4 loaded(uint at, uint lanes) {
    vec4 v = vec4(0.0);
    for (uint j = 0u; j < 4u; ++j) {
        if (at + j * lanes < p.count) {
            v[j] = x[p.x_at + at + j * lanes];
        }
    }
    return v;
}

void store(uint at, uint lanes, vec4 v) {
    for (uint j = 0u; j < 4u; ++j) {
        if (at + j * lanes < p.count) {
            y[p.y_at + at + j * lanes] = v[j];
        }
    }
}

void main() {
    uint lanes = gl_WorkGroupSize.x, first = group_index() * 32u * lanes + gl_LocalInvocationIndex;
    vec4 factor = vec4(p.factor), bias = vec4(p.bias);
    EIGHT(LOADED)
    for (uint i = 0u; i < p.n_rounds; ++i) {
        ROUND
    }
    EIGHT(STORED)
}
