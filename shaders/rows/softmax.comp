// y = softmax(scale * x + mask) of rows; a row that is -inf throughout gives 0. Any layouts, in place too; a mask that
// broadcasts has strides of 0. -DMASK: there is one.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "rows.glsl"
#include "maths.glsl"

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Y { float y[]; };
#ifdef MASK
layout(std430, binding = 2) readonly buffer M { float mask[]; };
#endif
layout(push_constant) uniform Push {
    ROWS ROW_STRIDES(x) ROW_STRIDES(y)
    float scale;
#ifdef MASK
    ROW_STRIDES(mask)
#endif
} p;

#ifdef MASK
#define VALUE(c) (x[row_x + (c) * p.x_col] * p.scale + mask[row_mask + (c) * p.mask_col])
#else
#define VALUE(c) (x[row_x + (c) * p.x_col] * p.scale)
#endif

void main() {
    uint i = group_index();
    if (i >= p.n_rows) {
        return;
    }
    uvec3 r = ROW(i);
    uint row_x = ROW_AT(x, r), row_y = ROW_AT(y, r);
#ifdef MASK
    uint row_mask = ROW_AT(mask, r);
#endif
    float held[HELD], top = -INFINITY, total = 0.0;
    EACH_COLUMN(h, c) {
        float v = VALUE(c);
        held[HELD_COLS != 0u ? h : 0u] = v;
        top = v > top ? v : top;
    }
    top = group_max(top);
    top = top == -INFINITY ? 0.0 : top;
    EACH_COLUMN(h, c) {
        float e = exp_of((HELD_COLS != 0u ? held[h] : VALUE(c)) - top);
        held[HELD_COLS != 0u ? h : 0u] = e;
        total += e;
    }
    total = group_sum(total);
    float factor = total == 0.0 ? 0.0 : 1.0 / total;
    EACH_COLUMN(h, c) {
        y[row_y + c * p.y_col] = (HELD_COLS != 0u ? held[h] : exp_of(VALUE(c) - top)) * factor;
    }
}
