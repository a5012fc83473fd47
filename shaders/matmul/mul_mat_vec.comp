#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if defined(WIDE) || defined(SUBGROUPS)
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#if defined(DOT) && !defined(TEXT)
#extension GL_EXT_spirv_intrinsics : require
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

float residual_of(uint col, uint row) {
#if defined(GLU)
    return adds != 0u ? residual[residual_at + col * residual_col + row] : 0.0;
#elif defined(ADD)
    return residual[residual_at + col * residual_col + row];
#else
    return 0.0;
#endif
}

#if defined(WIDE)

#if defined(EXPERTS)
#define N_EXPERTS n_experts
#else
#define N_EXPERTS 1u
#endif

#if defined(GLU)
Asked ask_quad(uint c, uint p, uint quad) {
    uint at = cols[c] + quad_place(p, quad, n_inner), open = at - x_at + up_at;
    return Asked(x_quad(at), vec4(up[open], up[open + 1u], up[open + 2u], up[open + 3u]));
}

vec4 made_quad(uint c, Asked quad) {
    return vec4(glu(quad.a.x, quad.b.x), glu(quad.a.y, quad.b.y), glu(quad.a.z, quad.b.z), glu(quad.a.w, quad.b.w));
}
#endif

uint w_first, y_first, first_col;
float added[COLS];

uint row_of_tile(uint t, uint r) {
    return t * TILE_OF(ROWS) + FIRST_ROW + r * ROW_STEP;
}

void take_tile(uint t) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        rows[r] = w_first + min(row_of_tile(t, r), n_rows - 1u) * w_row;
    }
}

void of_tile(uint t) {
}

bool stores(uint t, uint c) {
    return is_writer() && row_of_tile(t, own_row()) < n_rows && first_col + c < n_cols;
}

void start_tile(uint t) {
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        if (stores(t, c)) {
            added[c] = residual_of(first_col + c, row_of_tile(t, own_row()));
        }
    }
}

void store_tile(uint t) {
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        if (stores(t, c)) {
            y[y_first + c * y_col + row_of_tile(t, own_row()) * y_inner] = sum_of(own_row(), c) + added[c];
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
    uint run = group_index(), b0 = 0u, b1 = 0u;
    first_col = 0u;
    w_first = w_at;
    if (n_cols > COLS || n_batch0 * n_batch1 > 1u || N_EXPERTS > 1u) {  // else spared
        uint col_tiles = (n_cols + COLS - 1u) / COLS, batch = run / runs / col_tiles;
        first_col = run / runs % col_tiles * COLS;
        run %= runs;
        b0 = batch / n_batch1;
        b1 = batch % n_batch1;
        w_first = w_start(min(b0, n_batch0 - 1u), b1);
    }
    if (b0 >= n_batch0 || run >= runs) {
        return;
    }
    y_first = y_at + b0 * y_batch0 + b1 * y_batch1 + first_col * y_col;
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        cols[c] = x_at + b0 * x_batch0 + b1 * x_batch1 + min(first_col + c, n_cols - 1u) * x_col;
    }
    run_tiles(run * RUN, min(run * RUN + RUN, tiles));
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
                y[y_first + c * y_col + row * y_inner] = sum + residual_of(n + c, row);
            }
        }
    }
}

#endif
