// ROWS x COLS outputs an invocation, for CPUs: a subgroup is a workgroup, its lanes take rows side by side. Every load
// is a gather there, so eight lanes load 32 elements of a column of x at once and hand them round. All lanes must
// run this together; subgroups have 8 lanes or more. Inner axes have stride 1.
// Kernels of several weights define FROM(r), a statement that says where row r is from, and X(i), element i of x.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint ROWS = 1;
layout(constant_id = 2) const uint COLS = 1;

// Rows of an invocation stand so far apart; of a workgroup together follow each other.
#define ROW_STEP gl_WorkGroupSize.x
#define FIRST_ROW gl_LocalInvocationID.x
#define TILE_OF(n) ((n) * gl_WorkGroupSize.x)

uint rows[ROWS], cols[COLS];
float sums[ROWS][COLS];

#ifndef FROM
#define FROM(r)
#endif
#ifndef X
#define X(i) x[i]
#endif

vec4 x_quad(uint at) {
    return vec4(X(at), X(at + 1u), X(at + 2u), X(at + 3u));
}

// Block scales without minima are applied once to a group's sum, others to each weight.
void add_row(uint r, uint g, vec4 quads[COLS]) {
    FROM(r);
    Scale s = scale_of(rows[r], n_inner, g);
    vec2 part[COLS];
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        part[c] = vec2(0);
    }
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        Octet w = codes_of(rows[r], (g << 2) + j);
        if (!SCALE_LATE) {
            w = scaled(w, s);
        }
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            float a = dot(w.a, subgroupShuffle(quads[c], j)), b = dot(w.b, subgroupShuffle(quads[c], j + 4u));
            part[c] += SCALE_LATE && !SCALE_BOTH ? vec2(a, b) : vec2(a + b, 0);
        }
    }
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        sums[r][c] += SCALE_LATE ? (SCALE_BOTH ? s.d.x * part[c].x : dot(s.d, part[c])) : part[c].x;
    }
}

void add_group(uint g) {
    FROM(0u);
    uint lane = gl_SubgroupInvocationID & 7u;
    uint k = group_at(g) + ((lane & 3u) << 2) + (lane >> 2) * OCTET_STEP;
    vec4 quads[COLS];
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        quads[c] = x_quad(cols[c] + k);
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        add_row(r, g, quads);
    }
}

void add_rest() {
#if defined(PLAIN)
    for (uint k = n_inner & ~31u; k < n_inner; k++) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            float w = weight(rows[r] + k);
            [[unroll]] for (uint c = 0u; c < COLS; c++) {
                sums[r][c] += w * X(cols[c] + k);
            }
        }
    }
#endif
}

// Sums of all rows and columns, whose starts `rows` and `cols` hold.
void multiply() {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            sums[r][c] = 0.0;
        }
    }
    for (uint g = 0u; g < n_inner >> 5; g++) {
        add_group(g);
    }
    add_rest();
}

float total(float sum) {
    return sum;
}

bool is_writer() {
    return true;
}

#if !defined(WORDS_GIVEN)

// Lanes beyond the last row work on it too, since all must hand x round.
void take_rows(uint w_first, uint m) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        rows[r] = w_first + min(m + r * gl_WorkGroupSize.x, n_rows - 1u) * w_row;
    }
}

void store_column(uint c, uint y_first, uint m) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        uint row = m + r * gl_WorkGroupSize.x;
        if (row < n_rows) {
            y[y_first + row * y_inner] = sums[r][c];
        }
    }
}

#endif
