// s = x + y and s / sqrt(mean(s^2) + eps) * w of rows; any layouts, s in the place of x or y too.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "rows.glsl"

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer W { float w[]; };
layout(std430, binding = 3) buffer S { float s[]; };
layout(std430, binding = 4) buffer Normed { float normed[]; };
layout(push_constant) uniform Push {
    ROWS ROW_STRIDES(x) ROW_STRIDES(y) ROW_STRIDES(s) ROW_STRIDES(normed)
    uint w_col, w_at;
    float eps;
} p;

void main() {
    uint i = group_index();
    if (i >= p.n_rows) {
        return;
    }
    uvec3 r = ROW(i);
    uint row_x = ROW_AT(x, r), row_y = ROW_AT(y, r), row_s = ROW_AT(s, r), row_normed = ROW_AT(normed, r);
    float total = 0.0, held[HELD], weights[HELD];
    if (ASKS_FIRST) {
        EACH_COLUMN(h, c) {
            held[h] = x[row_x + c * p.x_col] + y[row_y + c * p.y_col];
            weights[h] = w[p.w_at + c * p.w_col];
        }
    }
    EACH_COLUMN(h, c) {
        float v = ASKS_FIRST ? held[h] : x[row_x + c * p.x_col] + y[row_y + c * p.y_col];
        held[HELD_COLS != 0u ? h : 0u] = v;
        s[row_s + c * p.s_col] = v;
        total += v * v;
    }
    float factor = 1.0 / sqrt(group_sum(total) / float(p.n_cols) + p.eps);
    EACH_COLUMN(h, c) {
        float v = HELD_COLS != 0u ? held[h] : s[row_s + c * p.s_col];
        normed[row_normed + c * p.normed_col] = v * factor * (ASKS_FIRST ? weights[h] : w[p.w_at + c * p.w_col]);
    }
}
