// The largest logits of a row, one after the other, of equals the lower column first, by one subgroup that holds them all:
// lane i every column of its size from i on. The kernel says what PER and LOGIT(i) are. All lanes run everything together.

#include "order.glsl"

uint keys[PER];  // 0 where there is no column, or one that was taken
uint best;  // the largest of this lane's

// By four chains, so that none is long.
void find_best() {
    uvec4 tops = uvec4(0u);
    [[unroll]] for (uint h = 0u; h < PER; h++) {
        tops[h & 3u] = max(tops[h & 3u], keys[h]);
    }
    best = max(max(tops.x, tops.y), max(tops.z, tops.w));
}

// All are asked for before the first is used.
void hold_keys(uint row, uint n) {
    float logits_[PER];
    [[unroll]] for (uint h = 0u; h < PER; h++) {
        logits_[h] = LOGIT(row + min(h * gl_SubgroupSize + gl_SubgroupInvocationID, n - 1u));
    }
    [[unroll]] for (uint h = 0u; h < PER; h++) {
        uint key = order_key(logits_[h]);
        keys[h] = h * gl_SubgroupSize + gl_SubgroupInvocationID < n ? key : 0u;
    }
    find_best();
}

// The next column and its key (order.glsl). Where a lane's best stands is found while the lanes compare theirs.
uvec2 take_next() {
    uint own = best, top = subgroupMax(own), first = 0u, lane = gl_SubgroupInvocationID;
    [[unroll]] for (uint h = PER; h > 0u; h--) {
        first = keys[h - 1u] == own ? (h - 1u) * gl_SubgroupSize : first;
    }
    uint mine = own == top ? first + lane : 0xffffffffu, id = subgroupMin(mine);
    [[unroll]] for (uint h = 0u; h < PER; h++) {
        keys[h] = h * gl_SubgroupSize == id - lane ? 0u : keys[h];
    }
    find_best();
    return uvec2(id, top);
}
