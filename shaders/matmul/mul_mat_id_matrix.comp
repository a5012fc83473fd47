#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
// y[t, j, m] = sum over k of x[t, j, k] w[ids[t, j], m, k] by cooperative matrices: see matrix_tile.glsl. In place of
// ids it reads lists of experts, see expert_columns.glsl.
// TYPE_<name>: the type of w; compiled with EXPERTS. Grid: tiles of rows fastest, then experts, then the SLICES
// workgroups that share an expert's columns.

#include "matrix_table.glsl"
#define HALVES_BINDING 4
#include "dequant.glsl"
#include "mul_mat_args.glsl"
#include "matrix_tile.glsl"
#include "expert_columns.glsl"

layout(constant_id = 10) const uint SLICES = 1;

void main() {
    fill_table(gl_WorkGroupSize.x);  // the barrier before the first columns is its too
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
        multiply();
        store_tile(w_first, m, last - first);
    }
}
