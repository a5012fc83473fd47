// Norms of rows; any layouts, in place too.
//   RMS    x / sqrt(mean(x^2) + eps), with -DWEIGHT times w, with -DGATE times w silu(gate)
//          with -DADDED plus what is added, with -DMEAN of x less its mean
//   L2     x / sqrt(sum(x^2) + eps)
//   L2_MAX x / max(sqrt(sum(x^2)), eps)
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "rows.glsl"
#include "maths.glsl"

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Y { float y[]; };
#ifdef WEIGHT
layout(std430, binding = 2) readonly buffer W { float w[]; };
#endif
#ifdef GATE
layout(std430, binding = 3) readonly buffer G { float gate[]; };
#endif
#ifdef ADDED
layout(std430, binding = 3) readonly buffer A { float added[]; };
#endif
layout(push_constant) uniform Push {
    ROWS ROW_STRIDES(x) ROW_STRIDES(y)
    float eps;
#ifdef WEIGHT
    uint w_col, w_at;
#endif
#ifdef GATE
    ROW_STRIDES(gate)
#endif
#ifdef ADDED
    ROW_STRIDES(added)
#endif
} p;

float RMS(float total) { return 1.0 / sqrt(total / float(p.n_cols) + p.eps); }
float L2(float total) { return 1.0 / sqrt(total + p.eps); }
float L2_MAX(float total) { return select_nan(total, 1.0 / max(sqrt(total), p.eps)); }

float held[HELD], mean = 0.0;
#ifdef WEIGHT
float weights[HELD];
#endif

// The sum of the row's squares, of which `held` keeps the numbers.
float squares(uint row_x) {
#ifdef WEIGHT
    if (ASKS_FIRST) {
        EACH_COLUMN(h, c) {
            weights[h] = w[p.w_at + c * p.w_col];
        }
    }
#endif
#ifdef MEAN
    EACH_COLUMN(h, c) {
        mean += x[row_x + c * p.x_col];
    }
    mean = group_sum(mean) / float(p.n_cols);
#endif
    float total = 0.0;
    EACH_COLUMN(h, c) {
        float v = x[row_x + c * p.x_col] - mean;
        held[HELD_COLS != 0u ? h : 0u] = v;
        total += v * v;
    }
    return group_sum(total);
}

void main() {
    uint i = group_index();
    if (i >= p.n_rows) {
        return;
    }
    uvec3 r = ROW(i);
    uint row_x = ROW_AT(x, r), row_y = ROW_AT(y, r);
    float factor = KIND(squares(row_x));
#ifdef GATE
    uint row_gate = ROW_AT(gate, r);
#endif
#ifdef ADDED
    uint row_added = ROW_AT(added, r);
#endif
    EACH_COLUMN(h, c) {
        float v = (HELD_COLS != 0u ? held[h] : x[row_x + c * p.x_col] - mean) * factor;
#ifdef WEIGHT
        v *= ASKS_FIRST ? weights[h] : w[p.w_at + c * p.w_col];
#endif
#ifdef GATE
        v *= silu(gate[row_gate + c * p.gate_col]);
#endif
#ifdef ADDED
        v += added[row_added + c * p.added_col];
#endif
        y[row_y + c * p.y_col] = v;
    }
}
