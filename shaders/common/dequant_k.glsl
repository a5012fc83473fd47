// K-quants: super-blocks of 256 whose scales (and minima) of 16 or 32 elements are codes themselves.
// Device rows: Q2_K 21, Q4_K 36, Q5_K 44 words as in a file; Q3_K 27, Q6_K 52 words, their d at the row's end.
// Octets of a block, r = i % 32, and l the word in a run of 8 (four elements a word):
//     Q2_K, Q3_K  halves of 128, bit pairs 0 to 3 of the same bytes are 32 elements apart; an octet takes two pairs
//     Q4_K, Q5_K  runs of 64, low and high halves of the same bytes 32 elements apart
//     Q6_K        halves of 128, low and high halves of the same bytes 64 elements apart

#define HAS_SCALE
#if defined(TYPE_Q2_K)
#define HAS_MIN
const uint OCTET_STEP = 32u, BLOCK_WORDS = 21u;
#elif defined(TYPE_Q3_K)
const uint OCTET_STEP = 32u, BLOCK_WORDS = 27u;
#elif defined(TYPE_Q4_K)
#define HAS_MIN
const uint OCTET_STEP = 32u, BLOCK_WORDS = 36u;
#elif defined(TYPE_Q5_K)
#define HAS_MIN
const uint OCTET_STEP = 32u, BLOCK_WORDS = 44u;
#else
const uint OCTET_STEP = 64u, BLOCK_WORDS = 52u;
#endif

#if defined(TYPE_Q6_K)
uint group_at(uint g) {
    return ((g >> 2) << 7) + ((g & 3u) << 4);
}
#else
uint group_at(uint g) {
    return ((g >> 1) << 6) + ((g & 1u) << 4);
}
#endif

vec4 pairs(uint word, uint shift) {
    uint q = word >> shift;
    return vec4(int(q & 3u), int(q >> 8 & 3u), int(q >> 16 & 3u), int(q >> 24 & 3u));
}

// one bit of each byte
vec4 single_bits(uint word, uint bit) {
    return vec4(int(word >> bit & 1u), int(word >> (bit + 8u) & 1u), int(word >> (bit + 16u) & 1u),
                int(word >> (bit + 24u) & 1u));
}

// The word of two blocks' d, of which half b & 1 is block b's.
uint tail_word(uint row, uint n_inner, uint b) {
    return word_at(row + (n_inner >> 8) * BLOCK_WORDS + (b >> 1));
}

float tail_scale(uint row, uint n_inner, uint b) {
    return f16_to_f32(half_of(tail_word(row, n_inner, b), b));
}

#if defined(TYPE_Q2_K)

Scale scale_of(uint row, uint n_inner, uint g) {
    uint block = row + (g >> 3) * BLOCK_WORDS;
    uint j = ((g & 7u) >> 1) * 4u + (g & 1u);  // scales j and j + 2, each with its minimum in the high half
    uint s = word_at(block + (j >> 2)) >> ((j & 3u) << 3);
    uint dm = word_at(block + 20u);
    float d = f16_to_f32(dm & 0xFFFFu), m = -f16_to_f32(dm >> 16);
    return Scale(d * vec2(s & 15u, s >> 16 & 15u), m * vec2(s >> 4 & 15u, s >> 20 & 15u));
}

Octet codes_of(uint row, uint i) {
    uint r = i & 31u, shift = (r >> 3 & 1u) << 2;
    uint word = word_at(row + (i >> 5) * BLOCK_WORDS + 4u + (r >> 4) * 8u + (r & 7u));
    return Octet(pairs(word, shift), pairs(word, shift + 2u));
}

#elif defined(TYPE_Q3_K)

// Scale j of 16, six bits less 32: low four in bytes 0-7 (j < 8 low halves), high two in bytes 8-11.
int six_bits(uvec3 s, uint j) {
    uint low = byte_of(s, j & 7u) >> ((j >> 3) << 2) & 15u;
    uint high = s.z >> (((j & 3u) << 3) + ((j >> 2) << 1)) & 3u;
    return int(low | high << 4) - 32;
}

Scale scale_of(uint row, uint n_inner, uint g) {
    uint at = row + (g >> 3) * BLOCK_WORDS + 24u;
    uvec3 s = uvec3(word_at(at), word_at(at + 1u), word_at(at + 2u));
    uint j = ((g & 7u) >> 1) * 4u + (g & 1u);
    return Scale(tail_scale(row, n_inner, g >> 3) * vec2(six_bits(s, j), six_bits(s, j + 2u)), vec2(0));
}

Octet codes_of(uint row, uint i) {
    uint r = i & 31u, shift = (r >> 3 & 1u) << 2, block = row + (i >> 5) * BLOCK_WORDS;
    uint high = word_at(block + (r & 7u)), word = word_at(block + 8u + (r >> 4) * 8u + (r & 7u));
    uint bit = (r >> 4) * 4u + (shift >> 1);
    return Octet(pairs(word, shift) + 4.0 * single_bits(high, bit) - 4.0,
                 pairs(word, shift + 2u) + 4.0 * single_bits(high, bit + 1u) - 4.0);
}

#elif defined(TYPE_Q6_K)

// Of group g: its two scales are the same signed byte of two words.
Scale scale_made(float d, uint a, uint b, uint g) {
    uint shift = 24u - ((g & 3u) << 3);
    return Scale(d * vec2(int(a << shift) >> 24, int(b << shift) >> 24), vec2(0));
}

// Of group g, from the words of low and of high bits.
Octet octet_made(uint word, uint high, uint g) {
    high >>= (g >> 1 & 1u) << 1;
    return Octet(nibbles(word) + 16.0 * pairs(high, 0u) - 32.0, nibbles(word >> 4) + 16.0 * pairs(high, 4u) - 32.0);
}

Scale scale_of(uint row, uint n_inner, uint g) {
    uint at = row + (g >> 3) * BLOCK_WORDS + 48u + ((g & 7u) >> 2) * 2u;
    return scale_made(tail_scale(row, n_inner, g >> 3), word_at(at), word_at(at + 1u), g);
}

Octet codes_of(uint row, uint i) {
    uint r = i & 31u, block = row + (i >> 5) * BLOCK_WORDS;
    return octet_made(word_at(block + r), word_at(block + 32u + (r >> 4) * 8u + (r & 7u)), r >> 2);
}

#else  // Q4_K, Q5_K

// Of group g & 7 of a block that begins with the words dm and s: of two runs of 32, whose six bits of scale and minimum are
// bytes side by side, of the first four runs in s.x and s.y; later ones have their low four bits in the halves of bytes of
// s.z, their high two on top of those bytes. Without branches.
Scale scale_made(uint dm, uvec3 s, uint g) {
    bool is_late = (g & 4u) != 0u;
    uint shift = (g & 2u) << 3, high = is_late ? shift + 2u : shift;
    uint low = is_late ? s.z : s.x, low_min = is_late ? s.z >> 4 : s.y;
    uint scales = (low >> shift & 0x0F0Fu) | (s.x >> high & 0x3030u);
    uint minima = (low_min >> shift & 0x0F0Fu) | (s.y >> high & 0x3030u);
    vec2 factors = f16s_to_f32(dm);
    return Scale(factors.x * vec2(scales & 255u, scales >> 8), -factors.y * vec2(minima & 255u, minima >> 8));
}

Scale scale_of(uint row, uint n_inner, uint g) {
    uint block = row + (g >> 3) * BLOCK_WORDS;
    return scale_made(word_at(block), uvec3(word_at(block + 1u), word_at(block + 2u), word_at(block + 3u)), g);
}

#if defined(TYPE_Q5_K)
// Of group g, from the words of low and of fifth bits.
Octet octet_made(uint word, uint high, uint g) {
    uint bit = (g >> 1) << 1;
    return Octet(nibbles(word) + 16.0 * single_bits(high, bit), nibbles(word >> 4) + 16.0 * single_bits(high, bit + 1u));
}
#endif

Octet codes_of(uint row, uint i) {
    uint r = i & 31u, block = row + (i >> 5) * BLOCK_WORDS;
    uint word = word_at(block + BLOCK_WORDS - 32u + r);
#if defined(TYPE_Q5_K)
    return octet_made(word, word_at(block + 4u + (r & 7u)), r >> 2);
#else
    return Octet(nibbles(word), nibbles(word >> 4));
#endif
}

#endif
