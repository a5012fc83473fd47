// Kernels along rows: a workgroup takes one row at a time; its lanes take every LANES-th column and reduce together.
// -DSUBGROUPS reduces with subgroup arithmetic (of whatever size), else through shared memory.

#ifndef ROWS_GLSL
#define ROWS_GLSL
#include "common.glsl"

layout(local_size_x_id = 0) in;  // a power of two
layout(constant_id = 1) const uint HELD_COLS = 0;  // room for columns of a row held by its lanes; 0: it is read again
layout(constant_id = 2) const uint KNOWN_COLS = 0;  // the columns, where loops over them shall be unrolled
#define LANE gl_LocalInvocationIndex
#define LANES gl_WorkGroupSize.x

// Rows are counted over three axes, of which the last two have their sizes here.
#define ROWS uint n_rows, n_cols, rows1, rows2;
#define ROW_STRIDES(t) uint t##_0, t##_1, t##_2, t##_col, t##_at;
#define ROW_AT(t, r) (p.t##_at + r.x * p.t##_0 + r.y * p.t##_1 + r.z * p.t##_2)
#define ROW(i) row_of(i, p.rows1, p.rows2)

// The columns of this lane: `EACH_COLUMN(h, c) {}`, with h counting from 0. With KNOWN_COLS `held[h]` are registers and
// only a last, partial step needs a test; software drivers, whose registers are memory, take seconds to compile that.
const uint HELD = HELD_COLS / gl_WorkGroupSize.x + 1u;
#define N_COLS (KNOWN_COLS != 0u ? KNOWN_COLS : p.n_cols)
#define N_STEPS ((N_COLS + LANES - 1u) / LANES)
#define IN_ROW(h, c) ((KNOWN_COLS != 0u && (h + 1u) * LANES <= KNOWN_COLS) || c < N_COLS)
#define ASKS_FIRST (KNOWN_COLS != 0u)  // for all that it reads of a row, before a sum or a store that it would wait for
#define EACH_COLUMN(h, c) for (uint h = 0u, c = LANE; h < N_STEPS; h++, c += LANES) if (IN_ROW(h, c))

uvec3 row_of(uint i, uint rows1, uint rows2) {
    uint rest = i / rows2;
    return uvec3(rest / rows1, rest % rows1, i % rows2);
}

uint turn_ = 0u;  // of two reductions one after the other, so that neither writes what may still be read of the other

#ifdef SUBGROUPS
const uint MOST_SUBGROUPS = 64u;  // the host asks for no more
shared uint partial_[2u * MOST_SUBGROUPS];

#define REDUCE(name, type, among, both, to, from)                         \
    type name(type v) {                                                   \
        v = among(v);                                                     \
        if (gl_NumSubgroups > 1u) {                                       \
            uint first = turn_ * MOST_SUBGROUPS;                          \
            turn_ ^= 1u;                                                  \
            if (subgroupElect()) {                                        \
                partial_[first + gl_SubgroupID] = to(v);                  \
            }                                                             \
            barrier();                                                    \
            v = from(partial_[first]);                                    \
            for (uint i = 1u; i < gl_NumSubgroups; i++) {                 \
                v = both(v, from(partial_[first + i]));                   \
            }                                                             \
        }                                                                 \
        return v;                                                         \
    }
#else
shared uint partial_[256];  // the host asks for no more lanes
shared uint whole_[2];

#define REDUCE(name, type, among, both, to, from)                         \
    type name(type v) {                                                   \
        uint at = turn_;                                                  \
        turn_ ^= 1u;                                                      \
        partial_[LANE] = to(v);                                           \
        for (uint half_ = LANES / 2u; half_ > 0u; half_ /= 2u) {          \
            barrier();                                                    \
            if (LANE < half_) {                                           \
                v = both(v, from(partial_[LANE + half_]));                \
                partial_[LANE] = to(v);                                   \
            }                                                             \
        }                                                                 \
        if (LANE == 0u) {                                                 \
            whole_[at] = to(v);                                           \
        }                                                                 \
        barrier();                                                        \
        return from(whole_[at]);                                          \
    }
#endif

float plus(float a, float b) { return a + b; }

// Each returns the same value to every lane, and must be reached by all of them.
REDUCE(group_sum, float, subgroupAdd, plus, floatBitsToUint, uintBitsToFloat)
REDUCE(group_max, float, subgroupMax, max, floatBitsToUint, uintBitsToFloat)
REDUCE(group_max_uint, uint, subgroupMax, max, uint, uint)
REDUCE(group_min_uint, uint, subgroupMin, min, uint, uint)

#endif
