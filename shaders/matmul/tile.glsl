// A tile of 64 rows by TILE_COLS columns from shared memory, for GPUs: 128 invocations, each 4 * ROW_QUADS rows by 4
// columns. At most 16 KiB. Inner axes have stride 1.

layout(constant_id = 0) const uint ROW_QUADS = 2;

layout(local_size_x = 128) in;

const uint DEPTH = 32u;  // elements of k at a time: a group of dequant.glsl
const uint TILE_ROWS = 64u;
const uint TILE_COLS = 32u * ROW_QUADS;
const uint COL_LANES = 16u / ROW_QUADS;  // invocations that share four columns

shared float w_tile[DEPTH * TILE_ROWS];
shared float x_tile[DEPTH * TILE_COLS];

vec4 sums[ROW_QUADS][4];

void put_quad(uint k, uint row, vec4 quad) {
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        w_tile[(k + i) * TILE_ROWS + row] = quad[i];
    }
}

// Rows by invocation, so that neighbours write neighbouring words of shared memory.
void load_w(uint row_first, uint g) {
    uint row = gl_LocalInvocationID.x % TILE_ROWS;
    Scale s = scale_of(row_first, n_inner, g);
    for (uint j = gl_LocalInvocationID.x / TILE_ROWS; j < 4u; j += 128u / TILE_ROWS) {
        Octet w = scaled(codes_of(row_first, (g << 2) + j), s);
        put_quad(j << 2, row, w.a);
        put_quad((j << 2) + 16u, row, w.b);
    }
}

void load_x(uint col_first, uint g) {
    uint col = gl_LocalInvocationID.x % TILE_COLS;
    for (uint j = gl_LocalInvocationID.x / TILE_COLS; j < 8u; j += 128u / TILE_COLS) {
        uint k = group_at(g) + ((j & 3u) << 2) + (j >> 2) * OCTET_STEP;
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
            x_tile[((j << 2) + i) * TILE_COLS + col] = x[col_first + k + i];
        }
    }
}

// What is left of rows of plain numbers, filled up with zeros.
void load_rest(uint row_first, uint col_first, uint k) {
#if defined(PLAIN)
    uint row = gl_LocalInvocationID.x % TILE_ROWS, col = gl_LocalInvocationID.x % TILE_COLS;
    for (uint j = gl_LocalInvocationID.x / TILE_ROWS; j < DEPTH; j += 128u / TILE_ROWS) {
        w_tile[j * TILE_ROWS + row] = k + j < n_inner ? weight(row_first + k + j) : 0.0;
    }
    for (uint j = gl_LocalInvocationID.x / TILE_COLS; j < DEPTH; j += 128u / TILE_COLS) {
        x_tile[j * TILE_COLS + col] = k + j < n_inner ? x[col_first + k + j] : 0.0;
    }
#endif
}

uint tile_row() {
    return gl_LocalInvocationID.x % COL_LANES * 4u * ROW_QUADS;
}

uint tile_col() {
    return gl_LocalInvocationID.x / COL_LANES * 4u;
}

void add_tile() {
    uint row = tile_row(), col = tile_col();
    for (uint k = 0u; k < DEPTH; k++) {
        uint wk = k * TILE_ROWS + row, xk = k * TILE_COLS + col;
        [[unroll]] for (uint q = 0u; q < ROW_QUADS; q++) {
            uint at = wk + 4u * q;
            vec4 w = vec4(w_tile[at], w_tile[at + 1u], w_tile[at + 2u], w_tile[at + 3u]);
            [[unroll]] for (uint c = 0u; c < 4u; c++) {
                sums[q][c] += w * x_tile[xk + c];
            }
        }
    }
}

// Sums of the whole tile. row_first and col_first: where the row and the column start that this invocation loads.
// All of the workgroup run it together.
void multiply(uint row_first, uint col_first) {
    [[unroll]] for (uint q = 0u; q < ROW_QUADS; q++) {
        [[unroll]] for (uint c = 0u; c < 4u; c++) {
            sums[q][c] = vec4(0);
        }
    }
    for (uint g = 0u; g < (n_inner + 31u) >> 5; g++) {
        barrier();
        if ((g << 5) + 32u <= n_inner) {
            load_w(row_first, g);
            load_x(col_first, g);
        } else {
            load_rest(row_first, col_first, g << 5);
        }
        barrier();
        add_tile();
    }
}

void store_column(uint c, uint y_first, uint m) {
    [[unroll]] for (uint q = 0u; q < ROW_QUADS; q++) {
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
            uint row = m + tile_row() + 4u * q + i;
            if (row < n_rows) {
                y[y_first + row * y_inner] = sums[q][c][i];
            }
        }
    }
}
