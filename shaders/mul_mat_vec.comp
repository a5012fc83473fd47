#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if defined(SUBGROUPS)
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
// y[n, m] = sum over k of x[n, k] w[m, k] for GPUs and few columns: a workgroup makes ROWS rows of COLS columns, its
// invocations side by side take octets side by side. Inner axes have stride 1.
// TYPE_<name>: the type of w. EXPERTS: w by ids, see mul_mat_args.glsl. SUBGROUPS: sum by subgroups first.
// Grid: tiles of rows fastest, then of columns, then batch.

#include "dequant.glsl"
#include "mul_mat_args.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint ROWS = 1;
layout(constant_id = 2) const uint COLS = 1;

shared float partial[gl_WorkGroupSize.x];

uint rows[ROWS], cols[COLS];
float sums[ROWS][COLS];

vec4 x_quad(uint at) {
    return vec4(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
}

void add_octet(uint i) {
    Octet w[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        w[r] = scaled(codes_of(rows[r], i), scale_of(rows[r], n_inner, i >> 2));
    }
    uint k = octet_at(i);
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        vec4 xa = x_quad(cols[c] + k), xb = x_quad(cols[c] + k + OCTET_STEP);
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            sums[r][c] += dot(w[r].a, xa) + dot(w[r].b, xb);
        }
    }
}

void add_rest() {
#if defined(PLAIN)
    for (uint k = (n_inner & ~31u) + gl_LocalInvocationID.x; k < n_inner; k += gl_WorkGroupSize.x) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            float w = weight(rows[r] + k);
            [[unroll]] for (uint c = 0u; c < COLS; c++) {
                sums[r][c] += w * x[cols[c] + k];
            }
        }
    }
#endif
}

// The sum over the workgroup, in its first invocation; all run it together.
float total(float sum) {
    uint id = gl_LocalInvocationID.x;
#if defined(SUBGROUPS)
    sum = subgroupAdd(sum);
    if (gl_NumSubgroups == 1u) {
        return sum;
    }
    barrier();
    if (subgroupElect()) {
        partial[gl_SubgroupID] = sum;
    }
    barrier();
    sum = 0.0;
    for (uint i = 0u; id == 0u && i < gl_NumSubgroups; i++) {
        sum += partial[i];
    }
    return sum;
#else
    barrier();
    partial[id] = sum;
    for (uint half_size = gl_WorkGroupSize.x >> 1; half_size > 0u; half_size >>= 1) {
        barrier();
        if (id < half_size) {
            partial[id] += partial[id + half_size];
        }
    }
    barrier();
    return partial[0];
#endif
}

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
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            sums[r][c] = 0.0;
        }
    }
    for (uint i = gl_LocalInvocationID.x; i < n_inner >> 5 << 2; i += gl_WorkGroupSize.x) {
        add_octet(i);
    }
    add_rest();
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
