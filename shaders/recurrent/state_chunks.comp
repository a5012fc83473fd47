#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Mamba-2 over chunks of tokens, as products of matrices (chunked_sum of
// runtime/ir/composites/recurrent/delta_chunks.py). With G the running sum of the log decays delta a:
//   P[i, j] = exp(G_i - G_j) delta_j c_i b_j for j <= i
//   y = exp(G) c S^T + P x + d x
//   S = exp(G_C) S + x^T (delta exp(G_C - G) b)
// A workgroup has a tile of the state's rows in shared memory (state_tile.glsl) and takes one chunk after the other. Its
// lanes form QUADS rows of SIDE: in products a lane has four tokens by every SIDE-th other token, and by every SIDE-th
// row of the state. Inner axes have stride 1.
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

#include "scan_args.glsl"

const uint QUADS = CHUNK / 4u, LANES = QUADS * SIDE;
const uint STEP = 1024u / CHUNK;  // columns of b and c that are staged at a time
const uint PITCH = QUADS + 1u;  // four tokens to a number
const uint OTHERS = CHUNK / SIDE, RUNS = ROWS / SIDE;  // tokens and rows of a lane
const uint STAGED = CHUNK * STEP / LANES;

shared vec4 pairs[CHUNK * PITCH > 2u * STEP * PITCH ? CHUNK * PITCH : 2u * STEP * PITCH];  // see the macros
shared float deltas[CHUNK], left[CHUNK], whole;  // left: delta exp(G_C - G), whole: exp(G_C)

// `pairs` is a staged tile of b and one of c, then P.
#define B_TILE(col, i4) pairs[(col) * PITCH + (i4)]
#define C_TILE(col, i4) pairs[(STEP + (col)) * PITCH + (i4)]
#define PAIR(i, j) pairs[(i) * PITCH + (j) / 4u][(j) % 4u]

#define WHOLE(column) whole
#define KEPT(j) left[j]
#define KEY(j, t, column) b[b_at + b_first + (t) * b_token + (column)]
#include "state_tile.glsl"
#include "decay_sums.glsl"

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
    if (lane == 0u) {
        whole = decay_between(sums[CHUNK - 1u], vec2(0));
    }
    barrier();
}

vec4 made[RUNS];  // y: [row][token]

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
    store_nothing();
}
