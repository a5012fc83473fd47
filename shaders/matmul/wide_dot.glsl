// What wide.glsl does with a piece of integer codes: x becomes integers of 16 bits and one step a piece, in two signed bytes
// each, whose products are made four at a time. They are off by half a step, the largest of a piece's 32 over 65,278.
// held: of each piece the low and high bytes of its eight quads, then the step and the sums of both halves.

#ifndef TEXT  // preludes bring it
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018], id = 4450)
int dot_of_bytes(uint a, uint b, spirv_literal int packed);

int add_dot(int sum, uint a, uint b) {
    return sum + dot_of_bytes(a, b, 0);
}
#endif

const uint SLOTS = 5u;
const float MOST = 32639.0;  // 127 * 256 + 127
const float LEAST = 3.9e-34;  // of a piece's largest, whose step is still a normal number

bool is_spare;  // an invocation that helps with a quad of another

shared uvec4 held[COLS * SLOTS * HELD_ROW];

// Infinities alone are left of a piece that has some, with an infinite step; NaN is the step of one with a NaN.
ivec4 integers(vec4 x, uint size, out float unit) {
    if (size >= 0x7f800000u) {
        unit = uintBitsToFloat(size);
        return ivec4(mix(vec4(0), sign(x), equal(abs(x), vec4(INFINITY))));
    }
    float largest = max(uintBitsToFloat(size), LEAST);
    unit = largest / MOST;
    return ivec4(roundEven(x * (MOST / largest)));
}

// Byte `shift` / 8 of each, which stands there plus 128.
uint bytes_of(uvec4 v, uint shift) {
    v = v >> shift & 255u;
    return (v.x | v.y << 8 | v.z << 16 | v.w << 24) ^ 0x80808080u;
}

// Both bytes of four elements, those of `quad` of the piece whose words start at `at`.
void hold_bytes(uint at, uint quad, ivec4 whole) {
    uvec4 v = uvec4(whole + 0x8080);
    [[unroll]] for (uint i = 0u; i < 2u; i++) {
        held[at + (2u * i + (quad >> 2)) * HELD_ROW][quad & 3u] = bytes_of(v, 8u * i);
    }
}

void hold_quad(uint p, uint quad, uint c, vec4 x) {
    uvec4 size = floatBitsToUint(x) & 0x7fffffffu;
    uint largest = max(max(size.x, size.y), max(size.z, size.w));
    largest = max(largest, subgroupShuffleXor(largest, 1u));
    largest = max(largest, subgroupShuffleXor(largest, 2u));
    largest = max(largest, subgroupShuffleXor(largest, 4u));
    float unit;
    ivec4 whole = integers(x, largest, unit);
    int sum = whole.x + whole.y + whole.z + whole.w;
    sum += subgroupShuffleXor(sum, 1u);
    sum += subgroupShuffleXor(sum, 2u);
    int other = subgroupShuffleXor(sum, 4u);
    uint at = c * SLOTS * HELD_ROW + p;
    if (!is_spare) {
        hold_bytes(at, quad, whole);
    }
    if (!is_spare && quad == 0u) {
        held[at + 4u * HELD_ROW] = floatBitsToUint(vec4(unit, float(sum), float(other), 0));
    }
}

Asked next_quad[COLS];

void ask_for_quad(uint first, uint n, uint i) {
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        next_quad[c] = ask_quad(c, first + min(i >> 3, n - 1u), i & 7u);
    }
}

// Pieces first to first + n of every column into shared memory: eight invocations side by side make one, and have asked for
// the next before. Subgroups take part as a whole; who has no piece left helps with the last one.
void hold(uint first, uint n) {
    FROM(0u);
    uint whole_subgroups = ((n << 3) + gl_SubgroupSize - 1u) & ~(gl_SubgroupSize - 1u);
    if (n > 0u) {
        ask_for_quad(first, n, invocation());
    }
    AFTER_ASKING;
    uint turn = subgroup_start();  // i of the subgroup's first invocation, within a turn the next one's
    [[dont_unroll]] for (uint i = invocation(); turn < whole_subgroups; i += gl_WorkGroupSize.x) {
        turn += gl_WorkGroupSize.x;
        Asked quads[COLS];
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            quads[c] = next_quad[c];
        }
        if (turn < whole_subgroups) {
            ask_for_quad(first, n, i + gl_WorkGroupSize.x);
        }
        is_spare = i >= n << 3;
        [[unroll]] for (uint c = 0u; c < COLS; c++) {
            hold_quad(min(i >> 3, n - 1u), i & 7u, c, made_quad(c, quads[c]));
        }
    }
}

float joined(ivec2 parts) {
    return float(parts.y * 256 + parts.x);
}

// What codes that are CODE_OFFSET too large made, less what that added.
float less_offset(float made, float side) {
    return CODE_OFFSET == 0.0 ? made : made - CODE_OFFSET * side;
}

uvec2 codes[ROWS][4];
Scale scale[ROWS];
ivec2 a[ROWS], b[ROWS];  // sums of the low and high bytes, of both halves

void take_codes(uint piece) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        FROM(r);
        scale[r] = raw_scale(raw[r], piece);
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
            codes[r][j] = packed_of(raw[r], piece, j);
        }
    }
}

// With one scale for both halves of a piece `a` has both sums.
void add_bytes(uint at) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        a[r] = ivec2(0);
        b[r] = ivec2(0);
    }
    [[unroll]] for (uint part = 0u; part < 2u; part++) {
        uvec4 xa = held[at + 2u * part * HELD_ROW], xb = held[at + (2u * part + 1u) * HELD_ROW];
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
            [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                FROM(r);
                a[r][part] = add_dot(a[r][part], codes[r][j].x, xa[j]);
                if (SCALE_BOTH) {
                    a[r][part] = add_dot(a[r][part], codes[r][j].y, xb[j]);
                } else {
                    b[r][part] = add_dot(b[r][part], codes[r][j].y, xb[j]);
                }
            }
        }
    }
}

void add_piece(uint p, uint place) {
    TAKE(p);
    take_codes(piece);
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        uint at = c * SLOTS * HELD_ROW + place;
        vec4 sides = uintBitsToFloat(held[at + 4u * HELD_ROW]);
        add_bytes(at);
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            FROM(r);
            float sum;
            if (SCALE_BOTH) {
                float both = sides.y + sides.z;
                sum = scale[r].d.x * less_offset(joined(a[r]), both);
                sum = SCALE_LATE ? sum : sum + scale[r].m.x * both;
            } else {
                sum = dot(scale[r].d, vec2(less_offset(joined(a[r]), sides.y), less_offset(joined(b[r]), sides.z)));
                sum = SCALE_LATE ? sum : sum + dot(scale[r].m, sides.yz);
            }
            sums[r][c] += sides.x * sum;
        }
    }
}
