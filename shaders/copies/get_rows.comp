// y[i, c] = table[ids[i], c], element by element, any layouts; ids are clamped to n_rows, of which the table has n_table
// from first_row on: what is not here stays as it is. The table's layout is walked without its rows: strides of its
// batches and columns, 0 for the axes of ids. -DSRC, -DDST: elements.glsl.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "walk.glsl"

layout(std430, binding = 0) readonly buffer Table { uint table[]; };
layout(std430, binding = 1) readonly buffer Ids { int ids[]; };
layout(std430, binding = 2) buffer Y { uint y[]; };
layout(push_constant) uniform Push {
    WALK STRIDES(table) STRIDES(ids) STRIDES(y)
    uint n_table, first_row, n_rows, row_stride;
} p;

#include "elements.glsl"

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
        uint row = uint(clamp(ids[AT(ids, c)], 0, int(p.n_rows) - 1)) - p.first_row;
        if (row < p.n_table) {
            uint at = AT(table, c) + row * p.row_stride;
            STORE(AT(y, c), LOAD(table, at));
        }
    }
}
