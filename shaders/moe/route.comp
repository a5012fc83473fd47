// Ids of the K largest logits of each row, largest first, of equals the lower id first, and the softmax of these logits.
// K rounds, each of which finds the best element after the last round's. Any layouts.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "rows.glsl"
#include "maths.glsl"
#include "order.glsl"

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Ids { int ids[]; };
layout(std430, binding = 2) buffer Y { float y[]; };
layout(push_constant) uniform Push {
    ROWS ROW_STRIDES(x) ROW_STRIDES(ids) ROW_STRIDES(y)
    uint k;
} p;

// Whether this element comes after the last one taken.
bool is_left(uint key, uint id, uint last_key, uint last_id) {
    return key < last_key || (key == last_key && id > last_id);
}

uint row_x, row_ids, row_y;
uint held[HELD];
shared float picked[32];  // the host asks for no more

// The best element after the last one taken, which it becomes.
void take_best(inout uint last_key, inout uint last_id) {
    uint key = 0u, id = 0xffffffffu;
    EACH_COLUMN(h, c) {
        uint other = HELD_COLS != 0u ? held[h] : order_key(x[row_x + c * p.x_col]);
        if (other > key && is_left(other, c, last_key, last_id)) {
            key = other;
            id = c;
        }
    }
    last_key = group_max_uint(key);
    last_id = group_min_uint(key == last_key ? id : 0xffffffffu);
}

void hold_row(uint i) {
    uvec3 r = ROW(i);
    row_x = ROW_AT(x, r), row_ids = ROW_AT(ids, r), row_y = ROW_AT(y, r);
    if (HELD_COLS != 0u) {
        EACH_COLUMN(h, c) {
            held[h] = order_key(x[row_x + c * p.x_col]);
        }
    }
}

void main() {
    uint i = group_index();
    if (i >= p.n_rows) {
        return;
    }
    hold_row(i);
    uint last_key = 0xffffffffu, last_id = 0u;
    float top = 0.0, total = 0.0;
    for (uint round = 0u; round < p.k; round++) {
        take_best(last_key, last_id);
        float logit = of_key(last_key);
        top = round == 0u ? (logit == -INFINITY ? 0.0 : logit) : top;
        float e = exp_of(logit - top);
        total += e;
        if (LANE == 0u) {
            ids[row_ids + round * p.ids_col] = int(last_id);
            picked[round] = e;
        }
    }
    barrier();
    float factor = total == 0.0 ? 0.0 : 1.0 / total;
    for (uint round = LANE; round < p.k; round += LANES) {
        y[row_y + round * p.y_col] = picked[round] * factor;
    }
}
