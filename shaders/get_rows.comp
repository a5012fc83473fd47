// y[i] = table[ids[i]]: ids [n0, n1, n2] clamped to the rows; table [B, R, K] where B goes with n1, or has stride 0.
// One workgroup a tile of 4 x its size columns of one row. Any layouts. -DSRC, -DDST: elements.glsl.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(std430, binding = 0) readonly buffer Table { uint table[]; };
layout(std430, binding = 1) readonly buffer Ids { int ids[]; };
layout(std430, binding = 2) buffer Y { uint y[]; };
layout(push_constant) uniform Push {
    uint n_groups, n_tiles, n_cols, n_rows, n1, n2;
    uint ids_0, ids_1, ids_2, ids_at;
    uint table_batch, table_row, table_col, table_at;
    uint y_0, y_1, y_2, y_3, y_at;
} p;

#include "elements.glsl"

void main() {
    uint group = group_index();
    if (group >= p.n_groups) {
        return;
    }
    uint row = group / p.n_tiles, tile = group - row * p.n_tiles;
    uint i2 = row % p.n2, rest = row / p.n2, i1 = rest % p.n1, i0 = rest / p.n1;
    int id = ids[p.ids_at + i0 * p.ids_0 + i1 * p.ids_1 + i2 * p.ids_2];
    uint from = p.table_at + i1 * p.table_batch + uint(clamp(id, 0, int(p.n_rows) - 1)) * p.table_row;
    uint to = p.y_at + i0 * p.y_0 + i1 * p.y_1 + i2 * p.y_2;
    uint first = tile * 4u * gl_WorkGroupSize.x, last = min(first + 4u * gl_WorkGroupSize.x, p.n_cols);
    for (uint c = first + gl_LocalInvocationIndex; c < last; c += gl_WorkGroupSize.x) {
        uint at = from + c * p.table_col;
        STORE(to + c * p.y_3, LOAD(table, at));
    }
}
