#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if defined(SUBGROUPS)
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
// y[n, m] = sum over k of x[n, k] w[m, k] for GPUs and few columns, see vec.glsl.
// TYPE_<name>: the type of w. EXPERTS: w by ids, see mul_mat_args.glsl. SUBGROUPS: sum by subgroups first.
// Grid: tiles of rows fastest, then of columns, then batch.

#include "dequant.glsl"
#include "mul_mat_args.glsl"
#include "vec.glsl"

void main() {
    uint row_tiles = (n_rows + ROWS - 1u) / ROWS, col_tiles = (n_cols + COLS - 1u) / COLS;
    uint group = group_index();
    uint m = group % row_tiles * ROWS, n = group / row_tiles % col_tiles * COLS;
    uint batch = group / row_tiles / col_tiles;
    uint b0 = batch / n_batch1, b1 = batch % n_batch1;
    if (b0 >= n_batch0) {
        return;
    }
    uint w_first = w_start(b0, b1);
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        rows[r] = w_first + min(m + r, n_rows - 1u) * w_row;
    }
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        cols[c] = x_at + b0 * x_batch0 + b1 * x_batch1 + min(n + c, n_cols - 1u) * x_col;
    }
    multiply();
    uint y_first = y_at + b0 * y_batch0 + b1 * y_batch1 + n * y_col + m * y_inner;
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            float sum = total(sums[r][c]);
            if (gl_LocalInvocationID.x == 0u && m + r < n_rows && n + c < n_cols) {
                y[y_first + c * y_col + r * y_inner] = sum;
            }
        }
    }
}
