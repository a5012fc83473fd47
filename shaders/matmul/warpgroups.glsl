// multiply() of matrix_tile.glsl by warpgroups, in texts alone: four subgroups side by side multiply as one, 64 rows at a
// time, and read both operands from shared memory by themselves: where it has two STAGES, while the next one is put there.
// A stage is 64 elements of each line of an operand, 128 bytes; line i has its octet k at place k ^ i % 8, and 8 lines begin
// at a multiple of 1024 bytes. Rows go through registers. So do columns, or COPIES stages of them are under way at once.

const uint LINE = 8u;  // words

uint w_slot(uint stage) {
    return stage % STAGES * TILE_ROWS * LINE;
}

uint x_slot(uint stage) {
    return (STAGES * TILE_ROWS + stage % (COPIES != 0u ? COPIES : STAGES) * TILE_COLS) * LINE;
}

uint place(uint line, uint octet) {
    return line * LINE + (octet ^ line % 8u);
}

void put_rows(uint first) {
    [[unroll]] for (uint i = 0u; i < W_ITEMS; i++) {
        if (has_row(i)) {
            put_w(i, first + place(row_of(i), row_octet(i)));
        }
    }
}

void put_columns(uint first) {
    [[unroll]] for (uint i = 0u; i < X_ITEMS; i++) {
        if (has_column(i)) {
            tile[first + place(col_of(i), item_of(i) % OCTETS)] = x_octets[i];
        }
    }
}

// Each stage is a group of copies, if only an empty one: they are counted.
void copy_columns(uint stage) {
    if (stage < n_stages()) {
        [[unroll]] for (uint i = 0u; i < X_ITEMS; i++) {
            if (has_column(i)) {
                uint octet = item_of(i) % OCTETS, from = halves_at + x_starts[i] - x_at + column_at(stage, octet);
                copyAsync(tile, x_slot(stage) + place(col_of(i), octet), x_halves, from >> 3);
            }
        }
    }
    copiesCommit();
}

// The first products of all are no additions: sums that something else cleared would keep products from running ahead.
void begin_products(uint stage) {
    warpgroupFence();
    [[unroll]] for (uint r = 0u; r < ROW_SUMS; r++) {
        uint w = w_slot(stage) + (sums_row(r) - gl_SubgroupID % 4u * M) * LINE, x = x_slot(stage) + part_col() * LINE;
        [[unroll]] for (uint k = 0u; k < OCTETS; k += K / 8u) {
            warpgroupMulAdd(sums, r * COL_SUMS, COL_SUMS, tile, w + k, x + k, stage + k);
        }
    }
    warpgroupCommit();
}

// Where a stage is put products have ended, those of the one STAGES before: all subgroups waited for them, and then for
// each other.
void add_together(uint stage) {
    if (STAGES == 1u && stage != 0u) {
        warpgroupAwait();
        barrier();
    }
    put_rows(w_slot(stage));
    if (COPIES == 0u) {
        put_columns(x_slot(stage));
        fetch_columns(0u, stage + 1u);
    }
    fetch_rows(0u, stage + 1u);
    if (COPIES != 0u) {
        copiesAwait(COPIES - 2u);
    }
    warpgroupPublish();
    if (STAGES > 1u) {
        warpgroupAwait();
    }
    barrier();
    begin_products(stage);
    if (COPIES != 0u) {
        copy_columns(stage + COPIES - 1u);
    }
}

void multiply_together() {
    fetch_rows(0u, 0u);
    AFTER_ROWS
    if (COPIES == 0u) {
        fetch_columns(0u, 0u);
    }
    [[unroll]] for (uint stage = 0u; stage + 1u < COPIES; stage++) {
        copy_columns(stage);
    }
    for (uint stage = 0u; stage < n_stages(); stage++) {
        add_together(stage);
    }
    warpgroupAwait();
    barrier();
}
