// Blocks of 32 with four- and five-bit codes: byte j of 16 holds element j in its low and j + 16 in its high half.
// Device rows: Q4_0, IQ4_NL, MXFP4: 4 words a block; Q5_0: the fifth bits, then 4 words; their scales at the row's end.
// Q4_1, Q5_1: d and m in the first word, then as Q4_0, Q5_0.

#define HAS_SCALE
#define ONE_SCALE
const uint OCTET_STEP = 16u;

#if defined(TYPE_Q4_1)
#define HAS_MIN
const uint BLOCK_WORDS = 5u;
#elif defined(TYPE_Q5_1)
#define HAS_MIN
const uint BLOCK_WORDS = 6u;
#elif defined(TYPE_Q5_0)
const uint BLOCK_WORDS = 5u;
#else
const uint BLOCK_WORDS = 4u;
#endif

uint group_at(uint g) {
    return g << 5;
}

#if defined(TYPE_MXFP4)
// 2^(e - 128): the codes are doubled; e < 2 gives fp32 denormals
float exponent_scale(uint e) {
    return uintBitsToFloat(e < 2u ? 0x00200000u << e : (e - 1u) << 23);
}
#endif

Scale scale_of(uint row, uint n_inner, uint g) {
#if defined(HAS_MIN)
    uint dm = word_at(row + g * BLOCK_WORDS);
    return Scale(vec2(f16_to_f32(dm & 0xFFFFu)), vec2(f16_to_f32(dm >> 16)));
#elif defined(TYPE_MXFP4)
    return Scale(vec2(exponent_scale(word_at(row + (n_inner >> 3) + (g >> 2)) >> ((g & 3u) << 3) & 255u)), vec2(0));
#else
    return Scale(vec2(f16_to_f32(half_at(row + (n_inner >> 5) * BLOCK_WORDS, g))), vec2(0));
#endif
}

#if defined(TYPE_IQ4_NL) || defined(TYPE_MXFP4)
#include "codebook.glsl"
#else
vec4 values(uint word) {
#if defined(TYPE_Q4_0)
    ivec4 q = ivec4(int(word) & 15, int(word >> 8) & 15, int(word >> 16) & 15, int(word >> 24) & 15);
    return vec4(q - 8);
#else
    return nibbles(word);
#endif
}

Octet both_halves(uint word) {
    return Octet(values(word), values(word >> 4));
}
#endif

// four bits of `high` as 16s
vec4 sixteens(uint high) {
    return vec4(int(high & 1u) << 4, int(high & 2u) << 3, int(high & 4u) << 2, int(high & 8u) << 1);
}

Octet codes_of(uint row, uint i) {
    uint block = row + (i >> 2) * BLOCK_WORDS, j = i & 3u;
    uint word = word_at(block + BLOCK_WORDS - 4u + j);
    Octet codes = both_halves(word);
#if defined(TYPE_Q5_0) || defined(TYPE_Q5_1)
    uint high = word_at(block + BLOCK_WORDS - 5u) >> (j << 2);
    codes.a += sixteens(high);
    codes.b += sixteens(high >> 16);
#endif
#if defined(TYPE_Q5_0)
    codes.a -= 16.0;
    codes.b -= 16.0;
#endif
    return codes;
}
