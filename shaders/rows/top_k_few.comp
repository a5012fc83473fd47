// Ids of the K largest of each row, largest first, of equals the lower id first: K rounds, each of which finds the best
// element after the last round's. For a small K or a short row. -DPARTS: of each part of a row, ids[r, part] the part's
// r-th best. -DAMONG: the best of the columns that ids name, for K = 1. Any layouts. Grid: a workgroup a row, or a part.
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
#if defined(PARTS)
layout(push_constant) uniform Push { ROWS ROW_STRIDES(x) ROW_STRIDES(y) uint k, n_part, n_parts; } p;
#elif defined(AMONG)
layout(std430, binding = 2) readonly buffer Ids { int ids[]; };
layout(push_constant) uniform Push { ROWS ROW_STRIDES(ids) ROW_STRIDES(x) ROW_STRIDES(y) uint k, n_x; } p;
#else
layout(push_constant) uniform Push { ROWS ROW_STRIDES(x) ROW_STRIDES(y) uint k; } p;
#endif

uint row_x, row_y, y_step, first_id = 0u, n_cols;
#ifdef AMONG
uint row_ids;
#endif
uint held[HELD];
#ifdef AMONG
uint held_ids[HELD];
#define HELD_ID(h, c) held_ids[h]
#define COMES_FIRST(other_key, other_id) (other_key > key || (other_key == key && other_id < id))
#else
#define HELD_ID(h, c) (c)
#define COMES_FIRST(other_key, other_id) (other_key > key)  // ids grow
#endif
uint last_key = 0xffffffffu, last_id = 0u;  // the last one taken
uint key, id;  // the best after it of this lane

uint id_at(uint c) {
#ifdef AMONG
    return uint(clamp(ids[row_ids + c * p.ids_col], 0, int(p.n_x) - 1));
#else
    return first_id + c;
#endif
}

uint key_of(uint other_id) {
    return order_key(x[row_x + other_id * p.x_col]);
}

// Whether it comes after the last one taken, and before the best.
void look_at(uint other, uint other_id) {
    if (COMES_FIRST(other, other_id) && (other < last_key || (other == last_key && other_id > last_id))) {
        key = other;
        id = other_id;
    }
}

void look_through() {
    uint others[AT_ONCE], other_ids[AT_ONCE];
    for (uint first = LANE; first < n_cols; first += AT_ONCE * LANES) {
        [[unroll]] for (uint i = 0u; i < AT_ONCE; i++) {
            other_ids[i] = id_at(min(first + i * LANES, n_cols - 1u));
        }
        [[unroll]] for (uint i = 0u; i < AT_ONCE; i++) {
            others[i] = key_of(other_ids[i]);
        }
        [[unroll]] for (uint i = 0u; i < AT_ONCE; i++) {
            look_at(others[i], other_ids[i]);
        }
    }
}

void hold() {
#ifdef AMONG
    EACH_COLUMN(h, c) {
        held_ids[h] = id_at(c);
    }
#endif
    EACH_COLUMN(h, c) {
        held[h] = key_of(HELD_ID(h, c));
    }
}

// Of the workgroup; false where there is none.
bool find_row() {
    uint i = group_index();
    n_cols = p.n_cols;
    y_step = p.y_col;
#ifdef PARTS
    uint part = i % p.n_parts;
    i /= p.n_parts;
    y_step *= p.n_parts;
    first_id = part * p.n_part;
    n_cols = min(p.n_part, p.n_cols - first_id);
#endif
    uvec3 r = ROW(i);
    row_x = ROW_AT(x, r);
    row_y = ROW_AT(y, r);
#if defined(PARTS)
    row_y += part * p.y_col;
#elif defined(AMONG)
    row_ids = ROW_AT(ids, r);
#endif
    return i < p.n_rows;
}

void take_best() {
    key = 0u;
    id = 0xffffffffu;
    if (HELD_COLS == 0u) {
        look_through();
    } else {
        EACH_COLUMN(h, c) {
            look_at(held[h], HELD_ID(h, c));
        }
    }
    last_key = group_max_uint(key);
    last_id = group_min_uint(key == last_key ? id : 0xffffffffu);
}

void main() {
    if (!find_row()) {
        return;
    }
    if (HELD_COLS != 0u) {
        hold();
    }
    for (uint round = 0u; round < p.k; round++) {
        take_best();
        if (LANE == 0u) {
            y[row_y + round * y_step] = int(last_id);
        }
    }
}
