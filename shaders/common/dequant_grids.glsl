// Blocks of 256 whose codes say which rows of a table they stand for, and their signs. GRID: the table in words, of
// shaders/tables.py; rows of eight values in two bits each (IQ1_*, IQ2_*), or of four bytes (IQ3_*).
// Device rows, d at their end but for IQ1_M's. A word of indices has four; g is the group of 32, h its half, of 16:
//     IQ2_XXS 16 words: two a group: indices; four times seven signs, then four bits of scale
//     IQ2_XS  18 words: halves of nine bits of index and seven signs; then half a byte of scale a half
//     IQ2_S   20 words: 8 of indices, 8 of signs, 2 of two more bits for each index, 2 of scales
//     IQ3_XXS 24 words: 16 of indices, then as IQ2_XXS's signs and scales
//     IQ3_S   27 words: 16 of indices, 2 of a ninth bit for each, 8 of signs, half a byte of scale a group
//     IQ1_S   12 words: 8 of indices, then half a word a group: four times three bits of index, three of scale, a shift
//     IQ1_M   14 words: 8 of indices, half a byte each of three bits of index and a shift, then halves of four times
//             three bits of scale (one for 16 elements) and four bits of d
// IQ1_*: values are -1, 0, 1, all of a row an eighth more or less: codes are eight times that.

#define HAS_SCALE
#define PACKED
#define GROUP_WORDS
const uint OCTET_STEP = 16u;

#if defined(TYPE_IQ2_XXS)
const uint BLOCK_WORDS = 16u;
#elif defined(TYPE_IQ2_XS)
const uint BLOCK_WORDS = 18u;
#elif defined(TYPE_IQ2_S)
const uint BLOCK_WORDS = 20u;
#elif defined(TYPE_IQ3_XXS)
const uint BLOCK_WORDS = 24u;
#elif defined(TYPE_IQ3_S)
const uint BLOCK_WORDS = 27u;
#elif defined(TYPE_IQ1_S)
const uint BLOCK_WORDS = 12u;
#else
const uint BLOCK_WORDS = 14u;
#endif

#if defined(TYPE_IQ1_S) || defined(TYPE_IQ1_M)
const float CODE_OFFSET = 16.0;
#else
const float CODE_OFFSET = 0.0;
#endif

#if defined(TYPE_IQ2_XXS) || defined(TYPE_IQ3_XXS) || defined(TYPE_IQ3_S) || defined(TYPE_IQ1_S)
#define ONE_SCALE
#endif

const uint GRID[] = uint[](GRID_WORDS);
#if defined(GRID_MORE_WORDS)
const uint GRID_MORE[] = uint[](GRID_MORE_WORDS);
#endif

uint grid_word(uint i) {
#if defined(GRID_MORE_WORDS)
    // read both ways: in branches Mesa's software driver compiles each read for seconds
    uint at = i & (GRID_LENGTH / 2u - 1u), one = GRID[at], other = GRID_MORE[at];
    return i < GRID_LENGTH / 2u ? one : other;
#else
    return GRID[i];
#endif
}

#if defined(TABLE_SHARED)
#define HAS_TABLE
#define GRID_AT(i) grid[i]

shared uint grid[GRID_LENGTH];

void fill_table(uint n_invocations) {
    for (uint i = gl_LocalInvocationID.x; i < GRID_LENGTH; i += n_invocations) {
        grid[i] = grid_word(i);
    }
}
#else
#define GRID_AT(i) grid_word(i)
#endif

uint group_at(uint g) {
    return g << 5;
}

// Byte i of what begins with word `first`.
uint byte_at(uint first, uint i) {
    return word_at(first + (i >> 2)) >> ((i & 3u) << 3) & 255u;
}

// All that is of group g of a row but d: words of indices first.
uvec4 group_words(uint row, uint group) {
    uint block = row + (group >> 3) * BLOCK_WORDS, g = group & 7u;
#if defined(TYPE_IQ2_XXS)
    return uvec4(word_at(block + (g << 1)), word_at(block + (g << 1) + 1u), 0u, 0u);
#elif defined(TYPE_IQ2_XS)
    return uvec4(word_at(block + (g << 1)), word_at(block + (g << 1) + 1u), byte_at(block + 16u, g), 0u);
#elif defined(TYPE_IQ2_S)
    return uvec4(word_at(block + g), word_at(block + 8u + g), byte_at(block + 16u, g), byte_at(block + 18u, g));
#elif defined(TYPE_IQ3_XXS)
    return uvec4(word_at(block + (g << 1)), word_at(block + (g << 1) + 1u), word_at(block + 16u + g), 0u);
#elif defined(TYPE_IQ3_S)
    uint more = byte_at(block + 16u, g) | (word_at(block + 26u) >> (g << 2) & 15u) << 8;
    return uvec4(word_at(block + (g << 1)), word_at(block + (g << 1) + 1u), word_at(block + 18u + g), more);
#elif defined(TYPE_IQ1_S)
    return uvec4(word_at(block + g), half_at(block + 8u, g), 0u, 0u);
#else
    return uvec4(word_at(block + g), half_at(block + 8u, g), word_at(block + 12u), word_at(block + 13u));
#endif
}

// A block's d, but for IQ1_M's, which stands among a group's words.
float d_of(uint row, uint n_inner, uint g) {
#if defined(TYPE_IQ1_M)
    return 1.0;
#else
    return f16_to_f32(half_at(row + (n_inner >> 8) * BLOCK_WORDS, g >> 3));
#endif
}

// Scales of group g from its words.
Scale scale_made(uvec4 w, float d, uint g) {
#if defined(TYPE_IQ1_M)
    d = f16_to_f32(w.z >> 12 & 15u | w.z >> 24 & 0xF0u | w.w >> 4 & 0xF00u | w.w >> 16 & 0xF000u) * 0.125;
    uint two = ((g & 4u) == 0u ? w.z : w.w) >> (((g >> 1 & 1u) << 4) + (g & 1u) * 6u);
    return Scale(d * (2.0 * vec2(two & 7u, two >> 3 & 7u) + 1.0), vec2(0));
#elif defined(TYPE_IQ1_S)
    return Scale(vec2(d * 0.125 * (2.0 * float(w.y >> 12 & 7u) + 1.0)), vec2(0));
#elif defined(TYPE_IQ3_S)
    return Scale(vec2(d * (2.0 * float(w.w >> 8) + 1.0)), vec2(0));
#elif defined(TYPE_IQ3_XXS)
    return Scale(vec2(d * 0.5 * (0.5 + float(w.z >> 28))), vec2(0));
#elif defined(TYPE_IQ2_XXS)
    return Scale(vec2(d * 0.25 * (0.5 + float(w.y >> 28))), vec2(0));
#elif defined(TYPE_IQ2_XS)
    return Scale(d * 0.25 * (0.5 + vec2(w.z & 15u, w.z >> 4)), vec2(0));
#else
    return Scale(d * 0.25 * (0.5 + vec2(w.w & 15u, w.w >> 4)), vec2(0));
#endif
}

Scale scale_of(uint row, uint n_inner, uint g) {
    return scale_made(group_words(row, g), d_of(row, n_inner, g), g);
}

// Four codes of two bits as bytes.
uint spread(uint codes) {
    return (codes | codes << 6 | codes << 12 | codes << 18) & 0x03030303u;
}

// Bytes, none of them 0, with the signs of four bits.
uint with_signs(uint values, uint signs) {
    uint ones = (signs & 15u) * 0x00204081u & 0x01010101u;
    return (values ^ ones * 255u) + ones;
}

// Seven signs; the eighth makes their number even.
uint eighth_sign(uint seven) {
    uint folded = seven ^ seven >> 4;
    return seven | (0x6996u >> (folded & 15u) & 1u) << 7;
}

// Which row of the table stands for the eight elements that quad q is of (for quad q, IQ3_*), and what goes with it: signs
// of eight elements, or IQ1_*'s shift.
uvec2 index_of(uvec4 w, uint q) {
    uint e = q >> 1;
#if defined(TYPE_IQ2_XXS)
    return uvec2(w.x >> (e << 3) & 255u, eighth_sign(w.y >> e * 7u & 127u));
#elif defined(TYPE_IQ2_XS)
    uint half_word = (e < 2u ? w.x : w.y) >> ((e & 1u) << 4) & 0xFFFFu;
    return uvec2(half_word & 511u, eighth_sign(half_word >> 9));
#elif defined(TYPE_IQ2_S)
    return uvec2((w.x >> (e << 3) & 255u) | (w.z >> (e << 1) & 3u) << 8, w.y >> (e << 3) & 255u);
#elif defined(TYPE_IQ3_XXS)
    return uvec2((q < 4u ? w.x : w.y) >> ((q & 3u) << 3) & 255u, eighth_sign(w.z >> e * 7u & 127u));
#elif defined(TYPE_IQ3_S)
    uint low = (q < 4u ? w.x : w.y) >> ((q & 3u) << 3) & 255u;
    return uvec2(low | (w.w >> q & 1u) << 8, w.z >> (e << 3) & 255u);
#elif defined(TYPE_IQ1_S)
    return uvec2((w.x >> (e << 3) & 255u) | (w.y >> e * 3u & 7u) << 8, w.y >> 15);
#else
    uint more = w.y >> (e << 2) & 15u;
    return uvec2((w.x >> (e << 3) & 255u) | (more & 7u) << 8, more >> 3);
#endif
}

// Quad q of a group as bytes, signed ones where CODE_OFFSET is 0.
uint packed_quad(uvec4 w, uint q) {
    uvec2 found = index_of(w, q);
#if defined(TYPE_IQ3_XXS) || defined(TYPE_IQ3_S)
    return with_signs(GRID_AT(found.x), found.y >> ((q & 1u) << 2));
#else
    uint codes = spread(GRID_AT(found.x >> 1) >> (((found.x & 1u) << 4) + ((q & 1u) << 3)) & 255u);
#if defined(TYPE_IQ1_S) || defined(TYPE_IQ1_M)
    return codes * 8u + (found.y == 0u ? 0x09090909u : 0x07070707u);
#else
    return with_signs(0x08080808u + codes * 17u + (codes >> 1 & 0x01010101u), found.y >> ((q & 1u) << 2));
#endif
#endif
}

// Octet j of a group.
uvec2 packed_made(uvec4 w, uint j) {
    return uvec2(packed_quad(w, j), packed_quad(w, j + 4u));
}

uvec2 packed_octet(uint row, uint i) {
    return packed_made(group_words(row, i >> 2), i & 3u);
}
