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
// SPLIT lanes hold EACH rows of S between them, which share what is read of b and c. Inner axes have stride 1.
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
layout(constant_id = 9) const uint EACH = 1;

#include "scan_args.glsl"

const uint PER = (N_STATE + SPLIT - 1u) / SPLIT;  // columns of this lane: part, part + SPLIT, ...
const uint ROWS = gl_WorkGroupSize.x / SPLIT * EACH;
const uint N_HELD = EACH * PER;
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
#define S(e, i) s[(e) * PER + (i)]
#define HELD(e) min(row + (e), DIM - 1u)  // the row, or the last one where there is none
#define CLAMPED(i) (((i) + 1u) * SPLIT <= N_STATE ? COLUMN(i) : min(COLUMN(i), N_STATE - 1u))

float s[N_HELD], values[EACH], sums[EACH];
uint seq, head, part, row;  // row: the first of EACH
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

uint state_of(int slot) {
    return state_at + uint(clamp(slot, 0, int(n_slots) - 1)) * state_slot + head * DIM * N_STATE;
}

void store_state(int slot) {
    if (slot < 0 || slot >= int(n_slots)) {
        return;
    }
    UNROLL for (uint e = 0u; e < EACH; e++) {
        uint first = state_of(slot) + HELD(e) * N_STATE;
        UNROLL for (uint i = 0u; i < PER; i++) {
            if (row + e < DIM && IN_STATE(i)) {
                state[first + COLUMN(i)] = S(e, i);
            }
        }
    }
}

void load_state(int slot) {
    UNROLL for (uint e = 0u; e < EACH; e++) {
        uint first = state_of(slot) + HELD(e) * N_STATE;
        UNROLL for (uint i = 0u; i < PER; i++) {
            S(e, i) = row + e < DIM && IN_STATE(i) ? state[first + COLUMN(i)] : 0.0;
        }
    }
}

void load_values(uint t) {
    UNROLL for (uint e = 0u; e < EACH; e++) {
        values[e] = x[x_first + t * x_token + HELD(e)];
        sums[e] = 0.0;
    }
}

// Leaves y of the rows in `sums`.
#ifdef DELTA
float rest[EACH];  // what the state lacks of the rows' values, times the key's strength

float key_of(uint first, uint i) {
    return IN_STATE(i) ? b[b_at + first + CLAMPED(i)] : 0.0;
}

float query_of(uint first, uint i) {
    return IN_STATE(i) ? c[c_at + first + CLAMPED(i)] : 0.0;
}

// The state decays and meets the key, in `rest`; squares of the key and the query, of this lane's columns.
vec2 decay_and_meet(uint t) {
    uint first = b_first + t * b_token, d_first = d_at + seq * d_seq + t * d_token + head * d_head;
    vec2 squares = vec2(0);
    UNROLL for (uint e = 0u; e < EACH; e++) {
        rest[e] = 0.0;
    }
    UNROLL for (uint i = 0u; i < PER; i++) {
        uint column = CLAMPED(i);
        float key = key_of(first, i), query = query_of(first, i);
        float kept = exp_of(a[a_at + head] * softplus(d[d_first + column] + bias[bias_at + head * N_STATE + column]));
        squares += vec2(key * key, query * query);
        UNROLL for (uint e = 0u; e < EACH; e++) {
            S(e, i) *= kept;
            rest[e] += S(e, i) * key;
        }
    }
    return squares;
}

void take_token(uint t) {
    uint first = b_first + t * b_token;
    load_values(t);
    vec2 squares = decay_and_meet(t);
    float of_key = 1.0 / sqrt(row_sum(squares.x) + 1e-6), of_query = 1.0 / sqrt(row_sum(squares.y) + 1e-6);
    float strength = sigmoid(dt[dt_first + t * dt_token]) * of_key;
    UNROLL for (uint e = 0u; e < EACH; e++) {
        rest[e] = strength * (values[e] - row_sum(rest[e]) * of_key);
    }
    UNROLL for (uint i = 0u; i < PER; i++) {
        float key = key_of(first, i), query = query_of(first, i);
        UNROLL for (uint e = 0u; e < EACH; e++) {
            S(e, i) += IN_STATE(i) ? rest[e] * key : 0.0;
            sums[e] += IN_STATE(i) ? S(e, i) * query : 0.0;
        }
    }
    UNROLL for (uint e = 0u; e < EACH; e++) {
        sums[e] = row_sum(sums[e]) * of_query / sqrt(float(N_STATE));
    }
}
#else
void take_token(uint t) {
    uint first = b_first + t * b_token;
    float delta = softplus(dt[dt_first + t * dt_token] + bias[bias_at + head]);
    float decay = exp_of(delta * a[a_at + head]);
    load_values(t);
    UNROLL for (uint i = 0u; i < PER; i++) {
        uint column = CLAMPED(i);
        float given = delta * b[b_at + first + column], query = c[c_at + first + column];
        UNROLL for (uint e = 0u; e < EACH; e++) {
            S(e, i) = S(e, i) * decay + given * values[e];
            sums[e] += IN_STATE(i) ? S(e, i) * query : 0.0;
        }
    }
    UNROLL for (uint e = 0u; e < EACH; e++) {
        sums[e] = row_sum(sums[e]) + d[d_at + head] * values[e];
    }
}
#endif

void give(uint t) {
    UNROLL for (uint e = 0u; e < EACH; e++) {
        if (part == 0u && row + e < DIM) {
            y[y_first + t * y_token + row + e] = sums[e];
        }
    }
}

void find_operands(uint tile) {
    part = gl_LocalInvocationIndex % SPLIT;
    row = tile * ROWS + gl_LocalInvocationIndex / SPLIT * EACH;
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
    uint n = uint(clamp(n_valid[n_valid_at + seq], 0, int(n_tokens)));
    load_state(slot_of(0u));
    for (uint first = 0u; first < n; first += SPAN) {
        uint stop = min(first + SPAN, n), column = first / SNAPSHOT_SPAN;
        for (uint t = first; t < stop; t++) {
            take_token(t);
            give(t);
        }
        if (column < N_SNAPSHOTS) {
            store_state(slot_of(1u + column));
        }
    }
    if (n > 0u) {
        store_state(slot_of(0u));
    }
    UNROLL for (uint e = 0u; e < EACH; e++) {
        sums[e] = 0.0;
    }
    for (uint t = n; t < n_tokens; t++) {
        give(t);
    }
}
