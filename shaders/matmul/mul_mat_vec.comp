#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if defined(WIDE) || defined(SUBGROUPS)
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#if defined(DOT)
#extension GL_KHR_shader_subgroup_shuffle : require
#if !defined(TEXT)
#extension GL_EXT_spirv_intrinsics : require
#endif
#endif
// y[n, m] = sum over k of x[n, k] w[m, k] for GPUs and few columns, see dots.glsl.
// TYPE_<name>: the type of w. EXPERTS: w by ids, ADD: onto a residual, see mul_mat_args.glsl; GLU: x is a gated linear
// unit, see glu.glsl.
// Grid: tiles (WIDE: runs of tiles) of rows fastest, then of columns, then batch.

#define TABLE_SHARED
#include "dequant.glsl"
#include "mul_mat_args.glsl"
#if defined(GLU)
#include "glu.glsl"
#endif
#include "dots.glsl"

float with_residual(float sum, uint col, uint row) {
#if defined(GLU)
    sum += adds != 0u ? residual[residual_at + col * residual_col + row] : 0.0;
#elif defined(ADD)
    sum += residual[residual_at + col * residual_col + row];
#endif
    return sum;
}

#if defined(WIDE)

uint m, w_first, y_first, first_col;

void take_tile(uint t) {
    m = t * TILE_OF(ROWS) + FIRST_ROW;
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        rows[r] = w_first + min(m + r * ROW_STEP, n_rows - 1u) * w_row;
    }
}

void store_tile(uint t) {
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            uint row = m + r * ROW_STEP;
            if (is_writer() && row < n_rows && first_col + c < n_cols) {
                y[y_first + c * y_col + row * y_inner] = with_residual(sums[r][c], first_col + c, row);
            }
        }
    }
}

void main() {
    fill_table(gl_WorkGroupSize.x);  // the barrier before the first columns is its too
#if defined(EXPERTS)
    await_inputs();
#endif
    await_early();
    uint tiles = (n_rows + TILE_OF(ROWS) - 1u) / TILE_OF(ROWS), runs = (tiles + RUN - 1u) / RUN;
    uint group = group_index(), first = group % runs * RUN, col_tiles = (n_cols + COLS - 1u) / COLS;
    first_col = group / runs % col_tiles * COLS;
    uint batch = group / runs / col_tiles, b0 = batch / n_batch1, b1 = batch % n_batch1;
    if (b0 >= n_batch0) {
        return;
    }
    w_first = w_start(b0, b1);
    y_first = y_at + b0 * y_batch0 + b1 * y_batch1 + first_col * y_col;
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        cols[c] = x_at + b0 * x_batch0 + b1 * x_batch1 + min(first_col + c, n_cols - 1u) * x_col;
    }
    run_tiles(first, min(first + RUN, tiles));
}

#else

void main() {
    begin_dequant(gl_WorkGroupSize.x);
    uint row_tiles = (n_rows + TILE_OF(ROWS) - 1u) / TILE_OF(ROWS), col_tiles = (n_cols + COLS - 1u) / COLS;
    uint group = group_index();
    uint m = group % row_tiles * TILE_OF(ROWS) + FIRST_ROW, n = group / row_tiles % col_tiles * COLS;
    uint batch = group / row_tiles / col_tiles;
    uint b0 = batch / n_batch1, b1 = batch % n_batch1;
    if (b0 >= n_batch0) {
        return;
    }
    uint w_first = w_start(b0, b1);
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        rows[r] = w_first + min(m + r * ROW_STEP, n_rows - 1u) * w_row;
    }
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        cols[c] = x_at + b0 * x_batch0 + b1 * x_batch1 + min(n + c, n_cols - 1u) * x_col;
    }
    multiply();
    uint y_first = y_at + b0 * y_batch0 + b1 * y_batch1 + n * y_col;
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            float sum = total(sums[r][c]);
            uint row = m + r * ROW_STEP;
            if (is_writer() && row < n_rows && n + c < n_cols) {
                y[y_first + c * y_col + row * y_inner] = with_residual(sum, n + c, row);
            }
        }
    }
}

#endif
