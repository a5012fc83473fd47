// Ids of the K largest of each row, largest first, of equals the lower id first: what is good enough is collected, and
// each finds its place by counting its betters. With QUICK, for K much less than GROUPS, good enough is the K-th best of
// GROUPS groups' best, which few others reach; where many equal it, ids up to one that is found in the same way. Where more
// than KEPT are left, and else, radix selection says it: four rounds of a histogram over 8 bits find the K-th largest key;
// four more the last id among its equals, where not all are taken.
// -DPARTS: of each part of a row, ids[r, part] the part's r-th best. -DAMONG: of the at most KEPT columns that ids name,
// of which without QUICK all are collected. Any layouts; K <= KEPT. Grid: a workgroup a row, or each part of a row.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"
#include "order.glsl"

#define KEPT 1024u
#define GROUPS 128u
#define MANY 256u  // collected, so that it is worth to look for less
#define SIDE_BY_SIDE 8u  // of a group's rivals, looked at before the first counts
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint AT_ONCE = 1;  // columns loaded before the first is used
layout(constant_id = 2) const uint QUICK = 0;    // for GROUPS invocations and more
layout(constant_id = 3) const uint HELD = 0;     // AT_ONCE columns an invocation are all: those are read once
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Y { int y[]; };
#ifdef AMONG
layout(std430, binding = 2) readonly buffer Ids { int ids[]; };
#endif
layout(push_constant) uniform Push {
    uint n_rows, n_cols, rows1, rows2, x_0, x_1, x_2, x_col, x_at, y_0, y_1, y_2, y_col, y_at, k;
#if defined(PARTS)
    uint n_part, n_parts;
#elif defined(AMONG)
    uint ids_0, ids_1, ids_2, ids_col, ids_at, n_ids;
#endif
} p;

#define LANE gl_LocalInvocationIndex
#define LANES gl_WorkGroupSize.x
#define EACH_COLUMN(c) for (uint c = LANE; c < n_cols; c += LANES)
#define EACH_BATCH(first) [[dont_unroll]] for (uint first = LANE; first < n_cols; first += AT_ONCE * LANES)
#define EACH_OF_BATCH(i) [[unroll]] for (uint i = 0u; i < AT_ONCE; i++)

shared uint histogram[256];
shared uint found_digit, found_above, found_equal, n_kept;
shared uint kept_key[KEPT], kept_id[KEPT];
uint row_x, row_ids, first_id = 0u, n_cols;
uint keys[AT_ONCE];
#ifdef AMONG
uint key_ids[AT_ONCE];
#define KEY_ID(i, c) key_ids[i]
#else
#define KEY_ID(i, c) (first_id + (c))
#endif

uint key_of(uint id) {
    return order_key(x[row_x + id * p.x_col]);
}

// Every LANES-th column from `first` on; those beyond the last are like it.
void load_keys(uint first) {
#ifdef AMONG
    EACH_OF_BATCH(i) {
        key_ids[i] = uint(clamp(ids[row_ids + min(first + i * LANES, n_cols - 1u) * p.ids_col], 0, int(p.n_cols) - 1));
    }
#endif
    EACH_OF_BATCH(i) {
        keys[i] = key_of(KEY_ID(i, min(first + i * LANES, n_cols - 1u)));
    }
}

// Which group an invocation's best goes to. What ids name comes from all parts in turn: of equals, of which the first
// part's are wanted, each turn is a group.
uint slot_of(bool by_id) {
#ifdef AMONG
    uint share = LANES / GROUPS;
    return by_id ? LANE % share * GROUPS + LANE / share : LANE;
#else
    return LANE;
#endif
}

// The K-th best of groups, of which each invocation has a share's best.
uint best_of_groups(uint best, uint slot) {
    kept_key[slot] = best;
    barrier();
    if (LANE < GROUPS) {
        best = kept_key[LANE];
        for (uint i = LANE + GROUPS; i < LANES; i += GROUPS) {
            best = max(best, kept_key[i]);
        }
        kept_id[LANE] = best;
    }
    barrier();
    uint place = 0u;
    [[dont_unroll]] for (uint first = 0u; LANE < GROUPS && first < GROUPS; first += SIDE_BY_SIDE) {
        [[unroll]] for (uint g = first; g < first + SIDE_BY_SIDE; g++) {
            uint other = kept_id[g];
            place += uint(other > best || (other == best && g < LANE));
        }
    }
    if (LANE < GROUPS && place == p.k - 1u) {
        found_digit = best;
    }
    barrier();
    return found_digit;
}

// A key that K columns reach at least; or given one, ~id that K of its columns do, and 0 where few groups have any.
uint reached(uint key) {
    uint best = 0u;
    EACH_BATCH(first) {
        if (HELD == 0u || key == 0u) {
            load_keys(first);
        }
        EACH_OF_BATCH(i) {
            uint c = first + i * LANES, other = key == 0u ? keys[i] : keys[i] == key ? ~KEY_ID(i, c) : 0u;
            best = c < n_cols ? max(best, other) : best;
        }
    }
    return best_of_groups(best, slot_of(key != 0u));
}

#ifndef AMONG
// The largest digit whose histogram, summed from the top, reaches `wanted`; how many are above it, and in it.
void find_digit(uint wanted) {
    barrier();
    if (LANE == 0u) {
        uint above = 0u, digit = 255u;
        while (digit > 0u && above + histogram[digit] < wanted) {
            above += histogram[digit];
            digit--;
        }
        found_digit = digit;
        found_above = above;
        found_equal = histogram[digit];
    }
    barrier();
}

// Nobody reads it since the barrier at the end of find_digit.
void clear_histogram() {
    for (uint d = LANE; d < 256u; d += LANES) {
        histogram[d] = 0u;
    }
    barrier();
}

// The `wanted`-th largest key; wanted becomes the number to take among its equals, of which there are `equal`.
uint select_key(inout uint wanted, out uint equal) {
    uint prefix = 0u;
    for (int shift = 24; shift >= 0; shift -= 8) {
        clear_histogram();
        uint above = shift == 24 ? 0u : 0xffffffffu << (shift + 8);
        EACH_COLUMN(c) {
            uint key = key_of(first_id + c);
            if ((key & above) == prefix) {
                atomicAdd(histogram[(key >> shift) & 255u], 1u);
            }
        }
        find_digit(wanted);
        prefix |= found_digit << shift;
        wanted -= found_above;
    }
    equal = found_equal;
    return prefix;
}

// The `wanted`-th lowest id among the columns of a key: selection of the largest ~id.
uint select_id(uint key, uint wanted) {
    uint prefix = 0u;
    for (int shift = 24; shift >= 0; shift -= 8) {
        clear_histogram();
        uint above = shift == 24 ? 0u : 0xffffffffu << (shift + 8);
        EACH_COLUMN(c) {
            uint id = first_id + c;
            if ((~id & above) == prefix && key_of(id) == key) {
                atomicAdd(histogram[(~id >> shift) & 255u], 1u);
            }
        }
        find_digit(wanted);
        prefix |= found_digit << shift;
        wanted -= found_above;
    }
    return ~prefix;
}
#endif

// What is better than a key, and its equals up to an id, as far as there is room; how many there are.
uint collect(uint key, uint last_id) {
    if (LANE == 0u) {
        n_kept = 0u;
    }
    barrier();
    EACH_BATCH(first) {
        if (HELD == 0u) {
            load_keys(first);
        }
        EACH_OF_BATCH(i) {
            uint c = first + i * LANES, id = KEY_ID(i, c);
            if (c < n_cols && (keys[i] > key || (keys[i] == key && id <= last_id))) {
                uint slot = atomicAdd(n_kept, 1u);
                if (slot < KEPT) {
                    kept_key[slot] = keys[i];
                    kept_id[slot] = id;
                }
            }
        }
    }
    barrier();
    return n_kept;
}

uint collect_quickly() {
    uint key = reached(0u), n = collect(key, 0xffffffffu);
    return n > MANY ? collect(key, ~reached(key)) : n;
}

#ifdef AMONG
uint collect_best() {
    return QUICK != 0u ? collect_quickly() : collect(0u, 0xffffffffu);
}

// Of what is named twice either one may come first.
#define IS_LOWER(o, id, j) (kept_id[o] < id || (kept_id[o] == id && o < j))
#else
// The K best, by exact selection.
void collect_selected() {
    uint wanted = p.k, equal, key = select_key(wanted, equal), last_id = 0xffffffffu;
    if (equal > wanted) {  // shared by all lanes, so that the barriers inside are reached by all
        last_id = select_id(key, wanted);
    }
    collect(key, last_id);
}

// What holds the K best; how many there are.
uint collect_best() {
    uint n = QUICK != 0u ? collect_quickly() : KEPT + 1u;
    if (n > KEPT) {
        collect_selected();
        n = p.k;
    }
    return n;
}

#define IS_LOWER(o, id, j) (kept_id[o] < id)
#endif

// The K best of what was collected, to their places: `row_y` is the first one's, `step` from one to the next.
void give_out(uint n, uint row_y, uint step) {
    for (uint j = LANE; j < n; j += LANES) {
        uint key = kept_key[j], id = kept_id[j], place = 0u;
        for (uint o = 0u; o < n; o++) {
            place += uint(kept_key[o] > key || (kept_key[o] == key && IS_LOWER(o, id, j)));
        }
        if (place < p.k) {
            y[row_y + place * step] = int(id);
        }
    }
}

void main() {
    uint i = group_index(), step = p.y_col;
    n_cols = p.n_cols;
#ifdef PARTS
    uint part = i % p.n_parts;
    i /= p.n_parts;
    step *= p.n_parts;
#endif
    if (i >= p.n_rows) {
        return;
    }
    uint i2 = i % p.rows2, rest = i / p.rows2, i1 = rest % p.rows1, i0 = rest / p.rows1;
    row_x = p.x_at + i0 * p.x_0 + i1 * p.x_1 + i2 * p.x_2;
    uint row_y = p.y_at + i0 * p.y_0 + i1 * p.y_1 + i2 * p.y_2;
#if defined(PARTS)
    row_y += part * p.y_col;
    first_id = part * p.n_part;
    n_cols = min(p.n_part, p.n_cols - first_id);
#elif defined(AMONG)
    row_ids = p.ids_at + i0 * p.ids_0 + i1 * p.ids_1 + i2 * p.ids_2;
    n_cols = p.n_ids;
#endif
    give_out(collect_best(), row_y, step);
}
