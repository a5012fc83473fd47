// y [..., 1] = the sum of each row of x; any layouts.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "rows.glsl"

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Y { float y[]; };
layout(push_constant) uniform Push { ROWS ROW_STRIDES(x) ROW_STRIDES(y) } p;

void main() {
    uint i = group_index();
    if (i >= p.n_rows) {
        return;
    }
    uvec3 r = ROW(i);
    uint row_x = ROW_AT(x, r);
    float total = 0.0;
    EACH_COLUMN(h, c) {
        total += x[row_x + c * p.x_col];
    }
    total = group_sum(total);
    if (LANE == 0u) {
        y[ROW_AT(y, r)] = total;
    }
}
