// A tile of TILE_ROWS rows by TILE_COLS columns of a product, by cooperative matrices: operands as halves in shared
// memory, sums in fp32. While one stage is multiplied, the next AHEAD are loaded. A stage is GROUPS groups of
// dequant.glsl. Each subgroup takes PART_ROWS x PART_COLS of the tile. For few columns SPLITS teams of subgroups take
// every SPLITS-th stage each and add up in the end: what a lone team waits for one after the other they wait for side by
// side. Inner axes have stride 1, rows are whole groups, columns of x start at multiples of 4 elements.
// Of each four elements of a row the middle two change places, which unpacks codes of weights two at a time.
// With WARPGROUPS stages take turns, and stand in shared memory, as warpgroups.glsl says; all else holds.
// What halves cannot hold makes an output that is no number: store_tile computes such a one again in fp32.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TILE_ROWS = 64;
layout(constant_id = 2) const uint TILE_COLS = 64;
layout(constant_id = 3) const uint GROUPS = 1;
layout(constant_id = 4) const uint PART_ROWS = 32;
layout(constant_id = 5) const uint PART_COLS = 32;
layout(constant_id = 6) const uint M = 16;  // the shape of a cooperative matrix product
layout(constant_id = 7) const uint N = 16;
layout(constant_id = 8) const uint K = 16;
layout(constant_id = 9) const uint STAGES = 2;  // of a team in shared memory
layout(constant_id = 11) const uint SPLITS = 1;
layout(constant_id = 12) const uint HALVED = 0;  // x stands there as halves.comp makes them too
layout(constant_id = 13) const uint AHEAD = 1;  // and in registers
layout(constant_id = 15) const uint WARPGROUPS = 0;  // do four subgroups multiply as one?
layout(constant_id = 16) const uint COPIES = 0;  // stages of columns that are then under way to shared memory at once

const uint LOCAL = gl_WorkGroupSize.x / SPLITS;  // of a team
const uint OCTETS = 4u * GROUPS, PITCH = OCTETS + 1u;  // of a row in shared memory; odd, so that banks differ
const uint STAGE = (TILE_ROWS + TILE_COLS) * PITCH;
const uint TOGETHER = (STAGES * TILE_ROWS + (COPIES != 0u ? COPIES : STAGES) * TILE_COLS) * 8u;  // WARPGROUPS' words
const uint X_ITEMS = (TILE_COLS * OCTETS + LOCAL - 1u) / LOCAL;  // 8 elements of a column each
const uint ROW_PARTS = TILE_ROWS / PART_ROWS, COL_PARTS = TILE_COLS / PART_COLS, PARTS = ROW_PARTS * COL_PARTS;
const uint ROW_SUMS = PART_ROWS / M, COL_SUMS = PART_COLS / N;

#if !defined(X_BINDING)
#define X_BINDING 1
#endif
layout(std430, binding = X_BINDING) readonly buffer XQuads {
    vec4 x_quads[];
};

layout(std430, binding = HALVES_BINDING) readonly buffer XHalves {
    uvec4 x_halves[];
};

shared uvec4 tile[WARPGROUPS != 0u ? TOGETHER : SPLITS * STAGES * STAGE];

// Where the octet is that stands n octets behind the one at a place; n has none of its bits.
uint behind(uint at, uint n) {
    return WARPGROUPS != 0u ? at ^ n : at + n;
}

#include "each.glsl"
#include "halved.glsl"
#include "matrix_weights.glsl"

#if !defined(AFTER_ROWS)
#define AFTER_ROWS  // what a kernel does once the first rows are asked for
#endif
#if !defined(AFTER_COLUMNS)
#define AFTER_COLUMNS  // and the first columns
#endif
#if !defined(AFTER_TURNS)
#define AFTER_TURNS  // and once all stages are multiplied
#endif

uint w_starts[W_ITEMS], x_starts[X_ITEMS];
vec4 x_next[2u * AHEAD * X_ITEMS];
uvec4 x_octets[AHEAD * X_ITEMS];

uint team() {
    return gl_SubgroupID / PARTS;
}

void team_barrier() {
    if (SPLITS > 1u && PARTS == 1u) {
        subgroupBarrier();
    } else {
        barrier();
    }
}

uint item_of(uint i) {
    uint in_team = gl_SubgroupID % PARTS * gl_SubgroupSize + gl_SubgroupInvocationID;
    return i * LOCAL + (SPLITS == 1u ? gl_LocalInvocationID.x : in_team);
}

uint row_of(uint i) {
    return min(item_of(i) / (W_PARTS * GROUPS), TILE_ROWS - 1u);
}

uint col_of(uint i) {
    return min(item_of(i) / OCTETS, TILE_COLS - 1u);
}

uint n_stages() {
    return n_inner / (32u * GROUPS);
}

// Registers take a stage's rows and columns, if there is such a stage: the `slot`th of those ahead.
void fetch_rows(uint slot, uint stage) {
    if (stage < n_stages()) {
        [[unroll]] for (uint i = 0u; i < W_ITEMS; i++) {
#if defined(PAIRED)
            source = 2u * i / W_ITEMS;
#endif
            uint g = stage * GROUPS + item_of(i) / W_PARTS % GROUPS;
            fetch_w(slot * W_ITEMS + i, w_starts[i], g, item_of(i) % W_PARTS);
        }
    }
}

void fetch_column(uint to, uint start, uint k) {
    if (HALVED != 0u) {
        x_octets[to] = x_halves[(halves_at + start - x_at + k) >> 3];
    } else {
        uint at = (start + k) >> 2;
        x_next[2u * to] = x_quads[at];
        x_next[2u * to + 1u] = x_quads[at + 1u];
    }
}

// Where in a column an octet of a stage begins.
uint column_at(uint stage, uint octet) {
    return group_at(stage * GROUPS + (octet >> 2)) + ((octet & 1u) << 3) + (octet >> 1 & 1u) * OCTET_STEP;
}

void fetch_columns(uint slot, uint stage) {
    if (stage < n_stages()) {
        [[unroll]] for (uint i = 0u; i < X_ITEMS; i++) {
            fetch_column(slot * X_ITEMS + i, x_starts[i], column_at(stage, item_of(i) % OCTETS));
        }
    }
}

bool has_row(uint i) {
    const uint n = TILE_ROWS * GROUPS * W_PARTS;
    return W_ITEMS * LOCAL == n || item_of(i) < n;
}

bool has_column(uint i) {
    const uint n = TILE_COLS * OCTETS;
    return X_ITEMS * LOCAL == n || item_of(i) < n;
}

// The first octet of a row's item, of a stage.
uint row_octet(uint i) {
    return (item_of(i) / W_PARTS % GROUPS << 2) + item_of(i) % W_PARTS;
}

void put(uint slot, uint first) {
    [[unroll]] for (uint i = 0u; i < W_ITEMS; i++) {
        if (has_row(i)) {
            put_w(slot * W_ITEMS + i, first + row_of(i) * PITCH + row_octet(i));
        }
    }
    [[unroll]] for (uint i = 0u; i < X_ITEMS; i++) {
        if (has_column(i)) {
            uint at = first + (TILE_ROWS + col_of(i)) * PITCH + item_of(i) % OCTETS, x = slot * X_ITEMS + i;
            tile[at] = HALVED != 0u ? x_octets[x] : uvec4(halves(x_next[2u * x]), halves(x_next[2u * x + 1u]));
        }
    }
}

uint part_row() {
    return gl_SubgroupID % ROW_PARTS * PART_ROWS;
}

// Where a warpgroup's rows begin, of which its subgroups take every fourth matrix each.
uint warpgroup_row() {
    return gl_SubgroupID % ROW_PARTS / 4u * 4u * PART_ROWS;
}

uint part_col() {
    return gl_SubgroupID / ROW_PARTS % COL_PARTS * PART_COLS;
}

// The first row in the tile of the subgroup's sums r. PAIRED: the tile's halves are rows of two weights, and each
// subgroup has as many of both.
uint sums_row(uint r) {
#if defined(PAIRED)
    const uint half_sums = ROW_SUMS / 2u;
    uint first = r / half_sums * (TILE_ROWS / 2u) + (WARPGROUPS != 0u ? warpgroup_row() : part_row()) / 2u;
    r %= half_sums;
#else
    uint first = WARPGROUPS != 0u ? warpgroup_row() : part_row();
#endif
    return first + (WARPGROUPS != 0u ? 4u * r + gl_SubgroupID % 4u : r) * M;
}

coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> sums[ROW_SUMS * COL_SUMS];

void clear_sums() {
    [[unroll]] for (uint i = 0u; i < ROW_SUMS * COL_SUMS; i++) {
        sums[i] = coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>(0.0);
    }
}

void add_stage(uint first) {
    uint x_tile = first + (TILE_ROWS + part_col()) * PITCH;
    [[unroll]] for (uint k = 0u; k < 32u * GROUPS; k += K) {
        coopmat<float16_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b[COL_SUMS];
        [[unroll]] for (uint c = 0u; c < COL_SUMS; c++) {
            coopMatLoad(b[c], tile, x_tile + c * N * PITCH + k / 8u, PITCH, gl_CooperativeMatrixLayoutColumnMajor);
        }
        [[unroll]] for (uint r = 0u; r < ROW_SUMS; r++) {
            coopmat<float16_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a;
            coopMatLoad(a, tile, first + sums_row(r) * PITCH + k / 8u, PITCH, gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint c = 0u; c < COL_SUMS; c++) {
                sums[r * COL_SUMS + c] = coopMatMulAdd(a, b[c], sums[r * COL_SUMS + c]);
            }
        }
    }
}

#define PUT_SUMS(j) if (i == (j)) { coopMatStore(sums[j], tile, at, M / 4u, gl_CooperativeMatrixLayoutColumnMajor); }

// Sums i as floats [N][M] from word `at` of the tile on. Where a compiler keeps the loop around it, `sums[i]` would have
// all of them in memory, and each stage would write them there.
void put_sums(uint i, uint at) {
#if defined(TEXT)
    coopMatStore(sums[i], tile, at, M / 4u, gl_CooperativeMatrixLayoutColumnMajor);
#else
    EACH_TO_32(ROW_SUMS * COL_SUMS, PUT_SUMS)
#endif
}

// A team's stage of a turn, if there is one, goes through shared memory into the sums, and a later one into its registers.
void add_turn(uint slot, uint turn) {
    uint stage = turn * SPLITS + team(), to = (team() * STAGES + turn % STAGES) * STAGE;
    if (SPLITS == 1u || stage < n_stages()) {
        put(slot, to);
    }
    fetch_rows(slot, stage + AHEAD * SPLITS);
    fetch_columns(slot, stage + AHEAD * SPLITS);
    team_barrier();
    if (SPLITS == 1u || stage < n_stages()) {
        add_stage(to);
    }
    if (STAGES == 1u) {
        team_barrier();
    }
}

#if defined(TEXT) && !defined(CONV)  // which is of few columns
#include "warpgroups.glsl"
#else
#define multiply_together()
#endif

// Sums of the whole tile, of each team's stages; w_starts and x_starts hold where the items' rows and columns start.
void multiply() {
    if (WARPGROUPS != 0u) {
        multiply_together();
        return;
    }
    uint turns = (n_stages() + SPLITS - 1u) / SPLITS;
    clear_sums();
    [[unroll]] for (uint slot = 0u; slot < AHEAD; slot++) {
        fetch_rows(slot, slot * SPLITS + team());
    }
    AFTER_ROWS
    [[unroll]] for (uint slot = 0u; slot < AHEAD; slot++) {
        fetch_columns(slot, slot * SPLITS + team());
    }
    AFTER_COLUMNS
    for (uint turn = 0u; turn < turns; turn += AHEAD) {
        [[unroll]] for (uint slot = 0u; slot < AHEAD; slot++) {
            if (AHEAD == 1u || turn + slot < turns) {
                add_turn(slot, turn + slot);
            }
        }
    }
    AFTER_TURNS
    if (SPLITS > 1u || STAGES > 1u) {
        barrier();
    }
}

// One matrix of sums of every subgroup, to be read by sum_at until close_sums.
void open_sums(uint i, uint at) {
    put_sums(i, at + gl_SubgroupID * M * N / 4u);
    if (SPLITS > 1u) {
        barrier();
    } else {
        subgroupBarrier();
    }
}

void close_sums() {
    if (SPLITS > 1u) {
        barrier();
    } else {
        subgroupBarrier();
    }
}

// The bits of element e, from word `at` of the tile on: the sum of what the teams have.
uint sum_at(uint at, uint e) {
    at += gl_SubgroupID % PARTS * M * N / 4u + e / 4u;
    if (SPLITS == 1u) {
        return tile[at][e % 4u];
    }
    float sum = 0.0;
    for (uint t = 0u; t < SPLITS; t++) {
        sum += uintBitsToFloat(tile[at + t * PARTS * M * N / 4u][e % 4u]);
    }
    return floatBitsToUint(sum);
}

float exact(uint row_start, uint col_start) {
    float sum = 0.0;
    for (uint i = 0u; i < n_inner >> 3; i++) {
        Octet w = scaled(codes_of(row_start, i), scale_of(row_start, n_inner, i >> 2));
        uint at = (col_start + octet_at(i)) >> 2;
        sum += dot(w.a, x_quads[at]) + dot(w.b, x_quads[at + OCTET_STEP / 4u]);
    }
    return sum;
}

// Outputs to y: the kernel says where column c of the tile starts in x and in y, and how many columns there are.
uint x_start_of(uint c);
uint y_start_of(uint c);

float number_or_exact(uint bits, uint row_start, uint col_start) {
    bool is_number = (bits & 0x7f800000u) != 0x7f800000u;
    return is_number ? uintBitsToFloat(bits) : exact(row_start, col_start);
}

#if !defined(PAIRED)

void store_tile(uint w_first, uint m, uint n_tile_cols) {
    [[unroll]] for (uint i = 0u; i < ROW_SUMS * COL_SUMS; i++) {
        open_sums(i, 0u);
        for (uint e = team() * gl_SubgroupSize + gl_SubgroupInvocationID; e < M * N; e += gl_SubgroupSize * SPLITS) {
            uint row = m + sums_row(i / COL_SUMS) + e % M, c = part_col() + i % COL_SUMS * N + e / M;
            if (row < n_rows && c < n_tile_cols) {
                uint bits = sum_at(0u, e);
                y[y_start_of(c) + row * y_inner] = number_or_exact(bits, w_first + row * w_row, x_start_of(c));
            }
        }
        close_sums();
    }
}

#endif
