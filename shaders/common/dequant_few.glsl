// Blocks of 256 whose elements are -1, 0, 1 (TQ1_0, TQ2_0), and of 128 that are -1 or 1 (Q1_0), all times one d.
// Device rows, d at their end:
//     TQ1_0   13 words of bytes that are 256/243 of five digits to base 3, the first the highest: 8 words whose digits are
//             32 elements apart, 4 whose digits are 16 apart, and one whose (four) digits are 4 apart
//     TQ2_0   16 words, halves of 128; bit pairs 0 to 3 of the same bytes are 32 elements apart
//     Q1_0    4 words, a bit an element

#define HAS_SCALE
#define ONE_SCALE
#define PACKED
const uint OCTET_STEP = 16u;
const float CODE_OFFSET = 1.0;

#if defined(TYPE_TQ1_0)
const uint BLOCK_WORDS = 13u, BLOCK_SHIFT = 8u;
#elif defined(TYPE_TQ2_0)
const uint BLOCK_WORDS = 16u, BLOCK_SHIFT = 8u;
#else
const uint BLOCK_WORDS = 4u, BLOCK_SHIFT = 7u;
#endif

uint group_at(uint g) {
    return g << 5;
}

Scale scale_of(uint row, uint n_inner, uint g) {
    uint tail = row + (n_inner >> BLOCK_SHIFT) * BLOCK_WORDS;
    return Scale(vec2(f16_to_f32(half_at(tail, g >> (BLOCK_SHIFT - 5u)))), vec2(0));
}

#if defined(TYPE_TQ1_0)

// Digit n of each byte: what is left below the digits before it, times 3.
uint digits(uint word, uint n) {
    uint power = n == 0u ? 1u : n == 1u ? 3u : n == 2u ? 9u : n == 3u ? 27u : 81u;
    uint even = (word & 0x00FF00FFu) * power & 0x00FF00FFu, odd = (word >> 8 & 0x00FF00FFu) * power & 0x00FF00FFu;
    return (even * 3u >> 8 & 0x00030003u) | (odd * 3u & 0x03000300u);
}

// Quad q of group g.
uint packed_quad(uint block, uint g, uint q) {
    if (g < 5u) {
        return digits(word_at(block + q), g);
    }
    uint run = ((g - 5u) << 1) + (q >> 2);  // of 16 elements, behind the first 160
    return run < 5u ? digits(word_at(block + 8u + (q & 3u)), run) : digits(word_at(block + 12u), q & 3u);
}

#elif defined(TYPE_TQ2_0)

uint packed_quad(uint block, uint g, uint q) {
    return word_at(block + (g >> 2 << 3) + q) >> ((g & 3u) << 1) & 0x03030303u;
}

#else

uint packed_quad(uint block, uint g, uint q) {
    return (word_at(block + g) >> (q << 2) & 15u) * 0x00204081u << 1 & 0x02020202u;
}

#endif

uvec2 packed_octet(uint row, uint i) {
    uint g = i >> 2, first = BLOCK_SHIFT - 5u;
    uint block = row + (g >> first) * BLOCK_WORDS, j = i & 3u;
    g &= (1u << first) - 1u;
    return uvec2(packed_quad(block, g, j), packed_quad(block, g, j + 4u));
}
