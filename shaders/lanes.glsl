// ROWS x COLS outputs an invocation, for CPUs: a subgroup is a workgroup, its lanes take rows side by side. Every load
// is a gather there, so eight lanes load 32 elements of a column of x at once and hand them round. All lanes must
// run this together; subgroups have 8 lanes or more. Inner axes have stride 1.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint ROWS = 1;
layout(constant_id = 2) const uint COLS = 1;

uint rows[ROWS], cols[COLS];
float sums[ROWS][COLS];

// Block scales without minima are applied once to a group's sum, others to each weight.
#if defined(HAS_SCALE) && !defined(HAS_MIN)
#define SCALE_LATE
#endif

vec4 x_quad(uint at) {
    return vec4(x[at], x[at + 1u], x[at + 2u], x[at + 3u]);
}

void add_row(uint r, uint g, vec4 quads[COLS]) {
    Scale s = scale_of(rows[r], n_inner, g);
    vec2 part[COLS];
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        part[c] = vec2(0);
    }
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        Octet w = codes_of(rows[r], (g << 2) + j);
#if !defined(SCALE_LATE)
        w = scaled(w, s);
#endif
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            float a = dot(w.a, subgroupShuffle(quads[c], j)), b = dot(w.b, subgroupShuffle(quads[c], j + 4u));
#if defined(SCALE_LATE) && !defined(ONE_SCALE)
            part[c] += vec2(a, b);
#else
            part[c].x += a + b;
#endif
        }
    }
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
#if defined(SCALE_LATE) && !defined(ONE_SCALE)
        sums[r][c] += dot(s.d, part[c]);
#elif defined(SCALE_LATE)
        sums[r][c] += s.d.x * part[c].x;
#else
        sums[r][c] += part[c].x;
#endif
    }
}

void add_group(uint g) {
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
                sums[r][c] += w * x[cols[c] + k];
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
