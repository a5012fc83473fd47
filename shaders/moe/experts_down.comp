#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if defined(LANES) || defined(SUBGROUPS)
#extension GL_KHR_shader_subgroup_basic : require
#endif
#if defined(LANES)
#extension GL_KHR_shader_subgroup_shuffle : require
#elif defined(SUBGROUPS)
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
// y[n, m] = residual[n, m] + sum over j of weights[n, j] down_e[m] . hidden[n, j] for e = ids[n, j]
//     + sigmoid(shared_gate[n]) shared_down[m] . shared_hidden[n]; see dots.glsl. Inner axes have stride 1.
// TYPE_<name>: the type of down; SECOND_<name>: that of shared_down, if another. Grid: tiles of rows, then tokens n.

#define N_WEIGHTS 2
#define N_FIRST 1u
#define X(i) x_of(i)
#include "maths.glsl"
#include "weights.glsl"

layout(std430, binding = 2) readonly buffer Hidden { float hidden[]; };
layout(std430, binding = 3) readonly buffer SharedHidden { float shared_hidden[]; };
layout(std430, binding = 4) readonly buffer Ids { int ids[]; };
layout(std430, binding = 5) readonly buffer Factors { float factors[]; };
layout(std430, binding = 6) readonly buffer SharedGate { float shared_gate[]; };
layout(std430, binding = 7) readonly buffer Residual { float residual[]; };
layout(std430, binding = 8) buffer Y { float y[]; };
layout(push_constant) uniform Args {
    uint down_at, shared_down_at, hidden_at, shared_at, ids_at, factors_at, gate_at, residual_at, y_at;
    uint n_tokens, n_slots, n_experts, n_rows, n_inner_experts, n_inner_shared;
    uint down_row, shared_down_row, down_expert, hidden_token, hidden_slot, shared_token;
    uint ids_token, ids_slot, factors_token, factors_slot, gate_token, residual_token, y_token;
};

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
    float factor = sigmoid(shared_gate[gate_at + n * gate_token]);
    add_product(m, shared_down_at, shared_down_row, shared_at + n * shared_token, factor);
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        float sum = total(sums_of_all[r]);
        uint row = m + r * ROW_STEP;
        if (is_writer() && row < n_rows) {
            y[y_at + n * y_token + row] = residual[residual_at + n * residual_token + row] + sum;
        }
    }
}
