// The largest logits of a row, one after the other, of equals the lower column first, by one subgroup that holds them all:
// lane i the columns from i * PER on. The kernel says what PER and LOGIT(i) are. All lanes run everything together.

#include "order.glsl"

uint keys[PER];  // 0 where there is no column, or one that was taken
uint best, place;  // the largest of this lane's, and which it is

// Fours of them beside each other, so that no chain is long.
void find_best() {
    best = 0u;
    place = 0u;
    [[unroll]] for (uint first = 0u; first < PER; first += 4u) {
        uint top = 0u, at = first;
        [[unroll]] for (uint h = first; h < first + 4u && h < PER; h++) {
            at = keys[h] > top ? h : at;
            top = max(top, keys[h]);
        }
        place = top > best ? at : place;
        best = max(best, top);
    }
}

void hold_keys(uint row, uint n) {
    [[unroll]] for (uint h = 0u; h < PER; h++) {
        uint c = gl_SubgroupInvocationID * PER + h;
        keys[h] = c < n ? order_key(LOGIT(row + c)) : 0u;
    }
    find_best();
}

// The next column and its key (order.glsl). The lowest lane that has the key has the lowest column.
uvec2 take_next() {
    uint own = best, top = subgroupMax(own), mine = gl_SubgroupInvocationID * PER + place;
    uvec4 lanes = subgroupBallot(own == top);
    uint lane = lanes.x != 0u ? uint(findLSB(lanes.x)) : 32u + uint(findLSB(lanes.y));
    uint id = subgroupShuffle(mine, lane);
    [[unroll]] for (uint h = 0u; h < PER; h++) {
        keys[h] = lane == gl_SubgroupInvocationID && h == place ? 0u : keys[h];
    }
    find_best();
    return uvec2(id, top);
}
