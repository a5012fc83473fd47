// ROWS x COLS outputs of ALONG invocations, for GPUs with subgroups: each takes pieces (pieces.glsl) of all its rows, the
// next of them loaded before one is used. The columns' share of ALONG * STEPS pieces waits in shared memory, in the order
// in which invocations side by side read it. Inner axes have stride 1; rows are n_inner numbers, a multiple of 32.
// A workgroup takes RUN tiles of rows one after the other, so that loads never wait for what ends a tile.
// Kernels define take_tile(t), which sets `rows` of tile t, to be loaded, and is called for tiles in order, for one again or
// not; of_tile(t), which says where the tile is from that is multiplied; start_tile(t), which asks for what store_tile(t)
// needs beside the sums; and that, which stores sum_of(r, c) of r = own_row() where is_writer().
// Kernels of several weights define FROM(r), a statement that says where row r is from. Kernels whose rows are joined of
// several define TAKE(p), statements that make `piece` of p and set `rows` and n_inner. Kernels with QUADS_GIVEN define
// ask_quad(c, p, quad) and made_quad(c, asked) for columns that are made on their way, AFTER_ASKING what else to ask for
// when the first quads are under way. Kernels of weights of two types define ORDER_CHANGES(t): is tile t the first to read columns in another order?

#include "each.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint ROWS = 1;  // at most 8, as COLS
layout(constant_id = 2) const uint COLS = 1;
layout(constant_id = 3) const uint ALONG = 32;  // whole subgroups
layout(constant_id = 4) const uint STEPS = 1;
layout(constant_id = 6) const uint SUBGROUP = 32;
layout(constant_id = 7) const uint RUN = 1;
layout(constant_id = 9) const uint CONSTANT = 0u;  // is no weight written by any kernel?
layout(constant_id = 12) const uint X_ALIGNED = 0;  // do columns, and what they are made with, begin at quads?

#include "together.glsl"

const uint HELD = ALONG * STEPS;  // pieces at a time
const uint SETS = gl_WorkGroupSize.x / ALONG;
const uint HELD_ROW = HELD + 1u;  // odd: no two of a piece's eight quads in one bank

// Rows of an invocation stand so far apart; of a workgroup together follow each other.
#define ROW_STEP SETS
#define FIRST_ROW (subgroup_start() / ALONG)
#define TILE_OF(n) ((n) * SETS)

shared float partial[2u * ((gl_WorkGroupSize.x + SUBGROUP - 1u) / SUBGROUP) * ROWS * COLS];  // for two tiles in turn

uint rows[ROWS], cols[COLS];
float sums[ROWS][COLS];
Raw raw[ROWS], ahead[ROWS];  // what add_piece adds, and what is on its way

#ifndef FROM
#define FROM(r)
#endif
#ifndef TAKE
#define TAKE(p) uint piece = p
#endif
#ifndef X_GIVEN
vec4 x_quad(uint at) {
    if (X_ALIGNED != 0u) {
        return x4[at >> 2];
    }
    return vec4(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
}
#endif

// What a quad of a column is made of: it is asked for, and later made.
struct Asked {
    vec4 a, b;
};
bool is_first_tile;
#ifndef QUADS_GIVEN
Asked ask_quad(uint c, uint p, uint quad) {
    return Asked(x_quad(cols[c] + quad_place(p, quad, n_inner)), vec4(0));
}

vec4 made_quad(uint c, Asked quad) {
    return quad.a;
}
#else
Asked ask_quad(uint c, uint p, uint quad);
vec4 made_quad(uint c, Asked quad);
#endif

uint invocation() {
    return gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
}

// The first invocation of this one's subgroup, where it does not matter which of them is meant: so that drivers' compilers
// of SPIR-V see one number for all, and one way that they take. Not subgroupBroadcastFirst(), see together.glsl.
#if defined(TEXT)
#define subgroup_start() invocation()
#else
#define subgroup_start() (gl_SubgroupID * gl_SubgroupSize)
#endif

// Kernels call the first before they read anything, unless they wait there anyway; run_tiles does the rest.
void await_early() {
    if (CONSTANT == 0u) {
        await_inputs();
    }
}

void await_late() {
    if (CONSTANT != 0u) {
        await_inputs();
    }
}

#ifndef AFTER_ASKING
#define AFTER_ASKING
#endif
#if defined(DOT)
#include "wide_dot.glsl"
#else
#include "wide_floats.glsl"
#endif

void clear_sums() {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            sums[r][c] = 0.0;
        }
    }
}

// The first ROWS invocations of a row store one row of the tile each.
uint own_row() {
    return invocation() % ALONG;
}

bool is_writer() {
    return own_row() < ROWS;
}

float sum_of(uint r, uint c) {
    float sum = sums[0][c];
    [[unroll]] for (uint i = 1u; i < ROWS; i++) {
        sum = r == i ? sums[i][c] : sum;
    }
    return sum;
}

void gather_sum(uint r, uint c) {
    float sum = sums[r][c];
    sums[r][c] = sum_of_all(sum);
}

#define GATHER_SUM(c) gather_sum(r, c)
void gather_row(uint r) {
    EACH_TO_8(COLS, GATHER_SUM)
}

// The sums over all invocations of a row, where is_writer(). All run it together, for tiles in order.
void gather_sums(uint tile) {
    EACH_TO_8(ROWS, gather_row)
    if (ALONG <= SUBGROUP) {
        return;
    }
    uint place = ((tile & 1u) * (gl_WorkGroupSize.x / SUBGROUP) + gl_SubgroupID) * ROWS;
    if (gl_SubgroupInvocationID == 0u) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            [[unroll]] for (uint c = 0u; c < COLS; c++) {
                partial[(place + r) * COLS + c] = sums[r][c];
            }
        }
    }
    barrier();
    if (is_writer()) {
        [[dont_unroll]] for (uint i = 1u; i < ALONG / SUBGROUP; i++) {
            [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                [[unroll]] for (uint c = 0u; c < COLS; c++) {
                    sums[r][c] += partial[(place + i * ROWS + r) * COLS + c];
                }
            }
        }
    }
}

void load_rows(uint p) {
    TAKE(p);
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        FROM(r);
        ahead[r] = raw_of(rows[r], n_inner, piece);
    }
}

void take_loaded() {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        raw[r] = ahead[r];
    }
}

void take_tile(uint t);
void of_tile(uint t);
void start_tile(uint t);
void store_tile(uint t);
#if defined(NORM)
void share_squares();
void end_first_tile();
#define HELD_ALL if (is_first_tile) { share_squares(); }
#define END_TILE if (is_first_tile) { end_first_tile(); }
#else
#define HELD_ALL
#define END_TILE
#endif
#ifndef ORDER_CHANGES
#define ORDER_CHANGES(t) false
#endif

void ask_for_next(bool is_last, uint t, uint after, uint p) {
    if (is_last && after != t) {
        take_tile(after);
    }
    if (!is_last || after != t) {
        load_rows(p);
    }
}

// The first columns are held before any loop for SPIR-V, whose compilers copy what a loop changes before they enter it: that
// waits for the rows asked for before, which are to be on their way while columns are held. CUDA's does not.
#if defined(TEXT)
const bool HELD_AHEAD = false;
#else
const bool HELD_AHEAD = true;
#endif

void hold_columns(uint base, uint n) {
    barrier();
    hold(base, n);
    HELD_ALL
    barrier();
}

// What pieces first to stop of the rows of tile t are from `base` on, as many as columns are held, onto their sums.
void add_held(uint t, uint after, uint first, uint stop, uint base, bool is_held) {
    uint along = invocation() % ALONG, n = min(HELD, stop - base), turns = (n + ALONG - 1u) / ALONG;
    of_tile(t);
    if (!is_held) {
        hold_columns(base, n);
    }
    if (base == first) {
        start_tile(t);
    }
    [[dont_unroll]] for (uint turn = 0u; turn < turns; turn++) {
        uint place = turn * ALONG + along, next = base + (turn + 1u == turns ? HELD + along : place + ALONG);
        bool is_last = turn + 1u == turns && base + HELD >= stop;
        take_loaded();
        ask_for_next(is_last, t, after, min(is_last ? first + along : next, stop - 1u));
        of_tile(t);
        if (place < n) {
            add_piece(base + place, place);
        }
    }
}

// For SPIR-V, from here on, loops of one turn at least ask behind a turn if there is another: where they ask before one,
// drivers' compilers make a second turn, of which they do not see that it never comes. CUDA's makes better ones of them.

// Pieces first to stop of the rows of tile t onto their sums. What comes next is always under way: the first piece was
// before, and after the last one the first of tile `after` is, if that is another. is_held: the first columns are there.
void add_pieces(uint t, uint after, uint first, uint stop, bool is_held) {
#if defined(TEXT)
    [[dont_unroll]] for (uint base = first; base == first || base < stop; base += HELD) {
        add_held(t, after, first, stop, base, is_held);
    }
#else
    uint base = first;
    [[dont_unroll]] do {
        add_held(t, after, first, stop, base, is_held && base == first);
        base += HELD;
    } while (base < stop);
#endif
}

void run_tile(uint t, uint first, uint stop) {
    uint n = n_inner >> 5;
    clear_sums();
    is_first_tile = RUN == 1u || t == first;
    uint after = RUN == 1u ? t : min(t + 1u, stop - 1u);
    add_pieces(t, after, 0u, n, is_first_tile ? HELD_AHEAD : n <= HELD && !ORDER_CHANGES(t));
    END_TILE
    gather_sums(t);
    store_tile(t);
}

// Tiles first to stop, one at least, of the columns that `cols` says.
void run_tiles(uint first, uint stop) {
    uint n = n_inner >> 5;
    take_tile(first);
    if (n > 0u) {
        load_rows(min(invocation() % ALONG, n - 1u));
    }
    await_late();
    if (HELD_AHEAD) {
        is_first_tile = true;
        of_tile(first);
        hold_columns(0u, min(HELD, n));
    }
#if defined(TEXT)
    [[dont_unroll]] for (uint t = first; t == first || (RUN > 1u && t < stop); t++) {
        run_tile(t, first, stop);
    }
#else
    uint t = first;
    [[dont_unroll]] do {
        run_tile(t, first, stop);
        t++;
    } while (RUN > 1u && t < stop);
#endif
}
