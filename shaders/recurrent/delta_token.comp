#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#define SUBGROUPS
#define NORM
// delta_net.comp's NORM for GPUs and one token of each sequence: SPLIT lanes hold EACH rows of the state between them, by
// quads, and whatever is read is asked for at once. Heads of whole runs of 4 SPLIT; q, k and states begin at 16 bytes.
// Grid: a workgroup for each head of each sequence.

#include "rows.glsl"
#include "maths.glsl"

layout(constant_id = 8) const uint SPLIT = 8;
layout(constant_id = 9) const uint EACH = 4;

#include "delta_args.glsl"

layout(std430, binding = 0) readonly buffer Q4 { vec4 q4[]; };
layout(std430, binding = 1) readonly buffer K4 { vec4 k4[]; };
layout(std430, binding = 7) buffer State4 { vec4 state4[]; };

const uint QUADS = DIM / 4u, PER = QUADS / SPLIT;  // of a row, and of a lane's share of one
const uint STEP = DIM / EACH;  // between a lane's rows

vec4 s[EACH][PER], keys[PER], queries[PER];

// The sum over the lanes of a row, for each of them.
vec2 row_sum(vec2 x) {
    [[unroll]] for (uint mask = 1u; mask < SPLIT; mask *= 2u) {
        x += subgroupShuffleXor(x, mask);
    }
    return x;
}

// What lane e of the lanes that share rows has.
float of_lane(float x, uint e) {
    return subgroupShuffle(x, (gl_SubgroupInvocationID & ~(SPLIT - 1u)) + e);
}

void load_inputs(uint q_first, uint part) {
    [[unroll]] for (uint i = 0u; i < PER; i++) {
        keys[i] = k4[(k_at + q_first) / 4u + part + i * SPLIT];
        queries[i] = q4[(q_at + q_first) / 4u + part + i * SPLIT];
    }
}

void load_state(uint state_first) {
    [[unroll]] for (uint e = 0u; e < EACH; e++) {
        [[unroll]] for (uint i = 0u; i < PER; i++) {
            s[e][i] = state4[state_first + e * STEP * QUADS + i * SPLIT];
        }
    }
}

// The state changes; takes v and returns o of the row that the lane speaks for.
float take_token(uint part, float value, float decay, float strength) {
    vec2 squares = vec2(0), both = vec2(0);
    [[unroll]] for (uint i = 0u; i < PER; i++) {
        squares += vec2(dot(keys[i], keys[i]), dot(queries[i], queries[i]));
        both.x += dot(keys[i], queries[i]);
    }
    vec2 factor = 1.0 / sqrt(row_sum(squares) + 1e-6);
    factor.y *= 1.0 / sqrt(float(DIM));
    float joint = row_sum(both).x * factor.x * factor.y, mine = 0.0;
    [[unroll]] for (uint e = 0u; e < EACH; e++) {
        vec2 product = vec2(0);
        [[unroll]] for (uint i = 0u; i < PER; i++) {
            product += vec2(dot(s[e][i], keys[i]), dot(s[e][i], queries[i]));
        }
        product = row_sum(product) * factor * decay;
        float d = strength * (of_lane(value, e) - product.x);
        mine = part == e ? product.y + d * joint : mine;
        [[unroll]] for (uint i = 0u; i < PER; i++) {
            s[e][i] = s[e][i] * decay + (d * factor.x) * keys[i];
        }
    }
    return mine;
}

void store_state(uint state_first) {
    [[unroll]] for (uint e = 0u; e < EACH; e++) {
        [[unroll]] for (uint i = 0u; i < PER; i++) {
            state4[state_first + e * STEP * QUADS + i * SPLIT] = s[e][i];
        }
    }
}

void main() {
    uint group = group_index(), head = group % N_HEADS, seq = group / N_HEADS;
    if (seq >= n_seqs) {
        return;
    }
    uint part = LANE % SPLIT, row = LANE / SPLIT, own = row + part % EACH * STEP;
    int slot = slot_of(seq, 0u), n_own = n_valid[n_valid_at + seq];
    uint gate_of = gates_of(seq, head);
    bool speaks = part < EACH;
    float value = v[v_at + seq * v_seq + head * v_head + own];
    float strength = beta[beta_at + gate_of], open = gate[gate_at + seq * gate_seq + head * gate_head + own];
    float step_ = alpha[alpha_at + gate_of], bias = dt[dt_at + head], rate = a[a_at + head], weight = w[w_at + own];
    load_inputs(seq * q_seq + key_of(head) * q_head, part);
    uint state_first = state_of(slot, head) / 4u + row * QUADS + part;
    load_state(state_first);
    bool is_valid = n_own > 0;
    float decay = exp_of(rate * softplus(step_ + bias));
    open = weight * silu(open);
    float mine = take_token(part, value, decay, sigmoid(strength));
    if (is_valid && is_slot(slot)) {
        store_state(state_first);
    }
    float factor = 1.0 / sqrt(group_sum(speaks ? mine * mine : 0.0) / float(DIM) + eps);
    if (speaks) {
        y[y_at + seq * y_seq + head * y_head + own] = is_valid ? mine * factor * open : 0.0;
    }
}
