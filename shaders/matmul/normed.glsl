// Rows of x that are normed on their way: products are made of x times the norm's weight, and multiplied by a column's
// 1 / sqrt(mean(x^2) + eps) at last. All workgroups of a column find that number, each writes a part of the normed row.
// The kernel declares norm, normed and their arguments; squares are counted where each element of x is met once.

float squares[COLS], factors[COLS];
shared float squares_of[COLS * gl_WorkGroupSize.x / 4u];  // of subgroups, which have 4 invocations at least

// All invocations run it together.
void find_factors() {
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        float own = squares[c], sum = subgroupAdd(own);
        if (gl_NumSubgroups > 1u && gl_SubgroupInvocationID == 0u) {
            squares_of[c * gl_NumSubgroups + gl_SubgroupID] = sum;
        }
        factors[c] = sum;
    }
    if (gl_NumSubgroups > 1u) {
        barrier();
    }
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        float sum = gl_NumSubgroups > 1u ? 0.0 : factors[c];
        [[dont_unroll]] for (uint i = 0u; gl_NumSubgroups > 1u && i < gl_NumSubgroups; i++) {
            sum += squares_of[c * gl_NumSubgroups + i];
        }
        factors[c] = 1.0 / sqrt(sum / float(n_inner) + eps);
    }
}

// Part `share` of n of the normed rows from column `first` on.
void store_normed(uint share, uint n, uint first) {
    uint span = (n_inner + n - 1u) / n, stop = min((share + 1u) * span, n_inner);
    [[dont_unroll]] for (uint k = share * span + gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID; k < stop;
         k += gl_WorkGroupSize.x) {
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            if (first + c < n_cols) {
                normed[normed_at + (first + c) * normed_col + k] = x[cols[c] + k] * norm[norm_at + k] * factors[c];
            }
        }
    }
}
