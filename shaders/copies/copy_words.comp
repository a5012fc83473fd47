// y = x as a 16-bit type DST, one invocation a word of y, whose rows have stride 1 and start at any half.
// The walk's last axis counts the words that a row of `n_cols` may touch: n_cols / 2 + 1. -DSRC, -DDST: elements.glsl.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "walk.glsl"

layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) buffer Y { uint y[]; };
layout(push_constant) uniform Push { WALK STRIDES(x) STRIDES(y) uint n_cols; } p;

#include "elements.glsl"

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
        uvec4 row = uvec4(c.xyz, 0u);
        uint row_x = AT(x, row), row_y = AT(y, row);
        uint high = 2u * c.w + 1u - (row_y & 1u), low = high - 1u;  // low is 2^32 - 1 before a row of odd start
        uint at_low = row_x + low * p.x_3, at_high = row_x + high * p.x_3;
        if (low < p.n_cols && high < p.n_cols) {
            y[(row_y + low) >> 1] = LOAD(x, at_low) | LOAD(x, at_high) << 16;
        } else if (low < p.n_cols) {
            STORE(row_y + low, LOAD(x, at_low));
        } else if (high < p.n_cols) {
            STORE(row_y + high, LOAD(x, at_high));
        }
    }
}
