#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// The gated delta rule over chunks of tokens, as products of matrices (runtime/composites/delta_chunks.py has the
// formulas). With k and q normed, G the running sum of the log decays and L[i, j] = exp(G_i - G_j):
//   (I + A) X = beta (v - exp(G) k S^T),  A[i, j] = beta_i k_i k_j L[i, j] for j < i
//   o = exp(G) q S^T + P X,  P[i, j] = q_i k_j L[i, j] for j <= i
//   S = exp(G_C) S + X^T (k exp(G_C - G))
// A workgroup has a tile of the state's rows in shared memory and takes one chunk after the other; row r of S needs
// only column r of X. Lanes form a square of SIDE x SIDE, and hold every SIDE-th row and column of each product.
// Grid: tiles of rows fastest, then heads, then sequences.

#include "maths.glsl"

const uint SIDE = 16u;
layout(local_size_x = 256) in;
layout(constant_id = 8) const uint CHUNK = 64;  // tokens, a multiple of SIDE that divides SNAPSHOT_SPAN
layout(constant_id = 9) const uint ROWS = 32;  // of the state, a multiple of SIDE

#include "delta_args.glsl"

const uint STEP = 16u;  // columns of k and q that are staged at a time
const uint TILE_PITCH = STEP + 1u, PAIR_PITCH = CHUNK + 1u, X_PITCH = ROWS + 1u, STATE_PITCH = DIM + 1u;
const uint TILE = CHUNK * TILE_PITCH, PAIRS = CHUNK * PAIR_PITCH;
const uint TOKENS = CHUNK / SIDE, RUNS = ROWS / SIDE, COLUMNS = (DIM + SIDE - 1u) / SIDE;  // of a lane
const uint TILES = (DIM + ROWS - 1u) / ROWS;

shared float state_tile[ROWS * STATE_PITCH];
shared float pairs[PAIRS > 2u * TILE ? PAIRS : 2u * TILE];  // A, then P; before them the staged tiles of k and q
shared float solved[CHUNK * X_PITCH];  // X
shared vec2 sums[CHUNK];  // G as a sum of two floats, so that differences of large sums stay exact
shared float strengths[CHUNK], k_factors[CHUNK], q_factors[CHUNK], left[CHUNK];  // left: norm of k, exp(G_C - G)

uint lane, lane_row, lane_column;  // of the square
uint head, seq, n, key_first, row_first;

#define K_TILE(i, c) pairs[(i) * TILE_PITCH + (c)]
#define Q_TILE(i, c) pairs[TILE + (i) * TILE_PITCH + (c)]
#define PAIR(i, j) pairs[(i) * PAIR_PITCH + (j)]
#define X(j, r) solved[(j) * X_PITCH + (r)]
#define S(r, c) state_tile[(r) * STATE_PITCH + (c)]

float k_of(uint t, uint c) {
    return t < n && c < DIM ? k[k_at + key_first + t * q_token + c] : 0.0;
}

float q_of(uint t, uint c) {
    return t < n && c < DIM ? q[q_at + key_first + t * q_token + c] : 0.0;
}

void load_state(uint from) {
    for (uint i = lane; i < ROWS * DIM; i += 256u) {
        uint r = i / DIM, c = i % DIM;
        S(r, c) = row_first + r < DIM ? state[from + (row_first + r) * DIM + c] : 0.0;
    }
}

void store_state(uint to) {
    for (uint i = lane; i < ROWS * DIM; i += 256u) {
        uint r = i / DIM, c = i % DIM;
        if (row_first + r < DIM) {
            state[to + (row_first + r) * DIM + c] = S(r, c);
        }
    }
}

// exp(G_i - G_j), and exp(G_i) itself; sums are of numbers that are never positive in a sane model.
float decay_between(vec2 late, vec2 early) {
    return exp_of((late.x - early.x) + (late.y - early.y));
}

// Gates, their sums, and the factors that norm k and q, of a chunk from token `first` on.
void take_gates(uint first) {
    float rate = a[a_at + head], bias = dt[dt_at + head];
    if (lane < CHUNK) {
        uint t = first + lane, gate = gates_of(seq, head) + min(t, n_tokens - 1u) * beta_token;
        left[lane] = t < n ? log_decay_of(gate, rate, bias) : 0.0;
        strengths[lane] = t < n ? sigmoid(beta[beta_at + gate]) : 0.0;
        vec2 squares = vec2(0);
        for (uint c = 0u; c < DIM; c++) {
            vec2 kq = vec2(k_of(t, c), q_of(t, c));
            squares += kq * kq;
        }
        k_factors[lane] = 1.0 / sqrt(squares.x + 1e-6);
        q_factors[lane] = 1.0 / sqrt(squares.y + 1e-6) * (1.0 / sqrt(float(DIM)));
    }
    barrier();
    if (lane < CHUNK) {
        precise float total = 0.0, rest = 0.0;
        for (uint j = 0u; j <= lane; j++) {
            precise float term = left[j], next = total + term, part = next - total;
            rest += (total - (next - part)) + (term - part);  // what rounding lost (Knuth's two-sum)
            total = next;
        }
        sums[lane] = vec2(total, rest);
    }
    barrier();
    if (lane < CHUNK) {
        left[lane] = k_factors[lane] * decay_between(sums[CHUNK - 1u], sums[lane]);
    }
}

// Products of the chunk's k and q with its k, and with the state.
float kk[TOKENS][TOKENS], qk[TOKENS][TOKENS], ks[TOKENS][RUNS], qs[TOKENS][RUNS];

void clear_products() {
    [[unroll]] for (uint i = 0u; i < TOKENS; i++) {
        [[unroll]] for (uint j = 0u; j < TOKENS; j++) {
            kk[i][j] = qk[i][j] = 0.0;
        }
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            ks[i][r] = qs[i][r] = 0.0;
        }
    }
}

void add_column(uint c, uint staged) {
    float keys[TOKENS], queries[TOKENS], others[TOKENS], rows[RUNS];
    [[unroll]] for (uint i = 0u; i < TOKENS; i++) {
        keys[i] = K_TILE(lane_row + i * SIDE, c);
        queries[i] = Q_TILE(lane_row + i * SIDE, c);
        others[i] = K_TILE(lane_column + i * SIDE, c);
    }
    [[unroll]] for (uint r = 0u; r < RUNS; r++) {
        rows[r] = S(lane_column + r * SIDE, min(staged + c, DIM - 1u));
    }
    [[unroll]] for (uint i = 0u; i < TOKENS; i++) {
        [[unroll]] for (uint j = 0u; j < TOKENS; j++) {
            kk[i][j] += keys[i] * others[j];
            qk[i][j] += queries[i] * others[j];
        }
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            ks[i][r] += keys[i] * rows[r];
            qs[i][r] += queries[i] * rows[r];
        }
    }
}

void multiply(uint first) {
    clear_products();
    for (uint staged = 0u; staged < DIM; staged += STEP) {
        barrier();
        for (uint i = lane; i < CHUNK * STEP; i += 256u) {
            uint t = i / STEP, c = i % STEP;
            K_TILE(t, c) = k_of(first + t, staged + c);
            Q_TILE(t, c) = q_of(first + t, staged + c);
        }
        barrier();
        for (uint c = 0u; c < min(STEP, DIM - staged); c++) {
            add_column(c, staged);
        }
    }
    barrier();
}

// A, and the right side of its equation.
void set_up(uint first) {
    [[unroll]] for (uint i = 0u; i < TOKENS; i++) {
        uint at = lane_row + i * SIDE, t = first + at;
        float factor = strengths[at] * k_factors[at];
        [[unroll]] for (uint j = 0u; j < TOKENS; j++) {
            uint of = lane_column + j * SIDE;
            PAIR(at, of) = of < at ? factor * k_factors[of] * decay_between(sums[at], sums[of]) * kk[i][j] : 0.0;
        }
        float grown = factor * decay_between(sums[at], vec2(0));
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            uint row = row_first + lane_column + r * SIDE;
            float value = t < n && row < DIM ? v[v_at + seq * v_seq + t * v_token + head * v_head + row] : 0.0;
            X(at, lane_column + r * SIDE) = strengths[at] * value - grown * ks[i][r];
        }
    }
    barrier();
}

// (I + A) X = right side, in blocks of SIDE tokens: a lane a column solves a block by substitution, then every lane takes
// the block's part out of the tokens after it.
void solve() {
    for (uint block = 0u; block < CHUNK; block += SIDE) {
        if (lane < ROWS) {
            float x[SIDE];
            [[unroll]] for (uint i = 0u; i < SIDE; i++) {
                x[i] = X(block + i, lane);
            }
            [[unroll]] for (uint j = 0u; j < SIDE; j++) {
                [[unroll]] for (uint i = j + 1u; i < SIDE; i++) {
                    x[i] -= PAIR(block + i, block + j) * x[j];
                }
            }
            [[unroll]] for (uint i = 0u; i < SIDE; i++) {
                X(block + i, lane) = x[i];
            }
        }
        barrier();
        for (uint i = block + SIDE + lane_row; i < CHUNK; i += SIDE) {
            [[unroll]] for (uint r = 0u; r < RUNS; r++) {
                float sum = 0.0;
                for (uint j = block; j < block + SIDE; j++) {
                    sum += PAIR(i, j) * X(j, lane_column + r * SIDE);
                }
                X(i, lane_column + r * SIDE) -= sum;
            }
        }
        barrier();
    }
}

void set_pairs_of_q() {
    [[unroll]] for (uint i = 0u; i < TOKENS; i++) {
        uint at = lane_row + i * SIDE;
        [[unroll]] for (uint j = 0u; j < TOKENS; j++) {
            uint of = lane_column + j * SIDE;
            float factor = q_factors[at] * k_factors[of];
            PAIR(at, of) = of <= at ? factor * decay_between(sums[at], sums[of]) * qk[i][j] : 0.0;
        }
    }
    barrier();
}

void store_outputs(uint first) {
    float o[TOKENS][RUNS];
    [[unroll]] for (uint i = 0u; i < TOKENS; i++) {
        uint at = lane_row + i * SIDE;
        float grown = q_factors[at] * decay_between(sums[at], vec2(0));
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            o[i][r] = grown * qs[i][r];
        }
    }
    for (uint j = 0u; j < CHUNK; j++) {
        [[unroll]] for (uint i = 0u; i < TOKENS; i++) {
            float pair = PAIR(lane_row + i * SIDE, j);
            [[unroll]] for (uint r = 0u; r < RUNS; r++) {
                o[i][r] += pair * X(j, lane_column + r * SIDE);
            }
        }
    }
    [[unroll]] for (uint i = 0u; i < TOKENS; i++) {
        uint t = first + lane_row + i * SIDE;
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
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            made[r][c] = whole * S(lane_row + r * SIDE, min(lane_column + c * SIDE, DIM - 1u));
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
    key_first = seq * q_seq + head / SHARE * q_head;
    n = uint(clamp(n_valid[n_valid_at + seq], 0, int(n_tokens)));
    load_state(state_of(slot_of(seq, 0u), head));
    for (uint first = 0u; first < n; first += CHUNK) {
        take_gates(first);
        multiply(first);
        set_up(first);
        solve();
        set_pairs_of_q();
        store_outputs(first);
        update_state(first);
        store_places(first);
    }
    for (uint i = n * ROWS + lane; i < n_tokens * ROWS; i += 256u) {
        uint t = i / ROWS, row = row_first + i % ROWS;
        if (row < DIM) {
            y[y_at + seq * y_seq + t * y_token + head * y_head + row] = 0.0;
        }
    }
}
