#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
// Mamba-2, token by token, with the state's rows in registers. Per head, with S of DIM x N_STATE:
// delta = softplus(dt + bias); S = exp(delta a) S + delta x b^T; y = S c + d x.
// -DDELTA: the gated delta rule with a decay for each column: with b and c normed to unit length,
// S = S diag(exp(a softplus(alpha + bias))); S += sigmoid(dt) (x - S b) b^T; y = S c / sqrt(DIM).
// SPLIT lanes hold a row of S between them. Inner axes have stride 1.
// Grid: tiles of rows fastest, then heads, then sequences.

#include "maths.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SPLIT = 1;  // a power of two, at most 8; 1 without SUBGROUPS
layout(constant_id = 2) const uint DIM = 64;
layout(constant_id = 3) const uint N_STATE = 128;
layout(constant_id = 4) const uint N_HEADS = 1;
layout(constant_id = 5) const uint SHARE = 1;  // heads that share a group
layout(constant_id = 6) const uint SLOTS_SEQ = 1;  // strides of slots
layout(constant_id = 7) const uint SLOTS_COLUMN = 1;
layout(constant_id = 8) const uint N_SNAPSHOTS = 0;

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
layout(std430, binding = 2) readonly buffer C { float c[]; };
layout(std430, binding = 3) readonly buffer Dt { float dt[]; };
layout(std430, binding = 4) readonly buffer Bias { float bias[]; };
layout(std430, binding = 5) readonly buffer A { float a[]; };
layout(std430, binding = 6) readonly buffer D { float d[]; };  // -DDELTA: alpha
layout(std430, binding = 7) buffer State { float state[]; };
layout(std430, binding = 8) readonly buffer Slots { int slots[]; };
layout(std430, binding = 9) readonly buffer Valid { int n_valid[]; };
layout(std430, binding = 10) buffer Y { float y[]; };

layout(push_constant) uniform Args {
    uint n_seqs, n_tokens, n_slots;
    uint x_seq, x_token, x_head, x_at;
    uint b_seq, b_token, b_group, b_at, c_at;  // c has b's strides
    uint dt_seq, dt_token, dt_head, dt_at;
    uint bias_at, a_at, d_at;
    uint state_slot, state_at;
    uint slots_at, n_valid_at;
    uint y_seq, y_token, y_head, y_at;
#ifdef DELTA
    uint d_seq, d_token, d_head;
#endif
};

const uint PER = (N_STATE + SPLIT - 1u) / SPLIT;  // columns of this lane: part, part + SPLIT, ...
const uint ROWS = gl_WorkGroupSize.x / SPLIT;
const uint TILES = (DIM + ROWS - 1u) / ROWS;
const uint SNAPSHOT_SPAN = 64u;  // SPAN of runtime/ir/composites/slots.py
const uint SPAN = N_SNAPSHOTS > 0u ? SNAPSHOT_SPAN : 0x7fffffffu;

#ifdef SUBGROUPS
#define UNROLL [[unroll]]
#else
#define UNROLL [[dont_unroll]]
#endif
#define COLUMN(i) (part + (i) * SPLIT)
#define IN_STATE(i) (((i) + 1u) * SPLIT <= N_STATE || COLUMN(i) < N_STATE)
#define CLAMPED(i) (((i) + 1u) * SPLIT <= N_STATE ? COLUMN(i) : min(COLUMN(i), N_STATE - 1u))

float s[PER];
uint seq, head, part, row, held;  // held: the row, or the last one where there is none
uint b_first, x_first, y_first, dt_first;

// The sum over the lanes of a row, for each of them.
float row_sum(float v) {
#ifdef SUBGROUPS
    [[unroll]] for (uint mask = 1u; mask < SPLIT; mask *= 2u) {
        v += subgroupShuffleXor(v, mask);
    }
#endif
    return v;
}

int slot_of(uint column) {
    return slots[slots_at + seq * SLOTS_SEQ + column * SLOTS_COLUMN];
}

uint row_at(int slot) {
    uint first = state_at + uint(clamp(slot, 0, int(n_slots) - 1)) * state_slot;
    return first + (head * DIM + held) * N_STATE;
}

void store_state(int slot) {
    if (slot < 0 || slot >= int(n_slots) || row >= DIM) {
        return;
    }
    uint first = row_at(slot);
    UNROLL for (uint i = 0u; i < PER; i++) {
        if (IN_STATE(i)) {
            state[first + COLUMN(i)] = s[i];
        }
    }
}

#ifdef DELTA
float take_token(uint t) {
    uint first = b_first + t * b_token, d_first = d_at + seq * d_seq + t * d_token + head * d_head;
    float kk = 0.0, qq = 0.0, sk = 0.0;
    UNROLL for (uint i = 0u; i < PER; i++) {
        uint column = CLAMPED(i);
        float key = IN_STATE(i) ? b[b_at + first + column] : 0.0;
        float query = IN_STATE(i) ? c[c_at + first + column] : 0.0;
        s[i] *= exp_of(a[a_at + head] * softplus(d[d_first + column] + bias[bias_at + head * N_STATE + column]));
        kk += key * key;
        qq += query * query;
        sk += s[i] * key;
    }
    float of_key = 1.0 / sqrt(row_sum(kk) + 1e-6), of_query = 1.0 / sqrt(row_sum(qq) + 1e-6);
    float more = sigmoid(dt[dt_first + t * dt_token]) * (x[x_first + t * x_token + held] - row_sum(sk) * of_key) * of_key;
    float sum = 0.0;
    UNROLL for (uint i = 0u; i < PER; i++) {
        uint column = CLAMPED(i);
        s[i] += IN_STATE(i) ? more * b[b_at + first + column] : 0.0;
        sum += IN_STATE(i) ? s[i] * c[c_at + first + column] : 0.0;
    }
    return row_sum(sum) * of_query / sqrt(float(N_STATE));
}
#else
float take_token(uint t) {
    uint first = b_first + t * b_token;
    float delta = softplus(dt[dt_first + t * dt_token] + bias[bias_at + head]);
    float decay = exp_of(delta * a[a_at + head]), value = x[x_first + t * x_token + held];
    float given = delta * value, sum = 0.0;
    UNROLL for (uint i = 0u; i < PER; i++) {
        uint column = CLAMPED(i);
        s[i] = s[i] * decay + given * b[b_at + first + column];
        sum += IN_STATE(i) ? s[i] * c[c_at + first + column] : 0.0;
    }
    return row_sum(sum) + d[d_at + head] * value;
}
#endif

void give(uint t, float value) {
    if (part == 0u && row < DIM) {
        y[y_first + t * y_token + row] = value;
    }
}

void find_operands(uint tile) {
    part = gl_LocalInvocationIndex % SPLIT;
    row = tile * ROWS + gl_LocalInvocationIndex / SPLIT;
    held = min(row, DIM - 1u);
    b_first = seq * b_seq + head / SHARE * b_group;
    x_first = x_at + seq * x_seq + head * x_head;
    y_first = y_at + seq * y_seq + head * y_head;
    dt_first = dt_at + seq * dt_seq + head * dt_head;
}

void main() {
    uint group = group_index();
    head = group / TILES % N_HEADS;
    seq = group / TILES / N_HEADS;
    if (seq >= n_seqs) {
        return;
    }
    find_operands(group % TILES);
    uint n = uint(clamp(n_valid[n_valid_at + seq], 0, int(n_tokens))), from = row_at(slot_of(0u));
    UNROLL for (uint i = 0u; i < PER; i++) {
        s[i] = row < DIM && IN_STATE(i) ? state[from + COLUMN(i)] : 0.0;
    }
    for (uint first = 0u; first < n; first += SPAN) {
        uint stop = min(first + SPAN, n), column = first / SNAPSHOT_SPAN;
        for (uint t = first; t < stop; t++) {
            give(t, take_token(t));
        }
        if (column < N_SNAPSHOTS) {
            store_state(slot_of(1u + column));
        }
    }
    if (n > 0u) {
        store_state(slot_of(0u));
    }
    for (uint t = n; t < n_tokens; t++) {
        give(t, 0.0);
    }
}
