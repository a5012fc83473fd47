// multiply() of matrix_tile.glsl by warpgroups, in texts alone: four subgroups side by side multiply as one, 64 rows at a
// time, and read both operands from shared memory by themselves. A stage there is 64 elements of each line of an operand,
// 128 bytes, of which line i has octet k at place k ^ i % 8; lines of both begin at multiples of 1024 bytes.

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

void put_rows(uint slot, uint first) {
    const uint n = TILE_ROWS * GROUPS * W_PARTS;
    [[unroll]] for (uint i = 0u; i < W_ITEMS; i++) {
        if (W_ITEMS * LOCAL == n || item_of(i) < n) {
            uint octet = (item_of(i) / W_PARTS % GROUPS << 2) + item_of(i) % W_PARTS;
            put_w(slot * W_ITEMS + i, first + place(row_of(i), octet));
        }
    }
}

void put_columns(uint slot, uint first) {
    const uint n = TILE_COLS * OCTETS;
    [[unroll]] for (uint i = 0u; i < X_ITEMS; i++) {
        if (X_ITEMS * LOCAL == n || item_of(i) < n) {
            tile[first + place(col_of(i), item_of(i) % OCTETS)] = x_octets[slot * X_ITEMS + i];
        }
    }
}

// Each stage is a group of copies, if only an empty one: they are counted.
void copy_columns(uint stage) {
    const uint n = TILE_COLS * OCTETS;
    if (stage < n_stages()) {
        [[unroll]] for (uint i = 0u; i < X_ITEMS; i++) {
            if (X_ITEMS * LOCAL == n || item_of(i) < n) {
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

void add_together(uint slot, uint stage) {
    put_rows(slot, w_slot(stage));
    if (COPIES == 0u) {
        put_columns(slot, x_slot(stage));
        fetch_columns(slot, stage + AHEAD);
    }
    fetch_rows(slot, stage + AHEAD);
    if (COPIES != 0u) {
        copiesAwait(COPIES - 2u);
    }
    warpgroupPublish();
    if (STAGES > 1u) {
        warpgroupAwait();
    }
    barrier();
    begin_products(stage);
    if (STAGES == 1u) {
        warpgroupAwait();
        barrier();
    }
    if (COPIES != 0u) {
        copy_columns(stage + COPIES - 1u);
    }
}

void multiply_together() {
    [[unroll]] for (uint slot = 0u; slot < AHEAD; slot++) {
        fetch_rows(slot, slot);
    }
    AFTER_ROWS
    if (COPIES == 0u) {
        [[unroll]] for (uint slot = 0u; slot < AHEAD; slot++) {
            fetch_columns(slot, slot);
        }
    } else {
        [[unroll]] for (uint stage = 0u; stage < COPIES - 1u; stage++) {
            copy_columns(stage);
        }
    }
    for (uint stage = 0u; stage < n_stages(); stage += AHEAD) {
        [[unroll]] for (uint slot = 0u; slot < AHEAD; slot++) {
            if (AHEAD == 1u || stage + slot < n_stages()) {
                add_together(slot, stage + slot);
            }
        }
    }
    warpgroupAwait();
    barrier();
}
