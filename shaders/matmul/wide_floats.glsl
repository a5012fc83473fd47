// What wide.glsl does with a piece: numbers times numbers.

shared vec4 held[COLS * 8u * HELD_ROW];

float dot_onto(float sum, vec4 a, vec4 b) {
    return fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, fma(a.w, b.w, sum))));
}

// Pieces first to first + n of every column into shared memory.
void hold(uint first, uint n) {
    FROM(0u);
    [[dont_unroll]] for (uint i = invocation(); i < n << 3; i += gl_WorkGroupSize.x) {
        uint p = i >> 3, quad = i & 7u;
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            held[(c * 8u + quad) * HELD_ROW + p] = X_QUAD(c, first + p, quad);
        }
    }
}

vec2 part[ROWS][COLS];  // of both halves of a piece
Scale scale[ROWS];
Octet w[ROWS];

void start_piece(uint piece) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        FROM(r);
        scale[r] = raw_scale(raw[r], piece);
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            part[r][c] = vec2(0);
        }
    }
}

void take_octets(uint piece, uint j) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        FROM(r);
        w[r] = octet_of(raw[r], piece, j);
        if (!SCALE_LATE) {
            w[r] = scaled(w[r], scale[r]);
        }
    }
}

void add_octets(uint c, vec4 xa, vec4 xb) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        FROM(r);
        if (SCALE_LATE && !SCALE_BOTH) {
            part[r][c] = vec2(dot_onto(part[r][c].x, w[r].a, xa), dot_onto(part[r][c].y, w[r].b, xb));
        } else {
            part[r][c].x = dot_onto(dot_onto(part[r][c].x, w[r].a, xa), w[r].b, xb);
        }
    }
}

// Block scales without minima are applied once to a piece's sum, others to each weight.
void add_piece(uint p, uint place) {
    TAKE(p);
    start_piece(piece);
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        take_octets(piece, j);
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            uint at = (c * 8u + j) * HELD_ROW + place;
            add_octets(c, held[at], held[at + 4u * HELD_ROW]);
        }
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        FROM(r);
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            vec2 of = part[r][c];
            sums[r][c] += !SCALE_LATE ? of.x : SCALE_BOTH ? scale[r].d.x * of.x : dot(scale[r].d, of);
        }
    }
}
