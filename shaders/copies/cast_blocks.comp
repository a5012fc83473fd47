// y = x of Q8_0 as floats. x of rows of n_inner, the first of row_inner; strides of x in words, y of any layout.
// Grid: chunks of a row fastest, four numbers an invocation, then rows, over three axes.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "cached.glsl"

layout(local_size_x_id = 0) in;

layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) buffer Y { float y[]; };
layout(push_constant) uniform Push {
    uint n_inner, row_inner, n0, n1, n2;
    uint x_at, x_0, x_1, x_2;
    uint y_at, y_0, y_1, y_2, y_inner;
} p;

void main() {
    uint chunks = (p.n_inner / 4u + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
    uint group = group_index(), row = group / chunks;
    uint word = group % chunks * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    uint i2 = row % p.n2, i1 = row / p.n2 % p.n1, i0 = row / p.n2 / p.n1;
    if (i0 >= p.n0 || word >= p.n_inner / 4u) {
        return;
    }
    uint from = p.x_at + i0 * p.x_0 + i1 * p.x_1 + i2 * p.x_2;
    vec4 four = BYTES_AT(x, from, p.row_inner / 2u, word);
    uint at = p.y_at + i0 * p.y_0 + i1 * p.y_1 + i2 * p.y_2 + 4u * word * p.y_inner;
    y[at] = four.x;
    y[at + p.y_inner] = four.y;
    y[at + 2u * p.y_inner] = four.z;
    y[at + 3u * p.y_inner] = four.w;
}
