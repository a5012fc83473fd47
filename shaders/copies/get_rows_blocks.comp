#version 450
#extension GL_GOOGLE_include_directive : require
// y[i0, i1, i2, k] = table[i1, ids[i0, i1, i2], k] for a table of a block type, TYPE_<name>; ids are clamped to n_rows, of
// which the table has n_table from first_row on: what is not here stays as it is.
// A table without batch has w_batch 0. Grid: chunks of a row fastest, an octet an invocation, then rows.

#include "dequant.glsl"
#include "common.glsl"

layout(local_size_x_id = 0) in;

layout(std430, binding = 1) readonly buffer Ids {
    int ids[];
};
layout(std430, binding = 2) buffer Y {
    float y[];
};
layout(push_constant) uniform Args {
    uint w_at, ids_at, y_at;
    uint n_table, first_row, n_rows;
    uint n_inner, w_row, w_batch;
    uint n0, n1, n2;
    uint ids_0, ids_1, ids_2;
    uint y_0, y_1, y_2, y_inner;
};

void store(uint at, vec4 quad) {
    for (uint j = 0u; j < 4u; j++) {
        y[at + j * y_inner] = quad[j];
    }
}

void main() {
    uint chunks = (n_inner / 8u + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
    uint group = group_index(), row = group / chunks;
    uint octet = group % chunks * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    uint i2 = row % n2, i1 = row / n2 % n1, i0 = row / n2 / n1;
    if (i0 >= n0 || octet >= n_inner / 8u) {
        return;
    }
    int id = clamp(ids[ids_at + i0 * ids_0 + i1 * ids_1 + i2 * ids_2], 0, int(n_rows) - 1);
    uint held = uint(id) - first_row;
    if (held >= n_table) {
        return;
    }
    uint first = w_at + i1 * w_batch + held * w_row;
    Octet values = scaled(codes_of(first, octet), scale_of(first, n_inner, octet >> 2));
    uint at = y_at + i0 * y_0 + i1 * y_1 + i2 * y_2 + octet_at(octet) * y_inner;
    store(at, values.a);
    store(at + OCTET_STEP * y_inner, values.b);
}
