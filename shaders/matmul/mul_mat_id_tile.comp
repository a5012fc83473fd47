#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// y[t, j, m] = sum over k of x[t, j, k] w[ids[t, j], m, k] for GPUs and many tokens: a workgroup takes an expert and 64
// of its rows, looks through all ids for its columns, and multiplies a tile of them at a time. See tile.glsl.
// TYPE_<name>: the type of w; compiled with EXPERTS. ROW_QUADS is 1, which leaves shared memory for the list.
// Grid: tiles of rows fastest, then experts.

#include "dequant.glsl"
#include "mul_mat_args.glsl"
#include "tile.glsl"

shared uint found[TILE_COLS + 128u];
shared uint n_found;

uint x_of(uint pair) {
    return x_at + pair / n_batch1 * x_batch0 + pair % n_batch1 * x_batch1;
}

uint y_of(uint pair) {
    return y_at + pair / n_batch1 * y_batch0 + pair % n_batch1 * y_batch1;
}

// The columns from `first` to `last` of the list; their order does not matter to any sum.
void flush(uint row_first, uint m, uint first, uint last) {
    uint mine = min(first + gl_LocalInvocationID.x % TILE_COLS, last - 1u);
    multiply(row_first, x_of(found[mine]));
    for (uint c = 0u; c < 4u; c++) {
        uint entry = first + tile_col() + c;
        if (entry < last) {
            store_column(c, y_of(found[entry]), m);
        }
    }
}

void main() {
    uint row_tiles = (n_rows + TILE_ROWS - 1u) / TILE_ROWS, n_pairs = n_batch0 * n_batch1;
    uint group = group_index(), expert = group / row_tiles, m = group % row_tiles * TILE_ROWS;
    if (expert >= n_experts) {
        return;
    }
    uint row_first = w_at + expert * w_batch1 + min(m + gl_LocalInvocationID.x % TILE_ROWS, n_rows - 1u) * w_row;
    uint n_left = 0u;
    for (uint first = 0u; first < n_pairs; first += 128u) {
        barrier();
        if (gl_LocalInvocationID.x == 0u) {
            n_found = n_left;
        }
        barrier();
        uint pair = first + gl_LocalInvocationID.x;
        if (pair < n_pairs && expert_of(pair / n_batch1, pair % n_batch1) == expert) {
            found[atomicAdd(n_found, 1u)] = pair;
        }
        barrier();
        n_left = n_found;
        // tiles come off the list's end, so that nothing has to move; what is less than a tile waits for the last round
        bool is_last = first + 128u >= n_pairs;
        while (n_left >= TILE_COLS || (is_last && n_left > 0u)) {
            uint last = n_left;
            n_left -= min(n_left, TILE_COLS);
            flush(row_first, m, n_left, last);
        }
    }
}
