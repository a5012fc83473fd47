#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// y[n, m] = sum over k of x[n, k] w[m, k] for GPUs and many columns, see tile.glsl. TYPE_<name>: the type of w.
// Grid: tiles of rows fastest, then of columns, then batch.

#include "dequant.glsl"
#include "mul_mat_args.glsl"
#include "tile.glsl"

void main() {
    uint row_tiles = (n_rows + TILE_ROWS - 1u) / TILE_ROWS, col_tiles = (n_cols + TILE_COLS - 1u) / TILE_COLS;
    uint group = group_index();
    uint m = group % row_tiles * TILE_ROWS, n = group / row_tiles % col_tiles * TILE_COLS;
    uint batch = group / row_tiles / col_tiles;
    uint b0 = batch / n_batch1, b1 = batch % n_batch1;
    if (b0 >= n_batch0) {
        return;
    }
    uint id = gl_LocalInvocationID.x;
    uint x_first = x_at + b0 * x_batch0 + b1 * x_batch1, y_first = y_at + b0 * y_batch0 + b1 * y_batch1;
    uint row = min(m + id % TILE_ROWS, n_rows - 1u), col = min(n + id % TILE_COLS, n_cols - 1u);
    multiply(w_start(b0, b1) + row * w_row, x_first + col * x_col);
    for (uint c = 0u; c < 4u; c++) {
        uint column = n + tile_col() + c;
        if (column < n_cols) {
            store_column(c, y_first + column * y_col, m);
        }
    }
}
