// A tile of ROWS rows of a head's state, for a workgroup of LANES that takes chunk after chunk of CHUNK tokens: its place
// and its operands, the state in shared memory, and the values of a chunk. A lane has a place in a square of SIDE columns;
// in the state it has four rows by every COLUMN_LANES-th column.

const uint STATE_SIZE = DIM * N_STATE;
#include "delta_slots.glsl"

const uint ROW_QUADS = ROWS / 4u, COLUMN_LANES = LANES / ROW_QUADS;
const uint COLUMNS = (N_STATE + COLUMN_LANES - 1u) / COLUMN_LANES;  // of a lane
const uint STATE_PITCH = N_STATE + 1u;
const uint TILES = (DIM + ROWS - 1u) / ROWS;

shared float state_tile[ROWS * STATE_PITCH];
shared vec4 values[CHUNK * ROW_QUADS];  // four rows to a number

#define X(j, r) values[(j) * ROW_QUADS + (r) / 4u][(r) % 4u]
#define S(r, col) state_tile[(r) * STATE_PITCH + (col)]

uint lane, lane_row, lane_column;
uint head, seq, n, row_first, x_first, b_first, y_first;

vec4 values_of(uint j, uint row) {
    return vec4(X(j, row), X(j + 1u, row), X(j + 2u, row), X(j + 3u, row));
}

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

// The state after a chunk: WHOLE(column) of what it was, and each value by KEPT(j) times KEY(j, t, column), t being token j
// of all. These macros are defined before.
void update_state(uint first) {
    uint rows = lane / COLUMN_LANES, start = lane % COLUMN_LANES;
    vec4 s[COLUMNS];
    [[unroll]] for (uint i = 0u; i < COLUMNS; i++) {
        uint column = start + i * COLUMN_LANES;
        [[unroll]] for (uint e = 0u; e < 4u; e++) {
            s[i][e] = column < N_STATE ? WHOLE(column) * S(4u * rows + e, column) : 0.0;
        }
    }
    for (uint j = 0u; j < min(CHUNK, n - first); j++) {
        vec4 kept = KEPT(j) * values[j * ROW_QUADS + rows];
        [[unroll]] for (uint i = 0u; i < COLUMNS; i++) {
            uint column = start + i * COLUMN_LANES;
            s[i] += kept * (column < N_STATE ? KEY(j, first + j, column) : 0.0);
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

void find_operands(uint at) {
    lane = gl_LocalInvocationIndex, lane_row = lane / SIDE, lane_column = lane % SIDE;
    head = at / TILES % N_HEADS, seq = at / TILES / N_HEADS, row_first = at % TILES * ROWS;
    b_first = seq * b_seq + head / SHARE * b_group;
    x_first = x_at + seq * x_seq + head * x_head;
    y_first = y_at + seq * y_seq + head * y_head;
}

// Of tokens that are not valid.
void store_nothing() {
    for (uint i = n * ROWS + lane; i < n_tokens * ROWS; i += LANES) {
        uint t = i / ROWS, row = row_first + i % ROWS;
        if (row < DIM) {
            y[y_first + t * y_token + row] = 0.0;
        }
    }
}
