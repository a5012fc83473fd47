#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// Kimi's delta rule over chunks of 16 tokens, as products of matrices (chunked_channels of
// runtime/ir/composites/recurrent/delta_chunks.py). With k and q normed, e the decays of a token's channels, E their product
// up to a token, and L[i, j, c] that of the tokens after j up to i:
//   (I + A) X = beta (v - (E k) S^T),  A[i, j] = beta_i sum_c L[i, j, c] k_i[c] k_j[c] for j < i
//   o = (E q) S^T + P X,  P[i, j] = sum_c L[i, j, c] q_i[c] k_j[c] for j <= i
//   S = E_C S + X^T (L[C] k)
// Decays are multiplied on from token to token, as a scan does it: nothing is divided, and no exponent is ever positive.
// A workgroup has a tile of the state's rows in shared memory (state_tile.glsl) and takes one chunk after the other. Its
// lanes form QUADS rows of SIDE: in products with the state a lane has four tokens by every SIDE-th row; in products of
// tokens, one token with all after it, of every GROUPS-th channel.
// Inner axes have stride 1. Grid: tiles of rows fastest, then heads, then sequences.

#include "maths.glsl"

layout(local_size_x_id = 0) in;  // 4 * SIDE
layout(constant_id = 2) const uint DIM = 128;
layout(constant_id = 3) const uint N_STATE = 128;
layout(constant_id = 4) const uint N_HEADS = 1;
layout(constant_id = 5) const uint SHARE = 1;  // heads that share keys
layout(constant_id = 7) const uint SIDE = 32;  // 16 or 32, divides ROWS
layout(constant_id = 9) const uint ROWS = 32;  // of the state

#define DELTA
#include "scan_args.glsl"

const uint CHUNK = 16u, QUADS = 4u, LANES = QUADS * SIDE, GROUPS = LANES / CHUNK;
const uint STEP = 32u;  // columns that are staged at a time
const uint PITCH = QUADS + 1u;  // four tokens to a number
const uint RUNS = ROWS / SIDE;  // rows of a lane
const uint STAGED = CHUNK * STEP / LANES;
const uint N_PAIRS = CHUNK * (CHUNK + 1u) / 2u;
const uint N_SUMS = 2u * N_PAIRS + CHUNK;  // of a group: k k, q k, q q

shared float k_left[CHUNK * N_STATE], whole[N_STATE];  // L[C] k before its norm, E_C
shared vec4 room[4u * STEP * PITCH];  // see the macros
shared vec4 a_pairs[CHUNK * QUADS], p_pairs[CHUNK * QUADS];  // A's columns, P's rows
shared float norms[2u * CHUNK];  // factors of k, then of q
shared float strengths[CHUNK];  // beta after its sigmoid

uint token, group;  // of the lane in products of tokens

// `room` is staged tiles of k, q, e and E, then the groups' sums.
#define K_TILE(col, i4) room[(col) * PITCH + (i4)]
#define Q_TILE(col, i4) room[(STEP + (col)) * PITCH + (i4)]
#define DECAYS(col, i4) room[(2u * STEP + (col)) * PITCH + (i4)]
#define GROWN(col, i4) room[(3u * STEP + (col)) * PITCH + (i4)]
#define SUM(g, i) room[((g) * N_SUMS + (i)) / 4u][((g) * N_SUMS + (i)) % 4u]

#define WHOLE(column) whole[column]
#define KEPT(j) norms[j]
#define KEY(j, t, column) k_left[(j) * N_STATE + (column)]
#include "state_tile.glsl"

float decay_of(uint t, uint column) {
    float gate = d[d_at + seq * d_seq + t * d_token + head * d_head + column] + bias[bias_at + head * N_STATE + column];
    return exp_of(a[a_at + head] * softplus(gate));
}

// Lanes in a row have 8 columns of 4 tokens, so that they write to 32 banks.
void stage(uint first, uint column) {
    [[unroll]] for (uint i = 0u; i < STAGED; i++) {
        uint at = lane + i * LANES;
        uint col = at % 8u + at / 32u % (STEP / 8u) * 8u, j = at / 8u % 4u + at / (4u * STEP) * 4u;
        uint from = b_first + (first + j) * b_token + column + col;
        bool is_there = first + j < n && column + col < N_STATE;
        K_TILE(col, j / 4u)[j % 4u] = is_there ? b[b_at + from] : 0.0;
        Q_TILE(col, j / 4u)[j % 4u] = is_there ? c[c_at + from] : 0.0;
        DECAYS(col, j / 4u)[j % 4u] = is_there ? decay_of(first + j, column + col) : 1.0;
    }
}

// Decays from the chunk's start to each token, and from each token to its end: a lane a column.
void multiply_decays(uint column) {
    if (lane >= STEP || column + lane >= N_STATE) {
        return;
    }
    float grown = 1.0, stays = 1.0;
    [[unroll]] for (uint q = 0u; q < QUADS; q++) {
        vec4 decays = DECAYS(lane, q);
        [[unroll]] for (uint e = 0u; e < 4u; e++) {
            grown *= decays[e];
            decays[e] = grown;
        }
        GROWN(lane, q) = decays;
    }
    [[unroll]] for (uint i = 0u; i < CHUNK; i++) {
        uint j = CHUNK - 1u - i;
        k_left[j * N_STATE + column + lane] = K_TILE(lane, j / 4u)[j % 4u] * stays;
        stays *= DECAYS(lane, j / 4u)[j % 4u];
    }
    whole[column + lane] = stays;
}

vec4 kk[QUADS], qk[QUADS], ks[RUNS], qs[RUNS];  // of the lane's token with others, and [row][token]
float qq;

void clear_products() {
    qq = 0.0;
    [[unroll]] for (uint q = 0u; q < QUADS; q++) {
        kk[q] = qk[q] = vec4(0);
    }
    [[unroll]] for (uint r = 0u; r < RUNS; r++) {
        ks[r] = qs[r] = vec4(0);
    }
}

// What stands for tokens before the lane's own is not used.
void add_pairs() {
    for (uint col = group; col < STEP; col += GROUPS) {
        float key = K_TILE(col, token / 4u)[token % 4u], query = Q_TILE(col, token / 4u)[token % 4u], kept = 0.0;
        qq += query * query;
        [[unroll]] for (uint q = 0u; q < QUADS; q++) {
            vec4 decays = DECAYS(col, q), keeps;
            [[unroll]] for (uint e = 0u; e < 4u; e++) {
                kept = q * 4u + e == token ? key : kept * decays[e];
                keeps[e] = kept;
            }
            kk[q] += keeps * K_TILE(col, q);
            qk[q] += keeps * Q_TILE(col, q);
        }
    }
}

void add_state(uint column) {
    for (uint col = 0u; col < min(STEP, N_STATE - column); col++) {
        vec4 grown = GROWN(col, lane_row), keys = grown * K_TILE(col, lane_row), queries = grown * Q_TILE(col, lane_row);
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            float s = S(lane_column + r * SIDE, column + col);
            ks[r] += keys * s;
            qs[r] += queries * s;
        }
    }
}

void multiply(uint first) {
    clear_products();
    for (uint column = 0u; column < N_STATE; column += STEP) {
        barrier();
        stage(first, column);
        barrier();
        multiply_decays(column);
        add_pairs();
        barrier();
        add_state(column);
    }
    barrier();
}

uint pair_of(uint i, uint j) {
    return i * (i + 1u) / 2u + j;
}

void put_sums() {
    [[unroll]] for (uint i = 0u; i < CHUNK; i++) {
        if (token <= i) {
            SUM(group, pair_of(i, token)) = kk[i / 4u][i % 4u];
            SUM(group, N_PAIRS + pair_of(i, token)) = qk[i / 4u][i % 4u];
        }
    }
    SUM(group, 2u * N_PAIRS + token) = qq;
    barrier();
}

float sum_of(uint i) {
    float sum = 0.0;
    [[unroll]] for (uint g = 0u; g < GROUPS; g++) {
        sum += SUM(g, i);
    }
    return sum;
}

void take_norms(uint first) {
    if (lane < CHUNK) {
        uint t = min(first + lane, n_tokens - 1u);
        float strength = sigmoid(dt[dt_at + seq * dt_seq + t * dt_token + head * dt_head]);
        strengths[lane] = first + lane < n ? strength : 0.0;
        norms[lane] = 1.0 / sqrt(sum_of(pair_of(lane, lane)) + 1e-6);
    } else if (lane < 2u * CHUNK) {
        norms[lane] = 1.0 / sqrt((sum_of(2u * N_PAIRS + lane - CHUNK) + 1e-6) * float(N_STATE));
    }
    barrier();
}

// A, P, and the right side of the equation of X.
void set_up(uint first) {
    for (uint item = lane; item < CHUNK * CHUNK; item += LANES) {
        uint i = item / CHUNK, j = item % CHUNK;
        float of_a = j < i ? strengths[i] * norms[i] * norms[j] * sum_of(pair_of(i, j)) : 0.0;
        float of_p = j <= i ? norms[CHUNK + i] * norms[j] * sum_of(N_PAIRS + pair_of(i, j)) : 0.0;
        a_pairs[j * QUADS + i / 4u][i % 4u] = of_a;
        p_pairs[i * QUADS + j / 4u][j % 4u] = of_p;
    }
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint at = lane_row * 4u + i, t = first + at;
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            uint row = lane_column + r * SIDE;
            float value = t < n && row_first + row < DIM ? x[x_first + t * x_token + row_first + row] : 0.0;
            X(at, row) = strengths[at] * (value - norms[at] * ks[r][i]);
        }
    }
    barrier();
}

// (I + A) X = right side, token after token: a lane a row of the state.
void solve() {
    if (lane < ROWS) {
        float solved[CHUNK];
        [[unroll]] for (uint i = 0u; i < CHUNK; i++) {
            solved[i] = X(i, lane);
        }
        [[unroll]] for (uint j = 0u; j < CHUNK; j++) {
            [[unroll]] for (uint i = j + 1u; i < CHUNK; i++) {
                solved[i] -= a_pairs[j * QUADS + i / 4u][i % 4u] * solved[j];
            }
            X(j, lane) = solved[j];
        }
    }
    barrier();
}

vec4 made[RUNS];  // o: [row][token]

// P X: of the tokens before the lane's four, then of these four. NaN reaches no token before its own.
void add_tokens(uint row, uint r) {
    for (uint j = 0u; j < lane_row; j++) {
        vec4 of_tokens = values_of(4u * j, row);
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
            made[r][i] += dot(p_pairs[(lane_row * 4u + i) * QUADS + j], of_tokens);
        }
    }
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        vec4 pair = p_pairs[(lane_row * 4u + i) * QUADS + lane_row];
        [[unroll]] for (uint j = 0u; j <= i; j++) {
            made[r][i] += pair[j] * X(lane_row * 4u + j, row);
        }
    }
}

void store_outputs(uint first) {
    [[unroll]] for (uint r = 0u; r < RUNS; r++) {
        uint row = lane_column + r * SIDE;
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
            made[r][i] = norms[CHUNK + lane_row * 4u + i] * qs[r][i];
        }
        add_tokens(row, r);
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
            uint t = first + lane_row * 4u + i;
            if (t < n && row_first + row < DIM) {
                y[y_first + t * y_token + row_first + row] = made[r][i];
            }
        }
    }
}

void main() {
    find_operands(group_index());
    token = lane % CHUNK, group = lane / CHUNK;
    if (seq >= n_seqs) {
        return;
    }
    n = uint(clamp(n_valid[n_valid_at + seq], 0, int(n_tokens)));
    load_state(state_of(slot_of(seq, 0u), head));
    for (uint first = 0u; first < n; first += CHUNK) {
        multiply(first);
        put_sums();
        take_norms(first);
        set_up(first);
        solve();
        store_outputs(first);
        update_state(first);
        store_places(first);
    }
    store_nothing();
}
