#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Mamba-2 over chunks of tokens, as products of matrices (chunked_sum of
// runtime/ir/composites/recurrent/delta_chunks.py). With G the running sum of the log decays delta a:
//   P[i, j] = exp(G_i - G_j) delta_j c_i b_j for j <= i
//   y = exp(G) c S^T + P x + d x
//   S = exp(G_C) S + x^T (delta exp(G_C - G) b)
// A workgroup has a tile of the state's rows in shared memory and takes one chunk after the other. Its lanes form QUADS
// rows of SIDE: in products of tokens a lane has four tokens by every SIDE-th other token, and by every SIDE-th row of
// the state; in the state itself, four rows by every COLUMN_LANES-th column. Inner axes have stride 1.
// Grid: tiles of rows fastest, then heads, then sequences.

#include "maths.glsl"

layout(local_size_x_id = 0) in;  // CHUNK / 4 * SIDE
layout(constant_id = 2) const uint DIM = 64;
layout(constant_id = 3) const uint N_STATE = 128;
layout(constant_id = 4) const uint N_HEADS = 1;
layout(constant_id = 5) const uint SHARE = 1;  // heads that share a group
layout(constant_id = 7) const uint SIDE = 16;  // divides CHUNK and ROWS
layout(constant_id = 8) const uint CHUNK = 32;  // tokens; divides SNAPSHOT_SPAN
layout(constant_id = 9) const uint ROWS = 32;  // of the state

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
layout(std430, binding = 2) readonly buffer C { float c[]; };
layout(std430, binding = 3) readonly buffer Dt { float dt[]; };
layout(std430, binding = 4) readonly buffer Bias { float bias[]; };
layout(std430, binding = 5) readonly buffer A { float a[]; };
layout(std430, binding = 6) readonly buffer D { float d[]; };
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
};

const uint STATE_SIZE = DIM * N_STATE;
#include "delta_slots.glsl"

const uint QUADS = CHUNK / 4u, LANES = QUADS * SIDE;
const uint STEP = 1024u / CHUNK;  // columns of b and c that are staged at a time
const uint PITCH = QUADS + 1u;  // four tokens to a number
const uint OTHERS = CHUNK / SIDE, RUNS = ROWS / SIDE;  // tokens and rows of a lane
const uint ROW_QUADS = ROWS / 4u, COLUMN_LANES = LANES / ROW_QUADS;
const uint COLUMNS = (N_STATE + COLUMN_LANES - 1u) / COLUMN_LANES;  // of a lane
const uint STAGED = CHUNK * STEP / LANES;
const uint STATE_PITCH = N_STATE + 1u;
const uint TILES = (DIM + ROWS - 1u) / ROWS;

shared float state_tile[ROWS * STATE_PITCH];
shared vec4 pairs[CHUNK * PITCH > 2u * STEP * PITCH ? CHUNK * PITCH : 2u * STEP * PITCH];  // see the macros
shared vec4 values[CHUNK * ROW_QUADS];  // x
shared float deltas[CHUNK], left[CHUNK];  // left: delta exp(G_C - G)

uint lane, lane_row, lane_column;  // of the square
uint head, seq, n, row_first, x_first, b_first, y_first;

// `pairs` is a staged tile of b and one of c, then P.
#define B_TILE(col, i4) pairs[(col) * PITCH + (i4)]
#define C_TILE(col, i4) pairs[(STEP + (col)) * PITCH + (i4)]
#define PAIR(i, j) pairs[(i) * PITCH + (j) / 4u][(j) % 4u]
#define X(j, r) values[(j) * ROW_QUADS + (r) / 4u][(r) % 4u]
#define S(r, col) state_tile[(r) * STATE_PITCH + (col)]

#include "decay_sums.glsl"

void load_state(uint from) {
    for (uint i = lane; i < ROWS * N_STATE; i += LANES) {
        uint r = i / N_STATE, col = i % N_STATE;
        S(r, col) = row_first + r < DIM ? state[from + (row_first + r) * N_STATE + col] : 0.0;
    }
}

void store_state(uint to) {
    for (uint i = lane; i < ROWS * N_STATE; i += LANES) {
        uint r = i / N_STATE, col = i % N_STATE;
        if (row_first + r < DIM) {
            state[to + (row_first + r) * N_STATE + col] = S(r, col);
        }
    }
}

// Steps, and the sums of their decays. A token that is not valid has a step of 0.
void take_steps(uint first) {
    float log_decay = 0.0;
    if (lane < CHUNK) {
        bool is_there = first + lane < n;
        uint at = dt_at + seq * dt_seq + min(first + lane, n_tokens - 1u) * dt_token + head * dt_head;
        float delta = is_there ? softplus(dt[at] + bias[bias_at + head]) : 0.0;
        deltas[lane] = delta;
        log_decay = is_there ? delta * a[a_at + head] : 0.0;
    }
    sum_up(log_decay);
}

// Products of the chunk's c with its b, and with the state.
vec4 cb[OTHERS], cs[RUNS];  // [other][token], [row][token]

void clear_products() {
    [[unroll]] for (uint o = 0u; o < OTHERS; o++) {
        cb[o] = vec4(0);
    }
    [[unroll]] for (uint r = 0u; r < RUNS; r++) {
        cs[r] = vec4(0);
    }
}

void add_column(uint col, uint column) {
    vec4 queries = C_TILE(col, lane_row);
    [[unroll]] for (uint o = 0u; o < OTHERS; o++) {
        uint j = lane_column + o * SIDE;
        cb[o] += queries * B_TILE(col, j / 4u)[j % 4u];
    }
    [[unroll]] for (uint r = 0u; r < RUNS; r++) {
        cs[r] += queries * S(lane_column + r * SIDE, column);
    }
}

// Lanes in a row have 8 columns of 4 tokens, so that they write to 32 banks.
void stage(uint first, uint column) {
    [[unroll]] for (uint i = 0u; i < STAGED; i++) {
        uint at = lane + i * LANES;
        uint col = at % 8u + at / 32u % (STEP / 8u) * 8u, j = at / 8u % 4u + at / (4u * STEP) * 4u;
        uint from = b_first + (first + j) * b_token + column + col;
        bool is_there = first + j < n && column + col < N_STATE;
        B_TILE(col, j / 4u)[j % 4u] = is_there ? b[b_at + from] : 0.0;
        C_TILE(col, j / 4u)[j % 4u] = is_there ? c[c_at + from] : 0.0;
    }
}

void multiply(uint first) {
    clear_products();
    for (uint column = 0u; column < N_STATE; column += STEP) {
        barrier();
        stage(first, column);
        barrier();
        for (uint col = 0u; col < min(STEP, N_STATE - column); col++) {
            add_column(col, column + col);
        }
    }
    barrier();
}

// P and x of the chunk, and what is left of each token at its end.
void set_up(uint first) {
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint at = lane_row * 4u + i;
        [[unroll]] for (uint o = 0u; o < OTHERS; o++) {
            uint j = lane_column + o * SIDE;
            PAIR(at, j) = j <= at ? deltas[j] * decay_between(sums[at], sums[j]) * cb[o][i] : 0.0;
        }
    }
    for (uint i = lane; i < CHUNK * ROWS; i += LANES) {
        uint j = i / ROWS, r = i % ROWS;
        bool is_there = first + j < n && row_first + r < DIM;
        X(j, r) = is_there ? x[x_first + (first + j) * x_token + row_first + r] : 0.0;
    }
    if (lane < CHUNK) {
        left[lane] = deltas[lane] * decay_between(sums[CHUNK - 1u], sums[lane]);
    }
    barrier();
}

vec4 made[RUNS];  // y: [row][token]

vec4 values_of(uint j, uint row) {
    return vec4(X(j, row), X(j + 1u, row), X(j + 2u, row), X(j + 3u, row));
}

// P x: of the tokens before the lane's four, then of these four. NaN reaches no token before its own.
void add_tokens_before() {
    for (uint j = 0u; j < lane_row; j++) {
        vec4 rows[RUNS];
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            rows[r] = values_of(4u * j, lane_column + r * SIDE);
        }
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
            vec4 pair = pairs[(lane_row * 4u + i) * PITCH + j];
            [[unroll]] for (uint r = 0u; r < RUNS; r++) {
                made[r][i] += dot(pair, rows[r]);
            }
        }
    }
}

void add_own_tokens() {
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        vec4 pair = pairs[(lane_row * 4u + i) * PITCH + lane_row];
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            [[unroll]] for (uint j = 0u; j <= i; j++) {
                made[r][i] += pair[j] * X(lane_row * 4u + j, lane_column + r * SIDE);
            }
            made[r][i] += d[d_at + head] * X(lane_row * 4u + i, lane_column + r * SIDE);
        }
    }
}

void store_outputs(uint first) {
    vec4 grown;
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        grown[i] = decay_between(sums[lane_row * 4u + i], vec2(0));
    }
    [[unroll]] for (uint r = 0u; r < RUNS; r++) {
        made[r] = grown * cs[r];
    }
    add_tokens_before();
    add_own_tokens();
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint t = first + lane_row * 4u + i;
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            uint row = row_first + lane_column + r * SIDE;
            if (t < n && row < DIM) {
                y[y_first + t * y_token + row] = made[r][i];
            }
        }
    }
}

void update_state(uint first) {
    uint rows = lane / COLUMN_LANES, start = lane % COLUMN_LANES;
    float whole = decay_between(sums[CHUNK - 1u], vec2(0));
    vec4 s[COLUMNS];
    [[unroll]] for (uint i = 0u; i < COLUMNS; i++) {
        uint column = start + i * COLUMN_LANES;
        [[unroll]] for (uint e = 0u; e < 4u; e++) {
            s[i][e] = column < N_STATE ? whole * S(4u * rows + e, column) : 0.0;
        }
    }
    for (uint j = 0u; j < min(CHUNK, n - first); j++) {
        vec4 kept = left[j] * values[j * ROW_QUADS + rows];
        uint from = b_at + b_first + (first + j) * b_token;
        [[unroll]] for (uint i = 0u; i < COLUMNS; i++) {
            uint column = start + i * COLUMN_LANES;
            s[i] += kept * (column < N_STATE ? b[from + column] : 0.0);
        }
    }
    [[unroll]] for (uint i = 0u; i < COLUMNS; i++) {
        uint column = start + i * COLUMN_LANES;
        [[unroll]] for (uint e = 0u; e < 4u; e++) {
            if (column < N_STATE) {
                S(4u * rows + e, column) = s[i][e];
            }
        }
    }
    barrier();
}

void store_places(uint first) {
    uint stop = min(first + CHUNK, n);
    if (stop != n && stop % SNAPSHOT_SPAN != 0u) {
        return;
    }
    for (uint place = FIRST_PLACE; place < N_PLACES; place++) {
        int slot = place_of(place, seq, first, stop == n);
        if (is_slot(slot)) {
            store_state(state_of(slot, head));
        }
    }
}

void find_operands(uint group) {
    lane = gl_LocalInvocationIndex, lane_row = lane / SIDE, lane_column = lane % SIDE;
    head = group / TILES % N_HEADS, seq = group / TILES / N_HEADS, row_first = group % TILES * ROWS;
    b_first = seq * b_seq + head / SHARE * b_group;
    x_first = x_at + seq * x_seq + head * x_head;
    y_first = y_at + seq * y_seq + head * y_head;
}

void main() {
    find_operands(group_index());
    if (seq >= n_seqs) {
        return;
    }
    n = uint(clamp(n_valid[n_valid_at + seq], 0, int(n_tokens)));
    load_state(state_of(slot_of(seq, 0u), head));
    for (uint first = 0u; first < n; first += CHUNK) {
        take_steps(first);
        multiply(first);
        set_up(first);
        store_outputs(first);
        update_state(first);
        store_places(first);
    }
    for (uint i = n * ROWS + lane; i < n_tokens * ROWS; i += LANES) {
        uint t = i / ROWS, row = row_first + i % ROWS;
        if (row < DIM) {
            y[y_first + t * y_token + row] = 0.0;
        }
    }
}
