// (I + A) X = right side for a chunk of delta_chunks.comp: X holds the right side first and the solution then, PAIR has A.

// The blocks of SIDE tokens on the diagonal of I + A are replaced by their inverses: a lane a column.
void invert_blocks() {
    uint block = lane / SIDE * SIDE, column = lane % SIDE;
    float x[SIDE];
    if (lane < CHUNK) {
        [[unroll]] for (uint i = 0u; i < SIDE; i++) {
            x[i] = i == column ? 1.0 : 0.0;
        }
        [[unroll]] for (uint j = 0u; j < SIDE; j++) {
            [[unroll]] for (uint i = j + 1u; i < SIDE; i++) {
                x[i] -= PAIR(block + i, block + j) * x[j];
            }
        }
    }
    barrier();
    if (lane < CHUNK) {
        [[unroll]] for (uint i = 0u; i < SIDE; i++) {
            PAIR(block + i, block + column) = x[i];
        }
    }
    barrier();
}

// X of a block, by its inverse. What later tokens would add is 0 but for NaN and infinities, which must not reach back:
// it is left out.
void solve_block(uint block) {
    float x[RUNS];
    [[unroll]] for (uint r = 0u; r < RUNS; r++) {
        x[r] = 0.0;
    }
    for (uint j = 0u; j < SIDE; j++) {
        if (j <= lane_row) {
            float pair = PAIR(block + lane_row, block + j);
            [[unroll]] for (uint r = 0u; r < RUNS; r++) {
                x[r] += pair * X(block + j, lane_column + r * SIDE);
            }
        }
    }
    barrier();
    [[unroll]] for (uint r = 0u; r < RUNS; r++) {
        X(block + lane_row, lane_column + r * SIDE) = x[r];
    }
    barrier();
}

// The part of a solved block is taken out of the right side of the tokens after it.
void take_out_block(uint block) {
    float x[RUNS];
    for (uint i = block + SIDE + lane_row; i < CHUNK; i += SIDE) {
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            x[r] = X(i, lane_column + r * SIDE);
        }
        for (uint j = block; j < block + SIDE; j++) {
            float pair = PAIR(i, j);
            [[unroll]] for (uint r = 0u; r < RUNS; r++) {
                x[r] -= pair * X(j, lane_column + r * SIDE);
            }
        }
        [[unroll]] for (uint r = 0u; r < RUNS; r++) {
            X(i, lane_column + r * SIDE) = x[r];
        }
    }
    barrier();
}

// (I + A) X = right side, block after block.
void solve() {
    invert_blocks();
    for (uint block = 0u; block < CHUNK; block += SIDE) {
        solve_block(block);
        take_out_block(block);
    }
}
