// Ids of the K largest of each row, largest first, of equals the lower id first, by radix selection: four rounds of a
// histogram over 8 bits find the K-th largest key; four more the last id among its equals, where not all are taken;
// what is at least as good is collected, and each finds its place by counting its betters. Any layouts; K <= KEPT.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "order.glsl"

#define KEPT 1024u
layout(local_size_x_id = 0) in;
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Y { int y[]; };
layout(push_constant) uniform Push {
    uint n_rows, n_cols, rows1, rows2, x_0, x_1, x_2, x_col, x_at, y_0, y_1, y_2, y_col, y_at, k;
} p;

#define LANE gl_LocalInvocationIndex
#define LANES gl_WorkGroupSize.x
#define EACH_COLUMN(c) for (uint c = LANE; c < p.n_cols; c += LANES)

shared uint histogram[256];
shared uint found_digit, found_above, found_equal, n_kept;
shared uint kept_key[KEPT], kept_id[KEPT];
uint row_x;

uint key_at(uint c) {
    return order_key(x[row_x + c * p.x_col]);
}

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
            uint key = key_at(c);
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
            if ((~c & above) == prefix && key_at(c) == key) {
                atomicAdd(histogram[(~c >> shift) & 255u], 1u);
            }
        }
        find_digit(wanted);
        prefix |= found_digit << shift;
        wanted -= found_above;
    }
    return ~prefix;
}

// What is better than a key, and its equals up to an id: together K.
void collect(uint key, uint last_id) {
    if (LANE == 0u) {
        n_kept = 0u;
    }
    barrier();
    EACH_COLUMN(c) {
        uint other = key_at(c);
        if (other > key || (other == key && c <= last_id)) {
            uint slot = atomicAdd(n_kept, 1u);
            kept_key[slot] = other;
            kept_id[slot] = c;
        }
    }
    barrier();
}

void main() {
    uint i = group_index();
    if (i >= p.n_rows) {
        return;
    }
    uint i2 = i % p.rows2, rest = i / p.rows2, i1 = rest % p.rows1, i0 = rest / p.rows1;
    row_x = p.x_at + i0 * p.x_0 + i1 * p.x_1 + i2 * p.x_2;
    uint row_y = p.y_at + i0 * p.y_0 + i1 * p.y_1 + i2 * p.y_2;
    uint wanted = p.k, equal;
    uint key = select_key(wanted, equal);
    uint last_id = 0xffffffffu;
    if (equal > wanted) {  // shared by all lanes, so that the barriers inside are reached by all
        last_id = select_id(key, wanted);
    }
    collect(key, last_id);
    for (uint j = LANE; j < p.k; j += LANES) {
        uint place = 0u;
        for (uint o = 0u; o < p.k; o++) {
            place += uint(kept_key[o] > kept_key[j] || (kept_key[o] == kept_key[j] && kept_id[o] < kept_id[j]));
        }
        y[row_y + place * p.y_col] = int(kept_id[j]);
    }
}
