// y = the running sum of each row of x; any layouts, in place too. Each lane sums a run of columns, then writes its
// running sum on top of what the lanes before it found.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Y { float y[]; };
layout(push_constant) uniform Push {
    uint n_rows, n_cols, rows1, rows2, x_0, x_1, x_2, x_col, x_at, y_0, y_1, y_2, y_col, y_at;
} p;

shared float sums[128];

void main() {
    uint i = group_index(), lane = gl_LocalInvocationIndex;
    if (i >= p.n_rows) {
        return;
    }
    uint i2 = i % p.rows2, rest = i / p.rows2, i1 = rest % p.rows1, i0 = rest / p.rows1;
    uint row_x = p.x_at + i0 * p.x_0 + i1 * p.x_1 + i2 * p.x_2, row_y = p.y_at + i0 * p.y_0 + i1 * p.y_1 + i2 * p.y_2;
    uint run = (p.n_cols + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
    uint first = lane * run, last = min(first + run, p.n_cols);
    float sum = 0.0;
    for (uint c = first; c < last; c++) {
        sum += x[row_x + c * p.x_col];
    }
    sums[lane] = sum;
    barrier();
    sum = 0.0;
    for (uint k = 0u; k < lane; k++) {
        sum += sums[k];
    }
    for (uint c = first; c < last; c++) {
        sum += x[row_x + c * p.x_col];
        y[row_y + c * p.y_col] = sum;
    }
}
