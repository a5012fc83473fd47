#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if defined(LANES) || defined(WIDE) || defined(SUBGROUPS)
#extension GL_KHR_shader_subgroup_basic : require
#endif
#if defined(LANES)
#extension GL_KHR_shader_subgroup_shuffle : require
#elif defined(WIDE) || defined(SUBGROUPS)
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#if defined(DOT) && !defined(TEXT)
#extension GL_EXT_spirv_intrinsics : require
#endif
#endif
// y0, y1, y2 [n, m] = sum over k of x[n, k] w0, w1, w2 [m, k]: products of one input, see dots.glsl. Inner axes have
// stride 1. TYPE_<name>: the type of the first N_FIRST weights; SECOND_<name>: that of the others, if another. Without a
// third weight its rows are 0.
// NORM: x is normed first, and given out normed too, see normed.glsl; for devices with subgroups. CONV, with NORM: what w0
// makes is convolved, see convolved.glsl.
// Grid: tiles (WIDE: runs of tiles) of rows of w0, w1, w2, then columns.

#define N_WEIGHTS 3
layout(constant_id = 10) const uint N_FIRST = 3u;
#include "common.glsl"
#if !defined(LANES)
#define TABLE_SHARED
#endif
#include "weights.glsl"

layout(std430, binding = 3) readonly buffer X { float x[]; };
#if defined(WIDE)
layout(std430, binding = 3) readonly buffer X4 { vec4 x4[]; };
#endif
layout(std430, binding = 4) buffer Y0 { float y0[]; };
layout(std430, binding = 5) buffer Y1 { float y1[]; };
layout(std430, binding = 6) buffer Y2 { float y2[]; };
#if defined(NORM)
layout(std430, binding = 7) readonly buffer Norm { float norm[]; };
#if defined(WIDE)
layout(std430, binding = 7) readonly buffer Norm4 { vec4 norm4[]; };
#endif
layout(std430, binding = 8) buffer Normed { float normed[]; };
#endif
#if defined(CONV)
layout(std430, binding = 9) readonly buffer Conv { float conv[]; };
layout(std430, binding = 10) buffer State { float state[]; };
layout(std430, binding = 11) readonly buffer Slots { int slots[]; };
layout(std430, binding = 12) readonly buffer Tails { int tails[]; };
#endif
layout(push_constant) uniform Args {
    uint w_at0, w_at1, w_at2, x_at, y_at0, y_at1, y_at2;
    uint n_rows0, n_rows1, n_rows2, n_cols, n_inner;
    uint w_row0, w_row1, w_row2, x_col, y_col0, y_col1, y_col2;
#if defined(NORM)
    uint norm_at, normed_at, normed_col;
    float eps;
#endif
#if defined(CONV)
    uint conv_at, state_at, state_slot, slots_at, tails_at, tails_seq, tails_column, n_slots;
#endif
};

#if defined(NORM) && defined(WIDE)
#define QUADS_GIVEN
#if defined(CONV)
#define AFTER_ASKING load_sequences()
void load_sequences();
#endif
#elif defined(NORM)
#define X_OF(c, k) weighted(c, k)
float weighted(uint c, uint k);
#endif
#if defined(WIDE) && defined(TWO_TYPES)
bool order_changes(uint t);
#define ORDER_CHANGES(t) order_changes(t)
#endif
#include "dots.glsl"

#if defined(NORM)
#include "normed.glsl"
#define FACTOR(c) factors[c]
#else
#define FACTOR(c) 1.0
#endif
uint first_col;

#if defined(CONV)
#include "convolved.glsl"

uint column_of(uint c) {
    return first_col + c;
}

void load_sequences() {
    load_slots();
    load_tails();
}
#endif

#if defined(NORM) && defined(WIDE)

Asked ask_quad(uint c, uint p, uint quad) {
    uint k = quad_place(p, quad, n_inner), at = norm_at + k;
    if (X_ALIGNED != 0u) {
        return Asked(x4[(cols[c] + k) >> 2], norm4[at >> 2]);
    }
    return Asked(x_quad(cols[c] + k), vec4(norm[at], norm[at + 1u], norm[at + 2u], norm[at + 3u]));
}

vec4 made_quad(uint c, Asked quad) {
    if (is_first_tile && !is_spare) {
        squares[c] += dot(quad.a, quad.a);
    }
    return quad.a * quad.b;
}

#elif defined(NORM)

float weighted(uint c, uint k) {
    float v = x[cols[c] + k];
    squares[c] += v * v;
    return v * norm[norm_at + k];
}

#endif

// What the sum of row `row` and column `col` becomes; r and c: their places in what a convolution has loaded.
float made_of(uint r, uint c, uint row, float sum) {
    sum *= FACTOR(c);
#if defined(CONV)
    if (source == 0u) {
        return convolved(r, c, row, n_rows0, sum);
    }
#endif
    return sum;
}

void clear_squares() {
#if defined(NORM)
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        squares[c] = 0.0;
    }
#endif
}

void store(uint at, float value) {
    if (source == 0u) {
        y0[at] = value;
    } else if (source == 1u) {
        y1[at] = value;
    } else {
        y2[at] = value;
    }
}

uint n_tiles(uint n_rows) {
    return (n_rows + TILE_OF(ROWS) - 1u) / TILE_OF(ROWS);
}

#if defined(WIDE)

#if defined(TWO_TYPES)
bool order_changes(uint t) {
    return ORDERS_DIFFER && t == n_tiles(n_rows0) + (N_FIRST > 1u ? n_tiles(n_rows1) : 0u);
}
#endif

uint n_rows, m;  // of the weight that `source` says, and of its rows this invocation's first in a tile

void of_tile(uint t) {
    uint stop0 = n_tiles(n_rows0), stop1 = stop0 + n_tiles(n_rows1);
    source = t < stop0 ? 0u : t < stop1 ? 1u : 2u;
    n_rows = source == 0u ? n_rows0 : source == 1u ? n_rows1 : n_rows2;
    m = (t - (source == 0u ? 0u : source == 1u ? stop0 : stop1)) * TILE_OF(ROWS) + FIRST_ROW;
}

void take_tile(uint t) {
    of_tile(t);
    uint w_at = source == 0u ? w_at0 : source == 1u ? w_at1 : w_at2;
    uint w_row = source == 0u ? w_row0 : source == 1u ? w_row1 : w_row2;
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        rows[r] = w_at + min(m + r * ROW_STEP, n_rows - 1u) * w_row;
    }
}

// The inputs before the token's, where w0 makes the row.
void start_tile(uint t) {
#if defined(CONV)
    if (source == 0u && is_writer()) {
        load_past(0u, m + own_row() * ROW_STEP, n_rows0);
    }
#endif
}

void store_tile(uint t) {
    uint y_at = source == 0u ? y_at0 : source == 1u ? y_at1 : y_at2;
    uint y_col = source == 0u ? y_col0 : source == 1u ? y_col1 : y_col2;
    uint row = m + own_row() * ROW_STEP;
    if (!is_writer() || row >= n_rows) {
        return;
    }
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        if (first_col + c < n_cols) {
            store(y_at + (first_col + c) * y_col + row, made_of(0u, c, row, sum_of(own_row(), c)));
        }
    }
}

#if defined(NORM)
uint share, n_shares;

void end_first_tile() {
    find_factors();
    store_normed(share, n_shares, first_col);
}
#endif

void main() {
    fill_table(gl_WorkGroupSize.x);  // the barrier before the first columns is its too
    await_early();
    uint tiles = n_tiles(n_rows0) + n_tiles(n_rows1) + n_tiles(n_rows2), runs = (tiles + RUN - 1u) / RUN;
    uint group = group_index(), run = group;
    first_col = 0u;
    if (n_cols > COLS) {  // else spared
        first_col = group / runs * COLS;
        run = group % runs;
    }
    if (first_col >= n_cols || run >= runs) {
        return;
    }
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        cols[c] = x_at + min(first_col + c, n_cols - 1u) * x_col;
    }
#if defined(NORM)
    share = run;
    n_shares = runs;
#endif
    clear_squares();
    run_tiles(run * RUN, min(run * RUN + RUN, tiles));
}

#else

// The inputs before the token's of the rows from m on, where w0 makes them.
void load_rows_past(uint m) {
#if defined(CONV)
    load_sequences();
    if (source == 0u && is_writer()) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            load_past(r, m + r * ROW_STEP, n_rows0);
        }
    }
#endif
}

void make_tile(uint tile, uint w_at, uint w_row, uint n_rows, uint y_at, uint y_col) {
    uint m = tile * TILE_OF(ROWS) + FIRST_ROW;
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        rows[r] = w_at + min(m + r * ROW_STEP, n_rows - 1u) * w_row;
    }
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        cols[c] = x_at + min(first_col + c, n_cols - 1u) * x_col;
    }
    clear_squares();
    load_rows_past(m);
    multiply();
#if defined(NORM)
    share_squares();
    barrier();
    find_factors();
#endif
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            float sum = total(sums[r][c]);
            uint row = m + r * ROW_STEP;
            if (is_writer() && row < n_rows && first_col + c < n_cols) {
                store(y_at + (first_col + c) * y_col + row, made_of(r, c, row, sum));
            }
        }
    }
}

void main() {
    begin_dequant(gl_WorkGroupSize.x);
    uint stop0 = n_tiles(n_rows0), stop1 = stop0 + n_tiles(n_rows1), stop2 = stop1 + n_tiles(n_rows2);
    uint group = group_index(), tile = group % stop2;
    first_col = group / stop2 * COLS;
    if (first_col >= n_cols) {
        return;
    }
    if (tile < stop0) {
        source = 0u;
        make_tile(tile, w_at0, w_row0, n_rows0, y_at0, y_col0);
    } else if (tile < stop1) {
        source = 1u;
        make_tile(tile - stop0, w_at1, w_row1, n_rows1, y_at1, y_col1);
    } else {
        source = 2u;
        make_tile(tile - stop1, w_at2, w_row2, n_rows2, y_at2, y_col2);
    }
#if defined(NORM)
    store_normed(tile, stop2, first_col);
#endif
}

#endif
