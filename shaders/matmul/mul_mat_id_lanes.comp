#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_ballot : require
#extension GL_KHR_shader_subgroup_shuffle : require
// y[t, j, m] = sum over k of x[t, j, k] w[ids[t, j], m, k] for CPUs and many tokens: a subgroup takes an expert and a
// tile of its rows, looks through all ids for its columns, and multiplies COLS of them at a time. See lanes.glsl.
// TYPE_<name>: the type of w; compiled with EXPERTS. Grid: tiles of rows fastest, then experts.

#include "dequant.glsl"
#include "mul_mat_args.glsl"
#include "lanes.glsl"

uint outs[COLS];
uint n_found = 0u;

void take_column(uint pair) {
    uint b0 = pair / n_batch1, b1 = pair % n_batch1;
    uint x_first = x_at + b0 * x_batch0 + b1 * x_batch1, y_first = y_at + b0 * y_batch0 + b1 * y_batch1;
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        // columns not found yet repeat the newest one, and are not stored
        if (c >= n_found) {
            cols[c] = x_first;
            outs[c] = y_first;
        }
    }
    n_found++;
}

void flush(uint m) {
    multiply();
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        if (c < n_found) {
            store_column(c, outs[c], m);
        }
    }
    n_found = 0u;
}

void main() {
    uint row_tiles = (n_rows + gl_WorkGroupSize.x * ROWS - 1u) / (gl_WorkGroupSize.x * ROWS);
    uint group = group_index(), expert = group / row_tiles, n_pairs = n_batch0 * n_batch1;
    uint m = group % row_tiles * gl_WorkGroupSize.x * ROWS + gl_LocalInvocationID.x;
    if (expert >= n_experts) {
        return;
    }
    take_rows(w_at + expert * w_batch1, m);
    for (uint first = 0u; first < n_pairs; first += gl_WorkGroupSize.x) {
        uint pair = min(first + gl_SubgroupInvocationID, n_pairs - 1u);
        bool is_mine = first + gl_SubgroupInvocationID < n_pairs && expert_of(pair / n_batch1, pair % n_batch1) == expert;
        uint found = subgroupBallot(is_mine).x;
        bool is_last = first + gl_WorkGroupSize.x >= n_pairs;
        do {
            if (found != 0u) {
                take_column(first + uint(findLSB(found)));
                found &= found - 1u;
            }
            // one call for both, since it is long code
            if (n_found == COLS || (is_last && found == 0u && n_found > 0u)) {
                flush(m);
            }
        } while (found != 0u);
    }
}
