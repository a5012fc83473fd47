#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if defined(LANES) || defined(WIDE) || defined(SUBGROUPS)
#extension GL_KHR_shader_subgroup_basic : require
#endif
#if defined(LANES)
#extension GL_KHR_shader_subgroup_shuffle : require
#elif defined(WIDE) || defined(SUBGROUPS)
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#if defined(DOT) && !defined(TEXT)
#extension GL_EXT_spirv_intrinsics : require
#endif
#endif
// y[n, j, f] = silu(gate_e x) up_e x for e = ids[n, j], and shared_y[n, f] the same of the expert that all tokens share:
// an invocation or workgroup makes the same rows of gate and up, see dots.glsl. ROWS: of both together. Inner axes have
// stride 1. TYPE_<name>: the type of gate and up; SECOND_<name>: that of the shared ones, if another.
// ROUTE: e is picked by logits[n] as route.comp does it, and ids and weights come out too; each workgroup picks as many
// experts as it needs, the first one of a token all.
// Grid: tiles (WIDE: runs of tiles) of rows, then slots j and the shared expert, then tokens n.

#define N_WEIGHTS 4
#define N_FIRST 2u
#define FROM(r) source = from == 0u ? (r) & 1u : 2u + ((r) & 1u)
uint from = 0u;
#include "maths.glsl"
#if !defined(LANES)
#define TABLE_SHARED
#endif
#include "weights.glsl"

layout(std430, binding = 4) readonly buffer X { float x[]; };
#if defined(WIDE)
layout(std430, binding = 4) readonly buffer X4 { vec4 x4[]; };
#endif
#if defined(ROUTE)
layout(std430, binding = 5) buffer Ids { int ids[]; };
layout(std430, binding = 8) readonly buffer Logits { float logits[]; };
layout(std430, binding = 9) buffer Factors { float factors[]; };
#else
layout(std430, binding = 5) readonly buffer Ids { int ids[]; };
#endif
layout(std430, binding = 6) buffer Y { float y[]; };
layout(std430, binding = 7) buffer SharedY { float shared_y[]; };
layout(push_constant) uniform Args {
    uint gate_at, up_at, shared_gate_at, shared_up_at, x_at, ids_at, y_at, shared_y_at;
    uint n_tokens, n_slots, n_experts, n_inner, n_rows, n_rows_shared;
    uint gate_row, up_row, shared_gate_row, shared_up_row, gate_expert, up_expert;
    uint x_token, ids_token, ids_slot, y_token, y_slot, shared_y_token;
#if defined(ROUTE)
    uint logits_at, factors_at, logits_token, factors_token, factors_slot;
#endif
};

#include "dots.glsl"

#if defined(ROUTE)
layout(constant_id = 8) const uint PER = 16;  // experts of a lane
#define LOGIT(i) logits[i]
#include "../moe/pick.glsl"
#include "together.glsl"

shared uint picked[32];  // the host asks for no more

// The first experts of a token; with is_first all, which are given out.
void pick(uint n, uint needed, bool is_first) {
    await_inputs();
    if (gl_SubgroupID == 0u) {
        uint lane = gl_SubgroupInvocationID, rounds = is_first ? n_slots : needed;
        hold_keys(logits_at + n * logits_token, n_experts);
        uvec2 mine = uvec2(0u);
        float top = 0.0;
        [[dont_unroll]] for (uint round = 0u; round < rounds; round++) {
            uvec2 next = take_next();
            float logit = of_key(next.y);
            top = round == 0u ? (logit == -INFINITY ? 0.0 : logit) : top;
            mine = round == lane ? next : mine;
        }
        if (lane < rounds) {
            picked[lane] = mine.x;
        }
        float e = lane < rounds ? exp_of(of_key(mine.y) - top) : 0.0, total = sum_of_all(e);
        if (is_first && lane < rounds) {
            ids[ids_at + n * ids_token + lane * ids_slot] = int(mine.x);
            factors[factors_at + n * factors_token + lane * factors_slot] = total == 0.0 ? 0.0 : e / total;
        }
    }
    barrier();
}

uint expert_of(uint n, uint slot) {
    return picked[slot];
}
#else
void pick(uint n, uint needed, bool is_first) {
    await_inputs();
}

uint expert_of(uint n, uint slot) {
    return uint(clamp(ids[ids_at + n * ids_token + slot * ids_slot], 0, int(n_experts) - 1));
}
#endif

const uint PAIRS = ROWS / 2u;

void take_rows_of_both(uint m, uint n, uint gate_first, uint gate_step, uint up_first, uint up_step) {
    [[unroll]] for (uint i = 0u; i < PAIRS; i++) {
        uint row = min(m + i * ROW_STEP, n - 1u);
        rows[2u * i] = gate_first + row * gate_step;
        rows[2u * i + 1u] = up_first + row * up_step;
    }
}

#if defined(WIDE)

uint n;  // token
uint n_rows_of, tiles;  // of an expert, or with `from` 2 of the shared one
uint slot, slot_first;  // of the tile to be loaded, and the slot's first tile
uint slot_made, made_first;  // of the tile that is multiplied

uint tiles_of(uint rows) {
    return (rows + TILE_OF(PAIRS) - 1u) / TILE_OF(PAIRS);
}

// Tiles are counted over the experts of all slots, apart from the shared one's. A slot's follow each other.
void take_tile(uint t) {
    [[dont_unroll]] while (t - slot_first >= tiles) {
        slot++;
        slot_first += tiles;
    }
    uint m = (t - slot_first) * TILE_OF(PAIRS) + FIRST_ROW;
    if (from == 2u) {
        take_rows_of_both(m, n_rows_of, shared_gate_at, shared_gate_row, shared_up_at, shared_up_row);
    } else {
        uint e = expert_of(n, slot);
        take_rows_of_both(m, n_rows_of, gate_at + e * gate_expert, gate_row, up_at + e * up_expert, up_row);
    }
}

void of_tile(uint t) {
}

void start_tile(uint t) {
}

void store_tile(uint t) {
    [[dont_unroll]] while (t - made_first >= tiles) {
        slot_made++;
        made_first += tiles;
    }
    uint pair = own_row(), row = (t - made_first) * TILE_OF(PAIRS) + FIRST_ROW + pair * ROW_STEP;
    float made = silu(sum_of(2u * pair, 0u)) * sum_of(2u * pair + 1u, 0u);
    bool is_there = pair < PAIRS && row < n_rows_of;
    if (is_there && from == 0u) {
        y[y_at + n * y_token + slot_made * y_slot + row] = made;
    }
    if (is_there && from == 2u) {
        shared_y[shared_y_at + n * shared_y_token + row] = made;
    }
}

void main() {
    fill_table(gl_WorkGroupSize.x);  // the barrier before the first columns is its too
    await_early();
    tiles = tiles_of(n_rows);
    uint all_tiles = n_slots * tiles, tiles_shared = tiles_of(n_rows_shared);
    uint runs = (all_tiles + RUN - 1u) / RUN, all_runs = runs + (tiles_shared + RUN - 1u) / RUN, run = group_index();
    n = n_tokens > 1u ? run / all_runs : 0u;
    run -= n * all_runs;
    if (n >= n_tokens || run >= all_runs) {
        return;
    }
    cols[0] = x_at + n * x_token;
    bool is_shared = run >= runs;
    from = is_shared ? 2u : 0u;
    n_rows_of = is_shared ? n_rows_shared : n_rows;
    uint first = (is_shared ? run - runs : run) * RUN, stop = min(first + RUN, is_shared ? tiles_shared : all_tiles);
    slot = is_shared ? 0u : first / tiles;
    if (!is_shared) {
        pick(n, (stop - 1u) / tiles + 1u, run == 0u);
    }
    tiles = is_shared ? tiles_shared : tiles;
    slot_first = slot * tiles;
    slot_made = slot;
    made_first = slot_first;
    run_tiles(first, stop);
}

#else

void store(uint m, bool is_shared, uint at) {
    [[unroll]] for (uint i = 0u; i < PAIRS; i++) {
        float gate = total(sums[2u * i][0]), up = total(sums[2u * i + 1u][0]);
        uint row = m + i * ROW_STEP;
        if (is_writer() && !is_shared && row < n_rows) {
            y[at + row] = silu(gate) * up;
        }
        if (is_writer() && is_shared && row < n_rows_shared) {
            shared_y[at + row] = silu(gate) * up;
        }
    }
}

void main() {
    begin_dequant(gl_WorkGroupSize.x);
    await_inputs();
    uint tiles = (n_rows + TILE_OF(PAIRS) - 1u) / TILE_OF(PAIRS);
    uint tiles_shared = (n_rows_shared + TILE_OF(PAIRS) - 1u) / TILE_OF(PAIRS);
    uint group = group_index(), per_token = n_slots * tiles + tiles_shared;
    uint n = group / per_token, place = group % per_token;
    if (n >= n_tokens) {
        return;
    }
    bool is_shared = place >= n_slots * tiles;
    uint slot = place / tiles, tile = is_shared ? place - n_slots * tiles : place % tiles;
    uint m = tile * TILE_OF(PAIRS) + FIRST_ROW;
    cols[0] = x_at + n * x_token;
    if (is_shared) {
        from = 2u;
        take_rows_of_both(m, n_rows_shared, shared_gate_at, shared_gate_row, shared_up_at, shared_up_row);
        multiply();
    } else {
        pick(n, slot + 1u, place == 0u);
        uint e = expert_of(n, slot);
        from = 0u;
        take_rows_of_both(m, n_rows, gate_at + e * gate_expert, gate_row, up_at + e * up_expert, up_row);
        multiply();
    }
    store(m, is_shared, is_shared ? shared_y_at + n * shared_y_token : y_at + n * y_token + slot * y_slot);
}

#endif
