// What wide.glsl does with a piece: numbers times numbers.

shared vec4 held[COLS * 8u * HELD_ROW];

bool is_spare;  // an invocation that asks for a quad of another's

float dot_onto(float sum, vec4 a, vec4 b) {
    return fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, fma(a.w, b.w, sum))));
}

const uint ALL_QUADS = (HELD * 8u + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
const uint QUADS_AT_ONCE = COLS > 1u ? 1u : ALL_QUADS < 4u ? ALL_QUADS : 4u;  // under way before the first is put where it belongs

void hold_quads(uint i, uint own, uint first, uint n) {
    Asked quads[QUADS_AT_ONCE][COLS];
    [[unroll]] for (uint j = 0u; j < QUADS_AT_ONCE; j++) {
        uint at = i + j * gl_WorkGroupSize.x;
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            quads[j][c] = ask_quad(c, first + min(at >> 3, n - 1u), at & 7u);
        }
    }
    if (i == own) {  // the first turn is for all
        AFTER_ASKING;
    }
    [[unroll]] for (uint j = 0u; j < QUADS_AT_ONCE; j++) {
        uint at = i + j * gl_WorkGroupSize.x;
        is_spare = at >= n << 3;
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            vec4 made = made_quad(c, quads[j][c]);
            if (!is_spare) {
                held[(c * 8u + (at & 7u)) * HELD_ROW + (at >> 3)] = made;
            }
        }
    }
}

// Pieces first to first + n of every column into shared memory.
void hold(uint first, uint n) {
    FROM(0u);
    uint own = invocation();
#if defined(TEXT)
    [[dont_unroll]] for (uint i = own; n > 0u && (i == own || i < n << 3); i += QUADS_AT_ONCE * gl_WorkGroupSize.x) {
        hold_quads(i, own, first, n);
    }
#else
    if (n == 0u) {
        return;
    }
    uint i = own;
    [[dont_unroll]] do {  // see add_pieces()
        hold_quads(i, own, first, n);
        i += QUADS_AT_ONCE * gl_WorkGroupSize.x;
    } while (ALL_QUADS > QUADS_AT_ONCE && i < n << 3);
#endif
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
