#version 450
#extension GL_GOOGLE_include_directive : require
// y[n, m] = sum over k of x[n, k] w[m, k], without barriers: each invocation makes ROWS x COLS outputs, and invocations
// side by side take rows side by side, so that x is the same for all of a subgroup.
// TYPE_<name>: the type of w. STRIDED: any stride on the inner axes (of block types: of x's alone).
// EXPERTS: w by ids, see mul_mat_args.glsl. Grid: tiles of rows fastest, then of columns, then batch.

#include "dequant.glsl"
#include "mul_mat_args.glsl"

layout(local_size_x_id = 0) in;

float sums[ROWS][COLS];
uint rows[ROWS], cols[COLS];

float x_of(uint c, uint k) {
#if defined(STRIDED)
    return x[cols[c] + k * x_inner];
#else
    return x[cols[c] + k];
#endif
}

vec4 x_quad(uint c, uint k) {
    return vec4(x_of(c, k), x_of(c, k + 1u), x_of(c, k + 2u), x_of(c, k + 3u));
}

void add_octet(Octet w[ROWS], uint i) {
    uint k = octet_at(i);
    for (uint c = 0u; c < COLS; c++) {
        vec4 xa = x_quad(c, k), xb = x_quad(c, k + OCTET_STEP);
        for (uint r = 0u; r < ROWS; r++) {
            sums[r][c] += dot(w[r].a, xa) + dot(w[r].b, xb);
        }
    }
}

void add_scalar(uint k) {
#if defined(PLAIN)
    for (uint r = 0u; r < ROWS; r++) {
#if defined(STRIDED)
        float w = weight(rows[r] + k * w_inner);
#else
        float w = weight(rows[r] + k);
#endif
        for (uint c = 0u; c < COLS; c++) {
            sums[r][c] += w * x_of(c, k);
        }
    }
#endif
}

void add_all() {
    uint n_octets = n_inner >> 3;
#if defined(PLAIN) && defined(STRIDED)
    n_octets = 0u;
#endif
    Scale s[ROWS];
    Octet w[ROWS];
    for (uint i = 0u; i < n_octets; i++) {
        for (uint r = 0u; r < ROWS; r++) {
            if ((i & 3u) == 0u) {
                s[r] = scale_of(rows[r], n_inner, i >> 2);
            }
            w[r] = scaled(codes_of(rows[r], i), s[r]);
        }
        add_octet(w, i);
    }
    for (uint k = n_octets << 3; k < n_inner; k++) {
        add_scalar(k);
    }
}

void main() {
    uint row_tiles = (n_rows + gl_WorkGroupSize.x * ROWS - 1u) / (gl_WorkGroupSize.x * ROWS);
    uint col_tiles = (n_cols + COLS - 1u) / COLS;
    uint group = group_index();
    uint m = group % row_tiles * gl_WorkGroupSize.x * ROWS + gl_LocalInvocationID.x;
    uint n = group / row_tiles % col_tiles * COLS;
    uint batch = group / row_tiles / col_tiles;
    uint b0 = batch / n_batch1, b1 = batch % n_batch1;
    if (m >= n_rows || b0 >= n_batch0) {
        return;
    }
    uint w_first = w_start(b0, b1);
    for (uint r = 0u; r < ROWS; r++) {
        rows[r] = w_first + min(m + r * gl_WorkGroupSize.x, n_rows - 1u) * w_row;
    }
    for (uint c = 0u; c < COLS; c++) {
        cols[c] = x_at + b0 * x_batch0 + b1 * x_batch1 + min(n + c, n_cols - 1u) * x_col;
        for (uint r = 0u; r < ROWS; r++) {
            sums[r][c] = 0.0;
        }
    }
    add_all();
    for (uint c = 0u; c < COLS; c++) {
        for (uint r = 0u; r < ROWS; r++) {
            uint row = m + r * gl_WorkGroupSize.x;
            if (row < n_rows && n + c < n_cols) {
                y[y_at + b0 * y_batch0 + b1 * y_batch1 + (n + c) * y_col + row * y_inner] = sums[r][c];
            }
        }
    }
}
