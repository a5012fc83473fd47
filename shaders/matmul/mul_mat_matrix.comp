#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
// y[n, m] = sum over k of x[n, k] w[m, k] by cooperative matrices, for many columns: see matrix_tile.glsl.
// CONV: y is the product convolved, see convolved.glsl; of one batch.
// TYPE_<name>: the type of w. Grid: tiles of rows fastest, then of columns, then batch.

#include "matrix_table.glsl"
#define HALVES_BINDING 3
#include "dequant.glsl"
#include "mul_mat_args.glsl"
#define AFTER_ROWS await_late();
void await_late();
#if defined(CONV)
layout(std430, binding = 4) readonly buffer Conv { float conv[]; };
layout(std430, binding = 5) buffer State { float state[]; };
layout(std430, binding = 6) readonly buffer Slots { int slots[]; };
layout(std430, binding = 7) readonly buffer Tails { int tails[]; };
#define AFTER_COLUMNS load_early();
#define AFTER_TURNS load_late();
void load_early();
void load_late();
#endif
#include "matrix_tile.glsl"

layout(constant_id = 14) const uint CONSTANT = 0;  // is w written by no kernel?

void await_late() {
    if (CONSTANT != 0u) {
        await_inputs();
    }
}

uint m, n_first, w_first, x_first, y_first;

uint x_start_of(uint c) {
    return x_first + min(n_first + c, n_cols - 1u) * x_col;
}

uint y_start_of(uint c) {
    return y_first + (n_first + c) * y_col;
}

#if defined(CONV)

// Of each matrix of sums an invocation ends with every SHARERS-th element, which are of one row.
const uint SHARERS = gl_WorkGroupSize.x / PARTS, ELEMENTS = (M * N + SHARERS - 1u) / SHARERS;
const uint ROWS = ROW_SUMS, COLS = COL_SUMS * ELEMENTS;
const uint MOST_HELD = 4u;  // elements of an invocation whose past registers hold from the start; of more it comes late
#include "convolved.glsl"

uint element(uint k) {
    return k * SHARERS + team() * gl_SubgroupSize + gl_SubgroupInvocationID;
}

uint channel_of(uint r) {
    return m + sums_row(r) + element(0u) % M;
}

uint column_of(uint c) {
    uint e = element(c % ELEMENTS);
    return e < M * N ? n_first + part_col() + c / ELEMENTS * N + e / M : n_cols;
}

void load_channels() {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        load_past(r, channel_of(r), n_rows);
    }
}

void load_early() {
    load_slots();
    if (ROWS * COLS <= MOST_HELD) {
        load_channels();
    }
}

// Slots once more, else compilers keep all places of the past in registers, to write there.
void load_late() {
    if (ROWS * COLS <= MOST_HELD) {
        load_slots();
    } else {
        load_channels();
    }
    load_tails();
}

// The ith of an invocation's elements, all of a matrix of sums one after the other.
void store_element(uint i) {
    uint own = i / ELEMENTS, k = i % ELEMENTS, r = own / COL_SUMS, c = own % COL_SUMS * ELEMENTS + k;
    if (k == 0u) {
        open_sums(own, 0u);
    }
    uint row = channel_of(r), column = column_of(c);
    if (row < n_rows && column < n_cols) {
        float sum = number_or_exact(sum_at(0u, element(k)), w_first + row * w_row, x_first + column * x_col);
        y[y_first + column * y_col + row * y_inner] = convolved(r, c, row, n_rows, sum);
    }
    if (k == ELEMENTS - 1u) {
        close_sums();
    }
}

#endif

void main() {
    if (CONSTANT == 0u) {
        await_inputs();
    }
    begin_dequant(gl_WorkGroupSize.x);
    uint row_tiles = (n_rows + TILE_ROWS - 1u) / TILE_ROWS, col_tiles = (n_cols + TILE_COLS - 1u) / TILE_COLS;
    uint group = group_index(), batch = group / row_tiles / col_tiles;
    uint b0 = batch / n_batch1, b1 = batch % n_batch1;
    if (b0 >= n_batch0) {
        return;
    }
    m = group % row_tiles * TILE_ROWS;
    n_first = group / row_tiles % col_tiles * TILE_COLS;
    x_first = x_at + b0 * x_batch0 + b1 * x_batch1;
    y_first = y_at + b0 * y_batch0 + b1 * y_batch1;
    w_first = w_start(b0, b1);
    [[unroll]] for (uint i = 0u; i < W_ITEMS; i++) {
        w_starts[i] = w_first + min(m + row_of(i), n_rows - 1u) * w_row;
    }
    [[unroll]] for (uint i = 0u; i < X_ITEMS; i++) {
        x_starts[i] = x_start_of(col_of(i));
    }
    multiply();
#if defined(CONV)
    EACH_TO_8(ROWS * COLS, store_element)
#else
    store_tile(w_first, m, n_cols - n_first);
#endif
}
