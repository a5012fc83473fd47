#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if defined(LANES)
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
// y[n, m] = residual[n, m] + sum over j of weights[n, j] down_e[m] . hidden[n, j] for e = ids[n, j]
//     + sigmoid(shared_gate[n]) shared_down[m] . shared_hidden[n]; see dots.glsl. Inner axes have stride 1.
// TYPE_<name>: the type of down; SECOND_<name>: that of shared_down, if another. Grid: tiles of rows, then tokens n.

#define N_WEIGHTS 2
#define N_FIRST 1u
#define X(i) x_of(i)
#include "maths.glsl"
#if !defined(LANES)
#define TABLE_SHARED
#endif
#include "weights.glsl"

#include "experts_down_args.glsl"

uint n_inner;

float x_of(uint i) {
    if (source == 0u) {
        return hidden[i];
    }
    return shared_hidden[i];
}

#include "dots.glsl"

float sums_of_all[ROWS];

void add_product(uint m, uint w_first, uint w_row, uint x_first, float factor) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        rows[r] = w_first + min(m + r * ROW_STEP, n_rows - 1u) * w_row;
    }
    cols[0] = x_first;
    multiply();
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        sums_of_all[r] += factor * sums[r][0];
    }
}

void main() {
    begin_dequant(gl_WorkGroupSize.x);
    uint tiles = (n_rows + TILE_OF(ROWS) - 1u) / TILE_OF(ROWS);
    uint group = group_index(), n = group / tiles, m = group % tiles * TILE_OF(ROWS) + FIRST_ROW;
    if (n >= n_tokens) {
        return;
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        sums_of_all[r] = 0.0;
    }
    source = 0u;
    n_inner = n_inner_experts;
    for (uint j = 0u; j < n_slots; j++) {
        uint e = uint(clamp(ids[ids_at + n * ids_token + j * ids_slot], 0, int(n_experts) - 1));
        float factor = factors[factors_at + n * factors_token + j * factors_slot];
        add_product(m, down_at + e * down_expert, down_row, hidden_at + n * hidden_token + j * hidden_slot, factor);
    }
    source = 1u;
    n_inner = n_inner_shared;
    add_product(m, shared_down_at, shared_down_row, shared_at + n * shared_token, shared_factor(n));
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        float sum = total(sums_of_all[r]);
        uint row = m + r * ROW_STEP;
        if (is_writer() && row < n_rows) {
            y[y_at + n * y_token + row] = residual[residual_at + n * residual_token + row] + sum;
        }
    }
}
