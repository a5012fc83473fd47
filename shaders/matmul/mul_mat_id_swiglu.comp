#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
// y[t, j, m] = silu(gate[e, m] . x[t, j]) * (up[e, m] . x[t, j]) with e = ids[t, j], by cooperative matrices: see
// matrix_tile.glsl. In place of ids it reads lists of experts, see expert_columns.glsl.
// TYPE_<name>: the type of both weights. Grid: tiles of rows fastest, then experts, then the SLICES workgroups that share
// an expert's columns.

#define PAIRED
#define WORDS_GIVEN
#define X_BINDING 2
#define HALVES_BINDING 5
#include "maths.glsl"

layout(std430, binding = 0) readonly buffer Gate { uint gate_words[]; };
layout(std430, binding = 1) readonly buffer Up { uint up_words[]; };
layout(std430, binding = 0) readonly buffer GateQuads { uvec4 gate_quads[]; };
layout(std430, binding = 1) readonly buffer UpQuads { uvec4 up_quads[]; };
layout(std430, binding = 3) readonly buffer Lists { int ids[]; };
layout(std430, binding = 4) buffer Y { float y[]; };
layout(push_constant) uniform Args {
    uint gate_at, up_at, x_at, ids_at, y_at;
    uint n_rows, n_inner, n_experts, n_batch1;
    uint gate_row, gate_expert, up_row, up_expert;
    uint x_batch0, x_batch1, y_batch0, y_batch1, y_inner;
    uint halves_at;
};

uint source = 0u;  // gate or up

uint word_at(uint i) {
    return source == 0u ? gate_words[i] : up_words[i];
}

uvec4 words_at(uint i) {
    return source == 0u ? gate_quads[i >> 2] : up_quads[i >> 2];
}

#include "matrix_table.glsl"
#include "dequant.glsl"
#include "matrix_tile.glsl"
#include "expert_columns.glsl"

layout(constant_id = 10) const uint SLICES = 1;

const uint ROWS = TILE_ROWS / 2u;

uint row_start(uint expert, uint row) {
    row = min(row, n_rows - 1u);
    return source == 0u ? gate_at + expert * gate_expert + row * gate_row : up_at + expert * up_expert + row * up_row;
}

void store_paired(uint expert, uint m, uint n_tile_cols) {
    const uint half_sums = ROW_SUMS / 2u;
    const uint up_first = SPLITS * PARTS * M * N / 4u;
    [[unroll]] for (uint i = 0u; i < half_sums * COL_SUMS; i++) {
        put_sums(i, gl_SubgroupID * M * N / 4u);
        open_sums(i + half_sums * COL_SUMS, up_first);
        for (uint e = team() * gl_SubgroupSize + gl_SubgroupInvocationID; e < M * N; e += gl_SubgroupSize * SPLITS) {
            uint row = m + sums_row(i / COL_SUMS) + e % M, c = part_col() + i % COL_SUMS * N + e / M;
            if (row < n_rows && c < n_tile_cols) {
                source = 0u;
                float u = number_or_exact(sum_at(0u, e), row_start(expert, row), x_start_of(c));
                source = 1u;
                float v = number_or_exact(sum_at(up_first, e), row_start(expert, row), x_start_of(c));
                y[y_start_of(c) + row * y_inner] = silu(u) * v;
            }
        }
        close_sums();
    }
}

void main() {
    fill_table(gl_WorkGroupSize.x);  // the barrier before the first columns is its too
    uint row_tiles = (n_rows + ROWS - 1u) / ROWS, group = group_index();
    uint expert = group / row_tiles % n_experts, slice = group / row_tiles / n_experts, m = group % row_tiles * ROWS;
    [[unroll]] for (uint i = 0u; i < W_ITEMS; i++) {
        source = 2u * i / W_ITEMS;
        w_starts[i] = row_start(expert, m + row_of(i) % ROWS);
    }
    uint first = uint(ids[ids_at + expert]) + slice * TILE_COLS;
    uint last = slice < SLICES ? uint(ids[ids_at + expert + 1u]) : 0u;
    for (; first < last; first += SLICES * TILE_COLS) {
        barrier();
        take_columns(first, last);
        multiply();
        store_paired(expert, m, last - first);
    }
}
