// Ids of the K largest of each row, largest first, of equals the lower id first: K rounds, each of which finds the best
// element after the last round's. For a small K or a short row. Any layouts.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "rows.glsl"
#include "order.glsl"

layout(constant_id = 3) const uint AT_ONCE = 1;  // columns of rows that are not held, loaded before the first is used

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Y { int y[]; };
layout(push_constant) uniform Push { ROWS ROW_STRIDES(x) ROW_STRIDES(y) uint k; } p;

// Whether this element comes after the last one taken.
bool is_left(uint key, uint id, uint last_key, uint last_id) {
    return key < last_key || (key == last_key && id > last_id);
}

uint last_key = 0xffffffffu, last_id = 0u;  // the last one taken
uint key, id;  // the best after it of this lane

void look_at(uint other, uint c) {
    if (other > key && is_left(other, c, last_key, last_id)) {
        key = other;
        id = c;
    }
}

void look_through(uint row_x) {
    uint others[AT_ONCE];
    for (uint first = LANE; first < p.n_cols; first += AT_ONCE * LANES) {
        [[unroll]] for (uint i = 0u; i < AT_ONCE; i++) {
            others[i] = order_key(x[row_x + min(first + i * LANES, p.n_cols - 1u) * p.x_col]);
        }
        [[unroll]] for (uint i = 0u; i < AT_ONCE; i++) {
            look_at(others[i], min(first + i * LANES, p.n_cols - 1u));
        }
    }
}

void main() {
    uint i = group_index();
    if (i >= p.n_rows) {
        return;
    }
    uvec3 r = ROW(i);
    uint row_x = ROW_AT(x, r), row_y = ROW_AT(y, r);
    uint held[HELD];
    if (HELD_COLS != 0u) {
        EACH_COLUMN(h, c) {
            held[h] = order_key(x[row_x + c * p.x_col]);
        }
    }
    for (uint round = 0u; round < p.k; round++) {
        key = 0u;
        id = 0xffffffffu;
        if (HELD_COLS == 0u) {
            look_through(row_x);
        } else {
            EACH_COLUMN(h, c) {
                look_at(held[h], c);
            }
        }
        last_key = group_max_uint(key);
        last_id = group_min_uint(key == last_key ? id : 0xffffffffu);
        if (LANE == 0u) {
            y[row_y + round * p.y_col] = int(last_id);
        }
    }
}
