#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The gated delta rule over chunks of tokens, as products of matrices (runtime/ir/composites/recurrent/delta_chunks.py has the
// formulas). With k and q normed, G the running sum of the log decays and L[i, j] = exp(G_i - G_j):
//   (I + A) X = beta (v - exp(G) k S^T),  A[i, j] = beta_i k_i k_j L[i, j] for j < i
//   o = exp(G) q S^T + P X,  P[i, j] = q_i k_j L[i, j] for j <= i
//   S = exp(G_C) S + X^T (k exp(G_C - G))
// A workgroup has a tile of the state's rows in shared memory and takes one chunk after the other; row r of S needs
// only column r of X. Lanes form a square, and each holds four tokens by four of a product of tokens, and four tokens
// by every SIDE-th row of the state.
// Grid: tiles of rows fastest, then heads, then sequences.

#include "maths.glsl"

layout(local_size_x_id = 0) in;  // SIDE * SIDE
layout(constant_id = 8) const uint CHUNK = 64;  // tokens; divides SNAPSHOT_SPAN
layout(constant_id = 9) const uint ROWS = 32;  // of the state, a multiple of SIDE

#include "delta_args.glsl"

const uint SIDE = CHUNK / 4u, LANES = SIDE * SIDE;
const uint STEP = 16u;  // columns of k and q that are staged at a time
const uint PITCH = SIDE + 1u;  // four tokens to a number
const uint X_PITCH = ROWS + 1u, STATE_PITCH = DIM + 1u;
const uint RUNS = ROWS / SIDE, COLUMNS = (DIM + SIDE - 1u) / SIDE;  // of a lane
const uint TILES = (DIM + ROWS - 1u) / ROWS;

shared float state_tile[ROWS * STATE_PITCH];
shared vec4 pairs[CHUNK * PITCH > 2u * STEP * PITCH ? CHUNK * PITCH : 2u * STEP * PITCH];  // see the macros
shared float solved[CHUNK * X_PITCH];  // X
shared float k_factors[CHUNK], q_factors[CHUNK], left[CHUNK];  // left: norm of k, exp(G_C - G)

uint lane, lane_row, lane_column;  // of the square
uint head, seq, n, key_first, row_first;

// `pairs` is a staged tile of k and one of q, then A, then P.
#define K_TILE(c, i4) pairs[(c) * PITCH + (i4)]
#define Q_TILE(c, i4) pairs[(STEP + (c)) * PITCH + (i4)]
#define PAIR(i, j) pairs[(i) * PITCH + (j) / 4u][(j) % 4u]
#define X(j, r) solved[(j) * X_PITCH + (r)]
#define S(r, c) state_tile[(r) * STATE_PITCH + (c)]

float k_of(uint t, uint c) {
    return t < n && c < DIM ? k[k_at + key_first + t * q_token + c] : 0.0;
}

float q_of(uint t, uint c) {
    return t < n && c < DIM ? q[q_at + key_first + t * q_token + c] : 0.0;
}

void load_state(uint from) {
    for (uint i = lane; i < ROWS * DIM; i += LANES) {
        uint r = i / DIM, c = i % DIM;
        S(r, c) = row_first + r < DIM ? state[from + (row_first + r) * DIM + c] : 0.0;
    }
}

void store_state(uint to) {
    for (uint i = lane; i < ROWS * DIM; i += LANES) {
        uint r = i / DIM, c = i % DIM;
        if (row_first + r < DIM) {
            state[to + (row_first + r) * DIM + c] = S(r, c);
        }
    }
}

#include "delta_sums.glsl"

// Products of the chunk's k and q with its k, and with the state; squares of the k and q that the lane staged.
vec4 kk[4], qk[4], ks[RUNS], qs[RUNS];  // [other][token], [row][token]
const uint STAGED = CHUNK * STEP / LANES;
vec2 squares[STAGED];

void clear_products() {
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        kk[j] = qk[j] = vec4(0);
    }
    [[unroll]] for (uint r = 0u; r < RUNS; r++) {
        ks[r] = qs[r] = vec4(0);
    }
    [[unroll]] for (uint i = 0u; i < STAGED; i++) {
        squares[i] = vec2(0);
    }
}

void add_column(uint c, uint column) {
    vec4 keys = K_TILE(c, lane_row), queries = Q_TILE(c, lane_row), others = K_TILE(c, lane_column);
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        kk[j] += keys * others[j];
        qk[j] += queries * others[j];
    }
    [[unroll]] for (uint r = 0u; r < RUNS; r++) {
        float s = S(lane_column + r * SIDE, column);
        ks[r] += keys * s;
        qs[r] += queries * s;
    }
}

void stage(uint first, uint column) {
    [[unroll]] for (uint i = 0u; i < STAGED; i++) {
        uint at = lane + i * LANES, t = at / STEP, c = at % STEP;
        vec2 kq = vec2(k_of(first + t, column + c), q_of(first + t, column + c));
        K_TILE(c, t / 4u)[t % 4u] = kq.x;
        Q_TILE(c, t / 4u)[t % 4u] = kq.y;
        squares[i] += kq * kq;
    }
}

void multiply(uint first) {
    clear_products();
    for (uint column = 0u; column < DIM; column += STEP) {
        barrier();
        stage(first, column);
        barrier();
        for (uint c = 0u; c < min(STEP, DIM - column); c++) {
            add_column(c, column + c);
        }
    }
    barrier();
}

// The factors that norm k and q, from the squares of which STEP lanes have a part for each token.
void take_norms() {
    [[unroll]] for (uint i = 0u; i < STAGED; i++) {
        uint at = lane + i * LANES;
        pairs[at / 2u][at % 2u * 2u] = squares[i].x;
        pairs[at / 2u][at % 2u * 2u + 1u] = squares[i].y;
    }
    barrier();
    if (lane < CHUNK) {
        vec4 total = vec4(0);
        for (uint i = 0u; i < STEP / 2u; i++) {
            total += pairs[lane * STEP / 2u + i];
        }
        vec2 norms = 1.0 / sqrt(total.xy + total.zw + 1e-6);
        k_factors[lane] = norms.x;
        q_factors[lane] = norms.y * (1.0 / sqrt(float(DIM)));
        left[lane] = norms.x * decay_between(sums[CHUNK - 1u], sums[lane]);
    }
    barrier();
}

// A, and the right side of its equation.
void set_up(uint first) {
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint at = lane_row * 4u + i, t = first + at;
        float factor = strengths[at] * k_factors[at];
        vec4 row = vec4(0);
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
            uint of = lane_column * 4u + j;
            row[j] = of < at ? factor * k_factors[of] * decay_between(sums[at], sums[of]) * kk[j][i] : 0.0;
        }
        pairs[at * PITCH + lane_column] = row;
        float grown = factor * decay_between(sums[at], vec2(0));
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            uint column = lane_column + r * SIDE, state_row = row_first + column;
            bool is_there = t < n && state_row < DIM;
            float value = is_there ? v[v_at + seq * v_seq + t * v_token + head * v_head + state_row] : 0.0;
            X(at, column) = strengths[at] * value - grown * ks[r][i];
        }
    }
    barrier();
}

#include "delta_solve.glsl"

void set_pairs_of_q() {
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint at = lane_row * 4u + i;
        vec4 row = vec4(0);
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
            uint of = lane_column * 4u + j;
            float factor = q_factors[at] * k_factors[of];
            row[j] = of <= at ? factor * decay_between(sums[at], sums[of]) * qk[j][i] : 0.0;
        }
        pairs[at * PITCH + lane_column] = row;
    }
    barrier();
}

float o[4][RUNS];  // [token][row]

void start_outputs() {
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint at = lane_row * 4u + i;
        float grown = q_factors[at] * decay_between(sums[at], vec2(0));
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            o[i][r] = grown * qs[r][i];
        }
    }
}

// P X: of the tokens before the lane's four, then of these four.
void add_tokens_before() {
    for (uint j = 0u; j < CHUNK; j += 4u) {
        if (j < lane_row * 4u) {
            [[unroll]] for (uint i = 0u; i < 4u; i++) {
                vec4 pair = pairs[(lane_row * 4u + i) * PITCH + j / 4u];
                [[unroll]] for (uint r = 0u; r < RUNS; r++) {
                    uint column = lane_column + r * SIDE;
                    o[i][r] += dot(pair, vec4(X(j, column), X(j + 1u, column), X(j + 2u, column), X(j + 3u, column)));
                }
            }
        }
    }
}

void add_own_tokens() {
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        vec4 pair = pairs[(lane_row * 4u + i) * PITCH + lane_row];
        [[unroll]] for (uint j = 0u; j <= i; j++) {
            [[unroll]] for (uint r = 0u; r < RUNS; r++) {
                o[i][r] += pair[j] * X(lane_row * 4u + j, lane_column + r * SIDE);
            }
        }
    }
}

void store_outputs(uint first) {
    start_outputs();
    add_tokens_before();
    add_own_tokens();
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        uint t = first + lane_row * 4u + i;
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            uint row = row_first + lane_column + r * SIDE;
            if (t < n && row < DIM) {
                y[y_at + seq * y_seq + t * y_token + head * y_head + row] = o[i][r];
            }
        }
    }
}

void update_state(uint first) {
    float whole = decay_between(sums[CHUNK - 1u], vec2(0));
    float made[RUNS][COLUMNS];
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
        uint column = lane_column + c * SIDE;
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            made[r][c] = column < DIM ? whole * S(lane_row + r * SIDE, column) : 0.0;
        }
    }
    for (uint j = 0u; j < min(CHUNK, n - first); j++) {
        float kept = left[j];
        [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
            float key = kept * k_of(first + j, lane_column + c * SIDE);
            [[unroll]] for (uint r = 0u; r < RUNS; r++) {
                made[r][c] += X(j, lane_row + r * SIDE) * key;
            }
        }
    }
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            if (lane_column + c * SIDE < DIM) {
                S(lane_row + r * SIDE, lane_column + c * SIDE) = made[r][c];
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

void main() {
    uint group = group_index();
    lane = gl_LocalInvocationIndex, lane_row = lane / SIDE, lane_column = lane % SIDE;
    head = group / TILES % N_HEADS, seq = group / TILES / N_HEADS, row_first = group % TILES * ROWS;
    if (seq >= n_seqs) {
        return;
    }
    key_first = seq * q_seq + key_of(head) * q_head;
    n = uint(clamp(n_valid[n_valid_at + seq], 0, int(n_tokens)));
    load_state(state_of(slot_of(seq, 0u), head));
    for (uint first = 0u; first < n; first += CHUNK) {
        take_gates(first);
        multiply(first);
        take_norms();
        set_up(first);
        solve();
        set_pairs_of_q();
        store_outputs(first);
        update_state(first);
        store_places(first);
    }
    for (uint i = n * ROWS + lane; i < n_tokens * ROWS; i += LANES) {
        uint t = i / ROWS, row = row_first + i % ROWS;
        if (row < DIM) {
            y[y_at + seq * y_seq + t * y_token + head * y_head + row] = 0.0;
        }
    }
}
