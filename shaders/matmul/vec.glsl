// ROWS x COLS outputs a workgroup, for GPUs: invocations side by side take octets of rows side by side and sum up
// together. Inner axes have stride 1. SUBGROUPS: sum by subgroups first.
// Kernels of several weights define FROM(r), a statement that says where row r is from, and X(i), element i of x,
// or X_OF(c, k), element k of column c.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint ROWS = 1;
layout(constant_id = 2) const uint COLS = 1;

#define ROW_STEP 1u
#define FIRST_ROW 0u
#define TILE_OF(n) (n)

shared float partial[2u * gl_WorkGroupSize.x];
uint turn = 0u;  // of two totals one after the other, so that neither writes what may still be read of the other

uint rows[ROWS], cols[COLS];
float sums[ROWS][COLS];

#ifndef FROM
#define FROM(r)
#endif
#ifndef X
#define X(i) x[i]
#endif
#ifndef X_OF
#define X_OF(c, k) X(cols[c] + (k))
#endif

vec4 x_quad(uint c, uint k) {
    return vec4(X_OF(c, k), X_OF(c, k + 1u), X_OF(c, k + 2u), X_OF(c, k + 3u));
}

void add_octet(uint i) {
    Octet w[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        FROM(r);
        w[r] = scaled(codes_of(rows[r], i), scale_of(rows[r], n_inner, i >> 2));
    }
    uint k = octet_at(i);
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        vec4 xa = x_quad(c, k), xb = x_quad(c, k + OCTET_STEP);
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            sums[r][c] += dot(w[r].a, xa) + dot(w[r].b, xb);
        }
    }
}

void add_rest() {
#if defined(PLAIN)
    for (uint k = (n_inner & ~31u) + gl_LocalInvocationID.x; k < n_inner; k += gl_WorkGroupSize.x) {
        float w[ROWS];
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            FROM(r);
            w[r] = weight(rows[r] + k);
        }
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            float of = X_OF(c, k);
            [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                sums[r][c] += w[r] * of;
            }
        }
    }
#endif
}

void clear_sums() {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            sums[r][c] = 0.0;
        }
    }
}

// This invocation's share of all rows and columns, whose starts `rows` and `cols` hold.
void multiply() {
    clear_sums();
    for (uint i = gl_LocalInvocationID.x; i < n_inner >> 5 << 2; i += gl_WorkGroupSize.x) {
        add_octet(i);
    }
    add_rest();
}

// The sum over the workgroup, in its first invocation; all run it together.
float total(float sum) {
    uint id = gl_LocalInvocationID.x, first = turn * gl_WorkGroupSize.x;
    turn ^= 1u;
#if defined(SUBGROUPS)
    sum = subgroupAdd(sum);
    if (gl_NumSubgroups == 1u) {
        return sum;
    }
    if (subgroupElect()) {
        partial[first + gl_SubgroupID] = sum;
    }
    barrier();
    sum = 0.0;
    for (uint i = 0u; id == 0u && i < gl_NumSubgroups; i++) {
        sum += partial[first + i];
    }
#else
    partial[first + id] = sum;
    for (uint half_size = gl_WorkGroupSize.x >> 1; half_size > 0u; half_size >>= 1) {
        barrier();
        if (id < half_size) {
            sum += partial[first + id + half_size];
            partial[first + id] = sum;
        }
    }
#endif
    return sum;
}

bool is_writer() {
    return gl_LocalInvocationID.x == 0u;
}
