// multiply() of matrix_tile.glsl by warpgroups, in texts alone: four subgroups side by side multiply as one, 64 rows at a
// time, and read both operands from shared memory by themselves, while the next stage is made ready beside: rows go
// through registers there, columns, which are halves (HALVED), straight. In shared memory an operand stands as blocks of 8
// lines x 16 bytes: lines side by side, then octets.

const uint W_SLOTS_SHARED = 2u, X_SLOTS = 3u;
const uint W_PITCH = TILE_ROWS + 1u, X_PITCH = TILE_COLS + 1u;  // from octet to octet; odd, so that banks differ

uint w_slot(uint stage) {
    return stage % W_SLOTS_SHARED * W_PITCH * OCTETS;
}

uint x_slot(uint stage) {
    return (W_SLOTS_SHARED * W_PITCH + stage % X_SLOTS * X_PITCH) * OCTETS;
}

void put_rows(uint slot, uint first) {
    const uint n = TILE_ROWS * GROUPS * W_PARTS;
    [[unroll]] for (uint i = 0u; i < W_ITEMS; i++) {
        if (W_ITEMS * LOCAL == n || item_of(i) < n) {
            uint octet = (item_of(i) / W_PARTS % GROUPS << 2) + item_of(i) % W_PARTS;
            put_w(slot * W_ITEMS + i, first + row_of(i) + octet * W_PITCH);
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
                copyAsync(tile, x_slot(stage) + col_of(i) + octet * X_PITCH, x_halves, from >> 3);
            }
        }
    }
    copiesCommit();
}

// The first products of all are no additions: sums that something else cleared would keep products from running ahead.
void begin_products(uint stage) {
    warpgroupFence();
    [[unroll]] for (uint r = 0u; r < ROW_SUMS; r++) {
        uint w = w_slot(stage) + sums_row(r) - gl_SubgroupID % 4u * M, x = x_slot(stage) + part_col();
        [[unroll]] for (uint k = 0u; k < OCTETS; k += K / 8u) {
            warpgroupMulAdd(sums, r * COL_SUMS, COL_SUMS, tile, w + k * W_PITCH, W_PITCH, x + k * X_PITCH, X_PITCH, stage + k);
        }
    }
    warpgroupCommit();
}

// What others' products read until the barrier is written again after it.
void add_together(uint slot, uint stage) {
    put_rows(slot, w_slot(stage));
    fetch_rows(slot, stage + AHEAD);
    copiesAwait(1u);
    warpgroupPublish();
    warpgroupAwait();
    barrier();
    begin_products(stage);
    copy_columns(stage + 2u);
}

void multiply_together() {
    [[unroll]] for (uint slot = 0u; slot < AHEAD; slot++) {
        fetch_rows(slot, slot);
    }
    AFTER_ROWS
    copy_columns(0u);
    copy_columns(1u);
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
