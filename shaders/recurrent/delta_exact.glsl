// A chunk of delta_scan.comp in fp32: what halves cannot hold, and NaN, which reaches no token before its own.

float number_of(uvec4 octet, uint e) {
    return f16_to_f32(octet[e / 2u] >> e % 2u * 16u & 0xffffu);
}

// A row of halves times a row of the state.
float with_state(uvec4 octet, uint row, uint first) {
    float sum = 0.0;
    for (uint e = 0u; e < 8u; e++) {
        sum += number_of(octet, e) * EXACT_STATE(row * DIM + first + e);
    }
    return sum;
}

void find_exact_x(uint chunk) {
    for (uint item = lane; item < CHUNK * ROWS; item += LOCAL) {
        uint of_token = chunk_of(chunk) * CHUNK + item / ROWS, row = item % ROWS;
        float sum = 0.0;
        for (uint octet = 0u; octet < WIDE; octet++) {
            sum += with_state(w[(w_at >> 3) + of_token * WIDE + octet], row, 8u * octet);
        }
        EXACT_X(item) = u[u_at + of_token * DIM + row_first + row] * sigma - sum * (1.0 / SCALE);
    }
    barrier();
}

void store_exact(uint chunk) {
    for (uint item = lane; item < CHUNK * ROWS; item += LOCAL) {
        uint i = item / ROWS, of_token = chunk_of(chunk) * CHUNK + i, row = item % ROWS;
        float sum = 0.0;
        for (uint octet = 0u; octet < WIDE; octet++) {
            sum += with_state(grown[(grown_at >> 3) + of_token * WIDE + octet], row, 8u * octet);
        }
        for (uint j = 0u; j <= i; j++) {
            sum += number_of(p[(p_at >> 3) + of_token * (CHUNK / 8u) + j / 8u], j % 8u) * EXACT_X(j * ROWS + row);
        }
        store_output(chunk * CHUNK + i, row, sum);
    }
    barrier();
}

void make_exact_state(uint chunk) {
    float kept = ends[ends_at + 2u * chunk_of(chunk)];
    for (uint item = lane; item < ROWS * DIM; item += LOCAL) {
        uint row = item / DIM, column = item % DIM;
        float sum = 0.0;
        for (uint j = 0u; j < min(CHUNK, n - chunk * CHUNK); j++) {
            uvec4 octet = left[(left_at >> 3) + (chunk_of(chunk) * CHUNK + j) * WIDE + column / 8u];
            sum += EXACT_X(j * ROWS + row) * number_of(octet, column % 8u);
        }
        EXACT_STATE(item) = EXACT_STATE(item) * kept + sum * (1.0 / SCALE);
    }
    barrier();
}

void redo(uint chunk) {
    [[unroll]] for (uint i = 0u; i < DIM_TILES; i++) {
        STORE_SUMS(s[i], exact_state, (of_rows * DIM + first_column(i)) / 4u, DIM / 4u);
    }
    barrier();
    find_exact_x(chunk);
    store_exact(chunk);
    make_exact_state(chunk);
    [[unroll]] for (uint i = 0u; i < DIM_TILES; i++) {
        LOAD_SUMS(s[i], exact_state, (of_rows * DIM + first_column(i)) / 4u, DIM / 4u);
    }
}
