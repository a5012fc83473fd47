#version 450
#extension GL_GOOGLE_include_directive : require
// y[n, m] = sum over k of x[n, k] w[m, k]: the plain kernel, an output an invocation, any strides (block types: of x).
// TYPE_<name>: the type of w. EXPERTS: w by ids, see mul_mat_args.glsl.
// Grid: tiles of rows fastest, then columns, then batch.

#include "dequant.glsl"
#include "mul_mat_args.glsl"

layout(local_size_x_id = 0) in;

vec4 x_quad(uint column, uint k) {
    uint at = column + k * x_inner;
    return vec4(x[at], x[at + x_inner], x[at + 2u * x_inner], x[at + 3u * x_inner]);
}

float product(uint row, uint column) {
    float sum = 0.0;
#if defined(PLAIN)
    for (uint k = 0u; k < n_inner; k++) {
        sum += weight(row + k * w_inner) * x[column + k * x_inner];
    }
#else
    for (uint i = 0u; i < n_inner >> 3; i++) {
        Octet w = scaled(codes_of(row, i), scale_of(row, n_inner, i >> 2));
        uint k = octet_at(i);
        sum += dot(w.a, x_quad(column, k)) + dot(w.b, x_quad(column, k + OCTET_STEP));
    }
#endif
    return sum;
}

void main() {
    uint row_tiles = (n_rows + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
    uint group = group_index();
    uint m = group % row_tiles * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    uint n = group / row_tiles % n_cols, batch = group / row_tiles / n_cols;
    uint b0 = batch / n_batch1, b1 = batch % n_batch1;
    if (m >= n_rows || b0 >= n_batch0) {
        return;
    }
    uint column = x_at + b0 * x_batch0 + b1 * x_batch1 + n * x_col;
    y[y_at + b0 * y_batch0 + b1 * y_batch1 + n * y_col + m * y_inner] = product(w_start(b0, b1) + m * w_row, column);
}
