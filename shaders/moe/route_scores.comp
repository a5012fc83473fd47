// Ids of the K experts with the largest scores of each row, largest first, of equals the lower id first, and their scores
// as weights: sigmoids of logits, or (SIGMOID 0) their softmax. -DBIAS: added where experts are chosen. Of n_groups equal
// groups those that are among the n_groups_used best by their two largest take part. NORMALISE: weights are divided by
// their sum, of sigmoids by no less than 2^-14. Any layouts. Grid: a workgroup a row.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "rows.glsl"
#include "maths.glsl"
#include "order.glsl"

layout(constant_id = 3) const uint SIGMOID = 0;
layout(constant_id = 4) const uint NORMALISE = 1;

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Ids { int ids[]; };
layout(std430, binding = 2) buffer Y { float y[]; };
#ifdef BIAS
layout(std430, binding = 3) readonly buffer Bias { float bias[]; };
#endif
layout(push_constant) uniform Push {
    ROWS ROW_STRIDES(x) ROW_STRIDES(ids) ROW_STRIDES(y)
    uint k, n_groups, n_groups_used;
    float scale;
#ifdef BIAS
    uint bias_at;
#endif
} p;

const uint MOST = 1024u, MOST_GROUPS = 64u, MOST_PICKED = 32u;  // the host asks for no more
const float FAR = 1e30;

shared float scores[MOST], chosen[MOST], strength[MOST_GROUPS], picked[MOST_PICKED];

void find_scores(uint row_x) {
    float top = -INFINITY, total = 0.0;
    EACH_COLUMN(h, c) {
        top = max(top, x[row_x + c * p.x_col]);
    }
    top = group_max(top);
    top = top == -INFINITY ? 0.0 : top;
    EACH_COLUMN(h, c) {
        float z = x[row_x + c * p.x_col];
        scores[c] = SIGMOID != 0u ? sigmoid(z) : exp_of(z - top);
        total += scores[c];
    }
    total = group_sum(total);
    float factor = SIGMOID != 0u ? 1.0 : total == 0.0 ? 0.0 : 1.0 / total;
    EACH_COLUMN(h, c) {
        scores[c] *= factor;
        chosen[c] = scores[c];
#ifdef BIAS
        chosen[c] += bias[p.bias_at + c];
#endif
    }
    barrier();
}

// Scores far below all others in groups that are left out.
void leave_out_groups() {
    uint each = p.n_cols / p.n_groups;
    for (uint group = LANE; group < p.n_groups; group += LANES) {
        float best = -INFINITY, second = -INFINITY;
        for (uint c = group * each; c < (group + 1u) * each; c++) {
            second = max(second, min(best, chosen[c]));
            best = max(best, chosen[c]);
        }
        strength[group] = best + (each > 1u ? second : 0.0);
    }
    barrier();
    EACH_COLUMN(h, c) {
        uint stronger = 0u;
        for (uint group = 0u; group < p.n_groups; group++) {
            stronger += strength[group] > strength[c / each] ? 1u : 0u;
        }
        chosen[c] = stronger < p.n_groups_used ? chosen[c] : -FAR;
    }
}

// Whether this element comes after the last one taken.
bool is_left(uint key, uint id, uint last_key, uint last_id) {
    return key < last_key || (key == last_key && id > last_id);
}

// The best element after the last one taken, which it becomes.
void take_best(inout uint last_key, inout uint last_id) {
    uint key = 0u, id = 0xffffffffu;
    EACH_COLUMN(h, c) {
        uint other = order_key(chosen[c]);
        if (other > key && is_left(other, c, last_key, last_id)) {
            key = other;
            id = c;
        }
    }
    last_key = group_max_uint(key);
    last_id = group_min_uint(key == last_key ? id : 0xffffffffu);
}

void main() {
    uint i = group_index();
    if (i >= p.n_rows) {
        return;
    }
    uvec3 r = ROW(i);
    uint row_ids = ROW_AT(ids, r), row_y = ROW_AT(y, r), last_key = 0xffffffffu, last_id = 0u;
    find_scores(ROW_AT(x, r));
    if (p.n_groups > 1u) {
        leave_out_groups();
    }
    float total = 0.0;
    for (uint round = 0u; round < p.k; round++) {
        take_best(last_key, last_id);
        float score = scores[min(last_id, p.n_cols - 1u)];
        total += score;
        if (LANE == 0u) {
            ids[row_ids + round * p.ids_col] = int(last_id);
            picked[round] = score;
        }
    }
    barrier();
    float factor = NORMALISE == 0u ? p.scale : p.scale / (SIGMOID != 0u ? max(total, 1.0 / 16384.0) : total);
    for (uint round = LANE; round < p.k; round += LANES) {
        y[row_y + round * p.y_col] = picked[round] * factor;
    }
}
