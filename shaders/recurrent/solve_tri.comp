#version 450
#extension GL_GOOGLE_include_directive : require
// x with a x = b by forward substitution, a lower triangular [b0, b1, n, n], b and x [b0, b1, n, m]; any strides.
// An invocation owns a column: it reads back what it wrote itself. Grid: tiles of columns fastest, then batch.

#include "common.glsl"

layout(local_size_x_id = 0) in;

layout(std430, binding = 0) readonly buffer A {
    float a[];
};
layout(std430, binding = 1) readonly buffer B {
    float b[];
};
layout(std430, binding = 2) buffer X {
    float x[];
};
layout(push_constant) uniform Args {
    uint a_at, b_at, x_at;
    uint n_batch0, n_batch1, n, m;
    uint a_0, a_1, a_row, a_col;
    uint b_0, b_1, b_row, b_col;
    uint x_0, x_1, x_row, x_col;
};

void main() {
    uint tiles = (m + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
    uint group = group_index(), batch = group / tiles;
    uint column = group % tiles * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    uint b0 = batch / n_batch1, b1 = batch % n_batch1;
    if (b0 >= n_batch0 || column >= m) {
        return;
    }
    uint a_first = a_at + b0 * a_0 + b1 * a_1;
    uint b_first = b_at + b0 * b_0 + b1 * b_1 + column * b_col;
    uint x_first = x_at + b0 * x_0 + b1 * x_1 + column * x_col;
    for (uint i = 0u; i < n; i++) {
        float sum = 0.0;
        for (uint j = 0u; j < i; j++) {
            sum += a[a_first + i * a_row + j * a_col] * x[x_first + j * x_row];
        }
        x[x_first + i * x_row] = (b[b_first + i * b_row] - sum) / a[a_first + i * (a_row + a_col)];
    }
}
