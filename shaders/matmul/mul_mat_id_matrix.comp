#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
// y[t, j, m] = sum over k of x[t, j, k] w[ids[t, j], m, k] by cooperative matrices: see matrix_tile.glsl. In place of
// ids it reads what expert_lists.comp made of them: where each expert's pairs start, then pairs t * slots + j by expert.
// TYPE_<name>: the type of w; compiled with EXPERTS. Grid: tiles of rows fastest, then experts, then the SLICES
// workgroups that share an expert's columns.

#include "dequant.glsl"
#include "mul_mat_args.glsl"
#include "matrix_tile.glsl"

layout(constant_id = 10) const uint SLICES = 1;

shared uvec2 starts[TILE_COLS];  // of the columns in x and y

uint x_start_of(uint c) {
    return starts[c].x;
}

uint y_start_of(uint c) {
    return starts[c].y;
}

// Columns beyond the last repeat it, and are not stored.
void take_columns(uint first, uint last) {
    for (uint c = gl_LocalInvocationID.x; c < TILE_COLS; c += gl_WorkGroupSize.x) {
        uint pair = uint(ids[ids_at + n_experts + 1u + min(first + c, last - 1u)]);
        uint token = pair / n_batch1, slot = pair % n_batch1;
        starts[c] = uvec2(x_at + token * x_batch0 + slot * x_batch1, y_at + token * y_batch0 + slot * y_batch1);
    }
}

void main() {
    uint row_tiles = (n_rows + TILE_ROWS - 1u) / TILE_ROWS;
    uint group = group_index(), expert = group / row_tiles % n_experts, slice = group / row_tiles / n_experts;
    uint m = group % row_tiles * TILE_ROWS, w_first = w_at + expert * w_batch1;
    [[unroll]] for (uint i = 0u; i < W_ITEMS; i++) {
        w_starts[i] = w_first + min(m + row_of(i), n_rows - 1u) * w_row;
    }
    uint first = uint(ids[ids_at + expert]) + slice * TILE_COLS;
    uint last = slice < SLICES ? uint(ids[ids_at + expert + 1u]) : 0u;
    for (; first < last; first += SLICES * TILE_COLS) {
        barrier();
        take_columns(first, last);
        barrier();
        [[unroll]] for (uint i = 0u; i < X_ITEMS; i++) {
            x_starts[i] = x_start_of(col_of(i));
        }
        multiply();
        store_tile(w_first, m, last - first);
    }
}
