#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
// y[n, m] = sum over k of x[n, k] w[m, k] for CPUs, see lanes.glsl.
// TYPE_<name>: the type of w. EXPERTS: w by ids, see mul_mat_args.glsl.
// Grid: tiles of rows fastest, then of columns, then batch.

#include "dequant.glsl"
#include "mul_mat_args.glsl"
#include "lanes.glsl"

void main() {
    uint row_tiles = (n_rows + gl_WorkGroupSize.x * ROWS - 1u) / (gl_WorkGroupSize.x * ROWS);
    uint col_tiles = (n_cols + COLS - 1u) / COLS;
    uint group = group_index();
    uint m = group % row_tiles * gl_WorkGroupSize.x * ROWS + gl_LocalInvocationID.x;
    uint n = group / row_tiles % col_tiles * COLS, batch = group / row_tiles / col_tiles;
    uint b0 = batch / n_batch1, b1 = batch % n_batch1;
    if (b0 >= n_batch0) {
        return;
    }
    take_rows(w_start(b0, b1), m);
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        cols[c] = x_at + b0 * x_batch0 + b1 * x_batch1 + min(n + c, n_cols - 1u) * x_col;
    }
    multiply();
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        if (n + c < n_cols) {
            store_column(c, y_at + b0 * y_batch0 + b1 * y_batch1 + (n + c) * y_col, m);
        }
    }
}
