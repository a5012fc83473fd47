#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
// y[n, m] = sum over k of x[n, k] w[m, k] by cooperative matrices, for many columns: see matrix_tile.glsl.
// TYPE_<name>: the type of w. Grid: tiles of rows fastest, then of columns, then batch.

#define TABLE_SHARED
#define HALVES_BINDING 3
#include "dequant.glsl"
#include "mul_mat_args.glsl"
#define AFTER_ROWS await_late();
void await_late();
#include "matrix_tile.glsl"

layout(constant_id = 14) const uint CONSTANT = 0;  // is w written by no kernel?

void await_late() {
    if (CONSTANT != 0u) {
        await_inputs();
    }
}

uint n_first, x_first, y_first;

uint x_start_of(uint c) {
    return x_first + min(n_first + c, n_cols - 1u) * x_col;
}

uint y_start_of(uint c) {
    return y_first + (n_first + c) * y_col;
}

void main() {
    if (CONSTANT == 0u) {
        await_inputs();
    }
    begin_dequant(gl_WorkGroupSize.x);
    uint row_tiles = (n_rows + TILE_ROWS - 1u) / TILE_ROWS, col_tiles = (n_cols + TILE_COLS - 1u) / TILE_COLS;
    uint group = group_index(), batch = group / row_tiles / col_tiles;
    uint b0 = batch / n_batch1, b1 = batch % n_batch1, m = group % row_tiles * TILE_ROWS;
    if (b0 >= n_batch0) {
        return;
    }
    n_first = group / row_tiles % col_tiles * TILE_COLS;
    x_first = x_at + b0 * x_batch0 + b1 * x_batch1;
    y_first = y_at + b0 * y_batch0 + b1 * y_batch1;
    uint w_first = w_start(b0, b1);
    [[unroll]] for (uint i = 0u; i < W_ITEMS; i++) {
        w_starts[i] = w_first + min(m + row_of(i), n_rows - 1u) * w_row;
    }
    [[unroll]] for (uint i = 0u; i < X_ITEMS; i++) {
        x_starts[i] = x_start_of(col_of(i));
    }
    multiply();
    store_tile(w_first, m, n_cols - n_first);
}
