// What one invocation of a GPU takes of a row at a time: piece p is group p of dequant.glsl, its four octets. Of plain
// numbers a piece has 8 elements in each quarter of the row, so that invocations side by side read bytes side by side.
// raw_of loads, octet_of and raw_scale make numbers of what was loaded, so that loads of many rows can be under way
// before the first is used. WIDE: includer dequant.glsl. n is the row's length, a multiple of 32.

#if defined(TYPE_F32)

struct Raw {
    uvec4 a0, b0, a1, b1, a2, b2, a3, b3;
};

Raw raw_of(uint row, uint n, uint p) {
    uint at = row + (p << 3), quarter = n >> 2;
    Raw raw;
    raw.a0 = words4(at), raw.b0 = words4(at + 4u);
    raw.a1 = words4(at + quarter), raw.b1 = words4(at + quarter + 4u);
    raw.a2 = words4(at + 2u * quarter), raw.b2 = words4(at + 2u * quarter + 4u);
    raw.a3 = words4(at + 3u * quarter), raw.b3 = words4(at + 3u * quarter + 4u);
    return raw;
}

Octet octet_of(Raw raw, uint p, uint j) {
    uvec4 a = j == 0u ? raw.a0 : j == 1u ? raw.a1 : j == 2u ? raw.a2 : raw.a3;
    uvec4 b = j == 0u ? raw.b0 : j == 1u ? raw.b1 : j == 2u ? raw.b2 : raw.b3;
    return Octet(as_floats(a), as_floats(b));
}

Scale raw_scale(Raw raw, uint p) {
    return Scale(vec2(1), vec2(0));
}

#elif defined(PLAIN)

struct Raw {
    uvec4 w0, w1, w2, w3;
};

Raw raw_of(uint row, uint n, uint p) {
    uint at = row + (p << 3), quarter = n >> 2;
    return Raw(halves8(at), halves8(at + quarter), halves8(at + 2u * quarter), halves8(at + 3u * quarter));
}

vec4 four_numbers(uint a, uint b) {
#if defined(TYPE_F16)
    return vec4(f16s_to_f32(a), f16s_to_f32(b));
#else
    return as_floats(uvec4(a << 16, a & 0xFFFF0000u, b << 16, b & 0xFFFF0000u));
#endif
}

Octet octet_of(Raw raw, uint p, uint j) {
    uvec4 w = j == 0u ? raw.w0 : j == 1u ? raw.w1 : j == 2u ? raw.w2 : raw.w3;
    return Octet(four_numbers(w.x, w.y), four_numbers(w.z, w.w));
}

Scale raw_scale(Raw raw, uint p) {
    return Scale(vec2(1), vec2(0));
}

#elif defined(TYPE_Q4_0) || defined(TYPE_IQ4_NL) || defined(TYPE_MXFP4)

struct Raw {
    uvec4 codes;
    uint scale;
};

Raw raw_of(uint row, uint n, uint p) {
#if defined(TYPE_MXFP4)
    return Raw(quad_words(row, p), word_at(row + (n >> 3) + (p >> 2)));
#else
    return Raw(quad_words(row, p), word_at(row + (n >> 3) + (p >> 1)));
#endif
}

Octet octet_of(Raw raw, uint p, uint j) {
    return both_halves(raw.codes[j]);
}

Scale raw_scale(Raw raw, uint p) {
#if defined(TYPE_MXFP4)
    return Scale(vec2(exponent_scale(raw.scale >> ((p & 3u) << 3) & 255u)), vec2(0));
#else
    return Scale(vec2(f16_to_f32(half_of(raw.scale, p))), vec2(0));
#endif
}

#elif defined(TYPE_Q8_0)

struct Raw {
    uvec4 a, b;
    uint scale;
};

Raw raw_of(uint row, uint n, uint p) {
    return Raw(quad_words(row, p << 1), quad_words(row, (p << 1) + 1u), word_at(row + (n >> 2) + (p >> 1)));
}

Octet octet_of(Raw raw, uint p, uint j) {
    return Octet(bytes(raw.a[j]), bytes(raw.b[j]));
}

Scale raw_scale(Raw raw, uint p) {
    return Scale(vec2(f16_to_f32(half_of(raw.scale, p))), vec2(0));
}

#elif defined(TYPE_Q4_K) || defined(TYPE_Q5_K)

struct Raw {
    uvec4 head, codes;
#if defined(TYPE_Q5_K)
    uvec4 high;
#endif
};

Raw raw_of(uint row, uint n, uint p) {
    uint block = (p >> 3) * (BLOCK_WORDS >> 2);
    Raw raw;
    raw.head = quad_words(row, block);
    raw.codes = quad_words(row, block + (BLOCK_WORDS >> 2) - 8u + (p & 7u));
#if defined(TYPE_Q5_K)
    raw.high = quad_words(row, block + 1u + (p & 1u));
#endif
    return raw;
}

Octet octet_of(Raw raw, uint p, uint j) {
#if defined(TYPE_Q5_K)
    return octet_made(raw.codes[j], raw.high[j], p & 7u);
#else
    return Octet(nibbles(raw.codes[j]), nibbles(raw.codes[j] >> 4));
#endif
}

Scale raw_scale(Raw raw, uint p) {
    return scale_made(raw.head.x, uvec3(raw.head.y, raw.head.z, raw.head.w), p & 7u);
}

#elif defined(TYPE_Q6_K)

struct Raw {
    uvec4 codes, high, scales;
    uint d;
};

Raw raw_of(uint row, uint n, uint p) {
    uint block = (p >> 3) * (BLOCK_WORDS >> 2);
    return Raw(quad_words(row, block + (p & 7u)), quad_words(row, block + 8u + (p >> 2 & 1u) * 2u + (p & 1u)),
               quad_words(row, block + 12u), tail_word(row, n, p >> 3));
}

Octet octet_of(Raw raw, uint p, uint j) {
    return octet_made(raw.codes[j], raw.high[j], p & 7u);
}

Scale raw_scale(Raw raw, uint p) {
    bool late = (p & 4u) != 0u;
    uint a = late ? raw.scales.z : raw.scales.x, b = late ? raw.scales.w : raw.scales.y;
    return scale_made(f16_to_f32(half_of(raw.d, p >> 3)), a, b, p & 7u);
}

#elif defined(TYPE_IQ4_XS) || defined(TYPE_NVFP4)

struct Raw {
    uvec4 codes;
    uvec2 head;
};

Raw raw_of(uint row, uint n, uint p) {
    return Raw(quad_words(row, p), head_of(row, n, p));
}

Octet octet_of(Raw raw, uint p, uint j) {
    return octet_made(raw.codes, j);
}

Scale raw_scale(Raw raw, uint p) {
    return scale_made(raw.head, p);
}

#elif defined(GROUP_WORDS)

struct Raw {
    uvec4 words;
    float d;
};

Raw raw_of(uint row, uint n, uint p) {
    return Raw(group_words(row, p), d_of(row, n, p));
}

Octet octet_of(Raw raw, uint p, uint j) {
    uvec2 codes = packed_made(raw.words, j);
    return Octet(bytes(codes.x) - CODE_OFFSET, bytes(codes.y) - CODE_OFFSET);
}

Scale raw_scale(Raw raw, uint p) {
    return scale_made(raw.words, raw.d, p & 7u);
}

#else  // blocks that are no multiples of 16 bytes

struct Raw {
    uint row, n;
};

Raw raw_of(uint row, uint n, uint p) {
    return Raw(row, n);
}

Octet octet_of(Raw raw, uint p, uint j) {
    return codes_of(raw.row, (p << 2) + j);
}

Scale raw_scale(Raw raw, uint p) {
    return scale_of(raw.row, raw.n, p);
}

#endif

#if defined(ONE_OF_TWO) && !defined(PLAIN)
// What was loaded as words that hold either of two types' (weights.glsl), so that no more are kept than the larger takes.
AnyRaw either_of(Raw raw) {
#if defined(TYPE_Q4_K)
    return AnyRaw(raw.head, raw.codes, uvec4(0u), 0u);
#elif defined(TYPE_Q5_K)
    return AnyRaw(raw.head, raw.codes, raw.high, 0u);
#elif defined(TYPE_Q6_K)
    return AnyRaw(raw.codes, raw.high, raw.scales, raw.d);
#elif defined(TYPE_Q8_0)
    return AnyRaw(raw.a, raw.b, uvec4(0u), raw.scale);
#else
    return AnyRaw(uvec4(raw.row, raw.n, 0u, 0u), uvec4(0u), uvec4(0u), 0u);
#endif
}

Raw one_of(AnyRaw either) {
#if defined(TYPE_Q4_K)
    return Raw(either.a, either.b);
#elif defined(TYPE_Q5_K)
    return Raw(either.a, either.b, either.c);
#elif defined(TYPE_Q6_K)
    return Raw(either.a, either.b, either.c, either.d);
#elif defined(TYPE_Q8_0)
    return Raw(either.a, either.b, either.d);
#else
    return Raw(either.a.x, either.a.y);
#endif
}
#endif

#if defined(DOT)
// The codes of octet j as eight signed bytes; each less CODE_OFFSET is what octet_of gives.
#if defined(GROUP_WORDS)

uvec2 packed_of(Raw raw, uint p, uint j) {
    return packed_made(raw.words, j);
}

#elif defined(PACKED)

uvec2 packed_of(Raw raw, uint p, uint j) {
    return packed_octet(raw.row, (p << 2) + j);
}

#elif defined(TYPE_IQ4_NL) || defined(TYPE_IQ4_XS) || defined(TYPE_MXFP4) || defined(TYPE_NVFP4)
const float CODE_OFFSET = 0.0;

uvec2 packed_of(Raw raw, uint p, uint j) {
#if defined(TYPE_NVFP4)
    uvec2 a = both_values(raw.codes[j & 1u]), b = both_values(raw.codes[(j & 1u) + 2u]);
    return j > 1u ? uvec2(a.y, b.y) : uvec2(a.x, b.x);
#else
    return both_values(raw.codes[j]);
#endif
}

#else
#if defined(TYPE_Q4_0)
const float CODE_OFFSET = 8.0;
#elif defined(TYPE_Q5_0)
const float CODE_OFFSET = 16.0;
#elif defined(TYPE_Q6_K)
const float CODE_OFFSET = 32.0;
#elif defined(TYPE_Q3_K)
const float CODE_OFFSET = 4.0;
#else
const float CODE_OFFSET = 0.0;
#endif

#if defined(TYPE_Q8_0)

uvec2 packed_of(Raw raw, uint p, uint j) {
    return uvec2(raw.a[j], raw.b[j]);
}

#elif defined(TYPE_Q2_K) || defined(TYPE_Q3_K)

uvec2 packed_of(Raw raw, uint p, uint j) {
    uint i = (p << 2) + j, r = i & 31u, shift = (r >> 3 & 1u) << 2, block = raw.row + (i >> 5) * BLOCK_WORDS;
#if defined(TYPE_Q2_K)
    uint word = word_at(block + 4u + (r >> 4) * 8u + (r & 7u)) >> shift;
    return uvec2(word, word >> 2) & 0x03030303u;
#else
    uint word = word_at(block + 8u + (r >> 4) * 8u + (r & 7u)) >> shift;
    uint high = word_at(block + (r & 7u)) >> ((r >> 4) * 4u + (shift >> 1));
    return (uvec2(word, word >> 2) & 0x03030303u) | (uvec2(high, high >> 1) & 0x01010101u) << 2;
#endif
}

#elif defined(TYPE_Q4_0) || defined(TYPE_Q4_K) || defined(TYPE_Q5_K) || defined(TYPE_Q6_K)

uvec2 packed_of(Raw raw, uint p, uint j) {
    uvec2 codes = uvec2(raw.codes[j], raw.codes[j] >> 4) & 0x0F0F0F0Fu;
#if defined(TYPE_Q5_K)
    uint high = raw.high[j] >> ((p & 7u) >> 1 << 1);
    codes |= uvec2(high << 4, high << 3) & 0x10101010u;
#elif defined(TYPE_Q6_K)
    uint high = raw.high[j] >> ((p & 7u) >> 1 & 1u) * 2u;
    codes |= uvec2(high << 4, high) & 0x30303030u;
#endif
    return codes;
}

#elif !defined(PLAIN)

uvec2 packed_of(Raw raw, uint p, uint j) {
    uint block = raw.row + p * BLOCK_WORDS, word = word_at(block + BLOCK_WORDS - 4u + j);
    uvec2 codes = uvec2(word, word >> 4) & 0x0F0F0F0Fu;
#if defined(TYPE_Q5_0) || defined(TYPE_Q5_1)
    uint high = word_at(block + BLOCK_WORDS - 5u) >> (j << 2);
    codes |= (uvec2(high, high >> 16) & 15u) * 0x00204081u << 4 & 0x10101010u;  // four bits to a byte each
#endif
    return codes;
}

#endif
#endif
#endif

// Where in x the four elements stand that quad j (of octets' a), or j + 4 (of their b), of piece p meets.
uint quad_place(uint p, uint quad, uint n) {
#if defined(PLAIN)
    return (quad & 3u) * (n >> 2) + (p << 3) + (quad >> 2 << 2);
#else
    return group_at(p) + ((quad & 3u) << 2) + (quad >> 2) * OCTET_STEP;
#endif
}
