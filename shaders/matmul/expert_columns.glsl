// Which columns of x and y an expert's tile meets, from what expert_lists.comp made of the ids: where each expert's pairs
// start, then pairs t * slots + j by expert.

shared uvec2 starts[TILE_COLS];  // of the columns in x and y

uint x_start_of(uint c) {
    return starts[c].x;
}

uint y_start_of(uint c) {
    return starts[c].y;
}

// Columns beyond the last repeat it, and are not stored.
void take_columns(uint first, uint last) {
    for (uint c = gl_LocalInvocationID.x; c < TILE_COLS; c += gl_WorkGroupSize.x) {
        uint pair = uint(ids[ids_at + n_experts + 1u + min(first + c, last - 1u)]);
        uint token = pair / n_batch1, slot = pair % n_batch1;
        starts[c] = uvec2(x_at + token * x_batch0 + slot * x_batch1, y_at + token * y_batch0 + slot * y_batch1);
    }
    barrier();
    [[unroll]] for (uint i = 0u; i < X_ITEMS; i++) {
        x_starts[i] = starts[col_of(i)].x;
    }
}
