#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
// The gated delta rule, token by token, with the state's rows in registers. Per head and token, with q and k normed:
// S *= decay; d = beta (v - S k); S += d k^T; o = S q. A row of S (a value dimension) needs no other row, so SPLIT
// lanes hold a row between them, and EACH rows. -DNORM: y = o / rms(o) w silu(gate), a workgroup a head.
// Both products take the old state, in one pass: S' q = decay (S q) + d (k q). Inner axes have stride 1.
// Grid: without NORM tiles of rows fastest, then heads, then sequences.

#include "rows.glsl"
#include "maths.glsl"

layout(constant_id = 8) const uint SPLIT = 1;  // a power of two, at most 8; 1 without SUBGROUPS
layout(constant_id = 9) const uint EACH = 1;  // at most SPLIT, so that lane e of a row's lanes can speak for row e

#include "delta_args.glsl"

const uint PER = (DIM + SPLIT - 1u) / SPLIT;  // columns of this lane: part, part + SPLIT, ...
const uint STEP = gl_WorkGroupSize.x / SPLIT;
const uint TILE = STEP * EACH;  // rows of a workgroup at a time
const uint TILES = (DIM + TILE - 1u) / TILE;

// Without subgroups a lane has a whole row, which is too much code for a software driver to unroll.
#ifdef SUBGROUPS
#define UNROLL [[unroll]]
#else
#define UNROLL [[dont_unroll]]
#endif
#define COLUMN(i) (part + (i) * SPLIT)
#define IN_HEAD(i) (((i) + 1u) * SPLIT <= DIM || COLUMN(i) < DIM)
#define CLAMPED(i) (((i) + 1u) * SPLIT <= DIM ? COLUMN(i) : min(COLUMN(i), DIM - 1u))

float s[EACH][PER];
uint seq, head, n;  // what the workgroup works on, and the sequence's valid tokens
uint part, own, held;  // of the lanes of its rows; the row that the lane speaks for, and that within the head
bool speaks;
uint q_first, v_first, y_first, gates_first;
float rate, bias;  // of the log decay

// The sum over the lanes of a row, for each of them.
vec2 row_sum(vec2 x) {
#ifdef SUBGROUPS
    [[unroll]] for (uint mask = 1u; mask < SPLIT; mask *= 2u) {
        x += subgroupShuffleXor(x, mask);
    }
#endif
    return x;
}

// What lane e of the lanes that share rows has.
float of_lane(float x, uint e) {
#ifdef SUBGROUPS
    if (EACH > 1u) {
        return subgroupShuffle(x, (gl_SubgroupInvocationID & ~(SPLIT - 1u)) + e);
    }
#endif
    return x;
}

vec2 products[EACH];  // a row of S with k and q, both before their norm
float keys[PER];

// Products of this lane's columns; returns the squares of k and q, and k q.
vec3 multiply(uint t) {
    [[unroll]] for (uint e = 0u; e < EACH; e++) {
        products[e] = vec2(0);
    }
    vec3 squares = vec3(0);
    uint first = q_first + t * q_token;
    UNROLL for (uint i = 0u; i < PER; i++) {
        vec2 kq = vec2(k[k_at + first + CLAMPED(i)], q[q_at + first + CLAMPED(i)]);
        kq = IN_HEAD(i) ? kq : vec2(0);
        keys[i] = kq.x;
        squares += vec3(kq * kq, kq.x * kq.y);
        [[unroll]] for (uint e = 0u; e < EACH; e++) {
            products[e] += s[e][i] * kq;
        }
    }
    return squares;
}

// One token: the state changes; takes v and returns o of the row that the lane speaks for.
float take_token(uint t, float value, float decay, float strength) {
    vec3 squares = multiply(t);
    vec2 factor = 1.0 / sqrt(row_sum(squares.xy) + 1e-6);
    float both = row_sum(vec2(squares.z, 0)).x;
    factor.y *= 1.0 / sqrt(float(DIM));
    float mine = 0.0;
    [[unroll]] for (uint e = 0u; e < EACH; e++) {
        vec2 product = row_sum(products[e]) * factor * decay;
        float d = strength * (of_lane(value, e) - product.x);
        float o = product.y + d * both * factor.x * factor.y;
        mine = part == e ? o : mine;
        d *= factor.x;
        UNROLL for (uint i = 0u; i < PER; i++) {
            s[e][i] = s[e][i] * decay + d * keys[i];
        }
    }
    return mine;
}

#define EACH_HELD for (uint e = 0u; e < EACH; e++) UNROLL for (uint i = 0u; i < PER; i++)
#define EACH_MOVED for (uint j = 0u, i = 0u; j < EACH * PER; j++, i = j % PER)

// Lanes without a row read none, since another lane writes it.
#define HAS_ROW(row) (DIM % TILE == 0u || (row) < DIM)

// Lanes of several rows are a CPU's: there rolled loops move the state through an array in memory, since software
// drivers take seconds to compile many loads and stores.
void load_state(uint state_first, uint row) {
    if (EACH == 1u) {
        UNROLL for (uint i = 0u; i < PER; i++) {
            s[0][i] = HAS_ROW(row) && IN_HEAD(i) ? state[state_first + row * DIM + COLUMN(i)] : 0.0;
        }
        return;
    }
    float moved[EACH * PER];
    [[dont_unroll]] EACH_MOVED {
        uint at = row + j / PER * STEP;
        moved[j] = HAS_ROW(at) && IN_HEAD(i) ? state[state_first + at * DIM + COLUMN(i)] : 0.0;
    }
    [[unroll]] EACH_HELD {
        s[e][i] = moved[e * PER + i];
    }
}

void store_state(uint state_first, uint row) {
    if (EACH == 1u) {
        UNROLL for (uint i = 0u; i < PER; i++) {
            if (row < DIM && IN_HEAD(i)) {
                state[state_first + row * DIM + COLUMN(i)] = s[0][i];
            }
        }
        return;
    }
    float moved[EACH * PER];
    [[unroll]] EACH_HELD {
        moved[e * PER + i] = s[e][i];
    }
    [[dont_unroll]] EACH_MOVED {
        uint at = row + j / PER * STEP;
        if (at < DIM && IN_HEAD(i)) {
            state[state_first + at * DIM + COLUMN(i)] = moved[j];
        }
    }
}

#ifdef NORM
uint gate_first;

float norm_factor(float total) {
    return 1.0 / sqrt(group_sum(total) / float(DIM) + eps);
}

// Heads of several tiles are normed at the end: each lane reads what it wrote itself.
void norm_tiles(uint t) {
    uint y_of = y_first + t * y_token, gate_of = gate_first + t * gate_token, first = LANE / SPLIT + part * STEP;
    float total = 0.0;
    for (uint row = first; row < DIM; row += TILE) {
        float o = part < EACH ? y[y_of + row] : 0.0;
        total += o * o;
    }
    float factor = norm_factor(total);
    for (uint row = first; row < DIM && part < EACH; row += TILE) {
        y[y_of + row] *= factor * w[w_at + row] * silu(gate[gate_of + row]);
    }
}
#endif

void run_token(uint t) {
    uint gate_of = gates_first + t * beta_token;
    float decay = exp_of(log_decay_of(gate_of, rate, bias));
    float mine = take_token(t, v[v_first + t * v_token + held], decay, sigmoid(beta[beta_at + gate_of]));
#ifdef NORM
    if (TILES == 1u) {
        mine *= norm_factor(speaks ? mine * mine : 0.0) * w[w_at + held];
        mine *= silu(gate[gate_first + t * gate_token + held]);
    }
#endif
    if (speaks) {
        y[y_first + t * y_token + own] = mine;
    }
}

void run_tile(uint tile) {
    uint row = tile * TILE + LANE / SPLIT;
    own = row + (EACH > 1u ? part * STEP : 0u);
    held = min(own, DIM - 1u);
    speaks = part < EACH && own < DIM;
    load_state(state_of(slot_of(seq, 0u), head), row);
    for (uint first = 0u; first < n; first += SPAN) {
        uint stop = min(first + SPAN, n);
        for (uint t = first; t < stop; t++) {
            run_token(t);
        }
        for (uint place = FIRST_PLACE; place < N_PLACES; place++) {
            int slot = place_of(place, seq, first, stop == n);
            if (is_slot(slot)) {
                store_state(state_of(slot, head), row);
            }
        }
    }
    for (uint t = n; t < n_tokens; t++) {
        if (speaks) {
            y[y_first + t * y_token + own] = 0.0;
        }
    }
}

void find_operands() {
    uint key = key_of(head);
    part = LANE % SPLIT;
    n = uint(clamp(n_valid[n_valid_at + seq], 0, int(n_tokens)));
    q_first = seq * q_seq + key * q_head;
    v_first = v_at + seq * v_seq + head * v_head;
    y_first = y_at + seq * y_seq + head * y_head;
    gates_first = gates_of(seq, head);
    rate = a[a_at + head];
    bias = dt[dt_at + head];
}

#ifdef NORM
void main() {
    uint group = group_index();
    head = group % N_HEADS;
    seq = group / N_HEADS;
    if (seq >= n_seqs) {
        return;
    }
    find_operands();
    gate_first = gate_at + seq * gate_seq + head * gate_head;
    for (uint tile = 0u; tile < TILES; tile++) {
        run_tile(tile);
    }
    for (uint t = 0u; t < (TILES == 1u ? 0u : n); t++) {
        norm_tiles(t);
    }
}
#else
void main() {
    uint group = group_index();
    head = group / TILES % N_HEADS;
    seq = group / TILES / N_HEADS;
    if (seq >= n_seqs) {
        return;
    }
    find_operands();
    run_tile(group % TILES);
}
#endif
