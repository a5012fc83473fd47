// Rows of x that are normed on their way: products are made of x times the norm's weight, and multiplied by a column's
// 1 / sqrt(mean(x^2) + eps) at last. All workgroups of a column find that number, each writes a part of the normed row.
// The kernel declares norm, normed and their arguments; squares are counted where each element of x is met once.

#include "each.glsl"
#include "together.glsl"

float squares[COLS], factors[COLS];
shared float squares_of[COLS * gl_WorkGroupSize.x / 4u];  // of subgroups, which have 4 invocations at least

void share_square(uint c) {
    float own = squares[c], sum = sum_of_all(own);
    if (gl_SubgroupInvocationID == 0u) {
        squares_of[c * gl_NumSubgroups + gl_SubgroupID] = sum;
    }
}

// All invocations run it together, and meet at a barrier before they find the factors.
void share_squares() {
    EACH_TO_8(COLS, share_square)
}

void find_factor(uint c) {
    float own = 0.0;
    [[dont_unroll]] for (uint i = gl_SubgroupInvocationID; i < gl_NumSubgroups; i += gl_SubgroupSize) {
        own += squares_of[c * gl_NumSubgroups + i];
    }
    float sum = sum_of_all(own);
    factors[c] = 1.0 / sqrt(sum / float(n_inner) + eps);
}

void find_factors() {
    EACH_TO_8(COLS, find_factor)
}

// The normed rows from column `first` on, by workgroup `share` of n: each takes as many numbers as it has invocations, as
// long as some are left.
void store_normed(uint share, uint n, uint first) {
    [[dont_unroll]] for (uint k = share * gl_WorkGroupSize.x + gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
                         k < n_inner; k += n * gl_WorkGroupSize.x) {
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            if (first + c < n_cols) {
                normed[normed_at + (first + c) * normed_col + k] = x[cols[c] + k] * norm[norm_at + k] * factors[c];
            }
        }
    }
}
