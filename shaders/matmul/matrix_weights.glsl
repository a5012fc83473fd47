// Weights on their way from a buffer to shared memory as halves: an item is a group of a row (BY_GROUPS, by 16-byte
// loads), or half of one, two octets (F32 always). fetch_w loads, put_w stores the quads a of octets from tile[at] on,
// quads b two octets further. What fetch_w loads of blocks only put_w looks at: kernels wait where they first look, and a
// fetch would take as long as memory does.
// Codes become halves by bits: 0x6400 | q is 1024 + q; those of MXFP4 want no table, IQ4_NL's become bytes by one first.

#if defined(TYPE_Q4_K) || defined(TYPE_Q5_K)
#define BY_GROUPS  // their blocks are multiples of 16 bytes
#endif
#if defined(BY_GROUPS) && !defined(TYPE_F32)
const uint W_PARTS = 1u;
#else
const uint W_PARTS = 2u;
#endif
const uint W_ITEMS = (TILE_ROWS * GROUPS * W_PARTS + LOCAL - 1u) / LOCAL;
const uint W_SLOTS = AHEAD * W_ITEMS;

#if defined(BY_GROUPS) && !defined(WORDS_GIVEN)
layout(std430, binding = 0) readonly buffer WeightQuads {
    uvec4 w_quads[];
};

uvec4 words_at(uint i) {
    return w_quads[i >> 2];
}
#endif

#if defined(TYPE_Q4_0) || defined(TYPE_Q8_0) || defined(TYPE_IQ4_NL) || defined(TYPE_MXFP4)

uvec4 w_codes[W_SLOTS];
uint w_scales[W_SLOTS], w_groups[W_SLOTS];  // words of two scales, of four of MXFP4, and which one by the group

#if defined(TYPE_MXFP4)

const uint SCALES = 2u;  // a word, as a power of two

// Powers of two as halves, 128 times what they are to be; the largest is infinity.
f16vec2 scales_of(uint i) {
    uint e = w_scales[i] >> ((w_groups[i] & 3u) << 3) & 255u;
    uint power = e > 106u ? min(e - 106u, 31u) << 10 : 0x400u >> min(107u - e, 31u);
    return unpackFloat2x16(power * 0x10001u);
}

// Two codes of E2M1, doubled, by d. Two bits of exponent and one of mantissa are h = 1, 1.5, 2, 3, 4, 6, 8, 12 by 2^-7, of
// which min(h, 2 h - 2) is 0, 1, 2, 3, 4, 6, 8, 12, without denormals.
uint pair_halves(uint codes, f16vec2 d) {
    f16vec2 h = unpackFloat2x16((codes & 0x00070007u) << 9 | 0x20002000u);
    f16vec2 size = min(h, fma(h, unpackFloat2x16(0x40004000u), unpackFloat2x16(0xa400a400u)));
    return packFloat2x16(unpackFloat2x16(packFloat2x16(size) | (codes & 0x00080008u) << 12) * d);
}

#else

const uint SCALES = 1u;
#if defined(TYPE_Q4_0)
const uint MASK = 0x000f000fu;
const float16_t ZERO = float16_t(1032.0);
#else
const uint MASK = 0x00ff00ffu;
const float16_t ZERO = float16_t(1152.0);
#endif

f16vec2 scales_of(uint i) {
    return unpackFloat2x16(half_of(w_scales[i], w_groups[i]) * 0x10001u);
}

uint pair_halves(uint codes, f16vec2 d) {
    return packFloat2x16((unpackFloat2x16((codes & MASK) | 0x64006400u) - ZERO) * d);
}

#endif

void fetch_scale(uint i, uint first, uint g) {
    w_scales[i] = word_at(first + (g >> SCALES));
    w_groups[i] = g;
}

uvec2 quad_halves(uint codes, f16vec2 d) {
    return uvec2(pair_halves(codes, d), pair_halves(codes >> 8, d));
}

// Of quads a, and of quads b, two words of codes each.
void put_octets(uint at, uvec2 first, uvec2 second, f16vec2 d) {
    tile[at] = uvec4(quad_halves(first.x, d), quad_halves(second.x, d));
    tile[behind(at, 2u)] = uvec4(quad_halves(first.y, d), quad_halves(second.y, d));
}

#if defined(TYPE_Q8_0)

#if defined(BY_GROUPS)

uvec4 w_more[W_SLOTS];

void fetch_w(uint i, uint row, uint g, uint part) {
    w_codes[i] = words_at(row + (g << 3));
    w_more[i] = words_at(row + (g << 3) + 4u);
    fetch_scale(i, row + (n_inner >> 2), g);
}

void put_w(uint i, uint at) {
    f16vec2 d = scales_of(i);
    uvec4 a = w_codes[i] ^ 0x80808080u, b = w_more[i] ^ 0x80808080u;
    put_octets(at, uvec2(a.x, b.x), uvec2(a.y, b.y), d);
    put_octets(behind(at, 1u), uvec2(a.z, b.z), uvec2(a.w, b.w), d);
}

#else

// two words of quads a, two of quads b
void fetch_w(uint i, uint row, uint g, uint part) {
    uint at = row + (g << 3) + (part << 1);
    w_codes[i] = uvec4(word_at(at), word_at(at + 1u), word_at(at + 4u), word_at(at + 5u));
    fetch_scale(i, row + (n_inner >> 2), g);
}

void put_w(uint i, uint at) {
    uvec4 c = w_codes[i] ^ 0x80808080u;
    put_octets(at, uvec2(c.x, c.z), uvec2(c.y, c.w), scales_of(i));
}

#endif

#else

// The codes of a word's low halves of bytes, and of its high ones.
uvec2 both(uint word) {
#if defined(TYPE_IQ4_NL)
    return both_values(word) ^ 0x80808080u;
#else
    return uvec2(word, word >> 4);
#endif
}

void fetch_w(uint i, uint row, uint g, uint part) {
#if defined(BY_GROUPS)
    w_codes[i] = words_at(row + (g << 2));
#else
    uint at = row + (g << 2) + (part << 1);
    w_codes[i] = uvec4(word_at(at), word_at(at + 1u), 0u, 0u);
#endif
    fetch_scale(i, row + (n_inner >> 3), g);
}

void put_w(uint i, uint at) {
    f16vec2 d = scales_of(i);
    put_octets(at, both(w_codes[i].x), both(w_codes[i].y), d);
#if defined(BY_GROUPS)
    put_octets(behind(at, 1u), both(w_codes[i].z), both(w_codes[i].w), d);
#endif
}

#endif

#elif defined(TYPE_Q4_K) || defined(TYPE_Q5_K)

uvec4 w_codes[W_SLOTS], w_heads[W_SLOTS];
uint w_groups[W_SLOTS];

uint pair_halves(uint codes, f16vec2 d, f16vec2 m) {
    return packFloat2x16(fma(unpackFloat2x16(codes | 0x64006400u) - float16_t(1024.0), d, m));
}

// fifths: of each code's byte the lowest bit
uvec4 octet_halves(uvec2 c, uvec2 fifths, float d, float m) {
    f16vec2 dd = f16vec2(d), mm = f16vec2(m);
    uvec2 even = (c & 0x000f000fu) | (fifths & 0x00010001u) << 4;
    uvec2 odd = (c >> 8 & 0x000f000fu) | (fifths >> 8 & 0x00010001u) << 4;
    return uvec4(pair_halves(even.x, dd, mm), pair_halves(odd.x, dd, mm), pair_halves(even.y, dd, mm),
                 pair_halves(odd.y, dd, mm));
}

#if defined(TYPE_Q4_K)
#define FIFTHS(i) uvec4(0)
#else
uvec4 w_fifths[W_SLOTS];
#define FIFTHS(i) w_fifths[i]
#endif

void fetch_w(uint i, uint row, uint g, uint part) {
    uint block = row + (g >> 3) * BLOCK_WORDS;
    w_codes[i] = words_at(block + BLOCK_WORDS - 32u + ((g & 7u) << 2));
    w_heads[i] = words_at(block);
    w_groups[i] = g & 7u;
#if defined(TYPE_Q5_K)
    w_fifths[i] = words_at(block + 4u + ((g & 1u) << 2));
#endif
}

void put_w(uint i, uint at) {
    Scale s = scale_made(w_heads[i].x, w_heads[i].yzw, w_groups[i]);
    uvec4 a = w_codes[i], b = w_codes[i] >> 4;
    uvec4 fifths = FIFTHS(i) >> (w_groups[i] >> 1 << 1), after = fifths >> 1;
    tile[at] = octet_halves(a.xy, fifths.xy, s.d.x, s.m.x);
    tile[behind(at, 1u)] = octet_halves(a.zw, fifths.zw, s.d.x, s.m.x);
    tile[behind(at, 2u)] = octet_halves(b.xy, after.xy, s.d.y, s.m.y);
    tile[behind(at, 3u)] = octet_halves(b.zw, after.zw, s.d.y, s.m.y);
}

#elif defined(TYPE_Q6_K)

uvec3 w_scales[W_SLOTS];
uint w_groups[W_SLOTS];

uint pair_halves(uint low, uint high, f16vec2 d) {
    uint codes = (low & 0x000f000fu) | (high & 0x00030003u) << 4 | 0x64006400u;
    return packFloat2x16((unpackFloat2x16(codes) - float16_t(1056.0)) * d);
}

uvec4 octet_halves(uvec2 low, uvec2 high, float scale) {
    f16vec2 d = f16vec2(scale);
    return uvec4(pair_halves(low.x, high.x, d), pair_halves(low.x >> 8, high.x >> 8, d), pair_halves(low.y, high.y, d),
                 pair_halves(low.y >> 8, high.y >> 8, d));
}

void fetch_scales(uint i, uint row, uint g) {
    uint scales = row + (g >> 3) * BLOCK_WORDS + 48u + ((g & 7u) >> 2) * 2u;
    uint d = row + (n_inner >> 8) * BLOCK_WORDS + (g >> 4);
    w_scales[i] = uvec3(word_at(scales), word_at(scales + 1u), word_at(d));
    w_groups[i] = g;
}

vec2 scales_of(uint i) {
    uint shift = 24u - ((w_groups[i] & 3u) << 3);
    float d = f16_to_f32(half_of(w_scales[i].z, w_groups[i] >> 3));
    return d * vec2(int(w_scales[i].x << shift) >> 24, int(w_scales[i].y << shift) >> 24);
}

#if defined(BY_GROUPS)

uvec4 w_codes[W_SLOTS], w_high[W_SLOTS];

void fetch_w(uint i, uint row, uint g, uint part) {
    uint block = row + (g >> 3) * BLOCK_WORDS, r = (g & 7u) << 2;
    w_codes[i] = words_at(block + r);
    w_high[i] = words_at(block + 32u + (r >> 4) * 8u + (r & 7u));
    fetch_scales(i, row, g);
}

void put_w(uint i, uint at) {
    vec2 s = scales_of(i);
    uvec4 a = w_codes[i], b = w_codes[i] >> 4, c = w_high[i] >> ((w_groups[i] >> 1 & 1u) << 1), d = c >> 4;
    tile[at] = octet_halves(a.xy, c.xy, s.x);
    tile[behind(at, 1u)] = octet_halves(a.zw, c.zw, s.x);
    tile[behind(at, 2u)] = octet_halves(b.xy, d.xy, s.y);
    tile[behind(at, 3u)] = octet_halves(b.zw, d.zw, s.y);
}

#else

uvec4 w_codes[W_SLOTS];  // two words of low bits, two of high ones

void fetch_w(uint i, uint row, uint g, uint part) {
    uint block = row + (g >> 3) * BLOCK_WORDS, r = ((g & 7u) << 2) + (part << 1);
    uint high = block + 32u + (r >> 4) * 8u + (r & 7u);
    w_codes[i] = uvec4(word_at(block + r), word_at(block + r + 1u), word_at(high), word_at(high + 1u));
    fetch_scales(i, row, g);
}

void put_w(uint i, uint at) {
    vec2 s = scales_of(i);
    uvec2 low = w_codes[i].xy, high = w_codes[i].zw >> ((w_groups[i] >> 1 & 1u) << 1);
    tile[at] = octet_halves(low, high, s.x);
    tile[behind(at, 2u)] = octet_halves(low >> 4, high >> 4, s.y);
}

#endif

#elif defined(PLAIN) && defined(BY_GROUPS)

uvec4 w_numbers[4u * W_SLOTS];

#if defined(TYPE_F32)

void fetch_w(uint i, uint row, uint g, uint part) {
    uint at = row + (g << 5) + (part << 3);
    w_numbers[4u * i] = words_at(at);
    w_numbers[4u * i + 1u] = words_at(at + 4u);
    w_numbers[4u * i + 2u] = words_at(at + OCTET_STEP);
    w_numbers[4u * i + 3u] = words_at(at + OCTET_STEP + 4u);
}

void put_w(uint i, uint at) {
    [[unroll]] for (uint j = 0u; j < 2u; j++) {
        vec4 a = as_floats(w_numbers[4u * i + 2u * j]), b = as_floats(w_numbers[4u * i + 2u * j + 1u]);
        tile[behind(at, 2u * j)] = uvec4(halves(a), halves(b));
    }
}

#else

void fetch_w(uint i, uint row, uint g, uint part) {
    uint at = (row + (g << 5)) >> 1;
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        w_numbers[4u * i + j] = words_at(at + 4u * j);
    }
}

uvec2 quad_halves(uint a, uint b) {
#if defined(TYPE_F16)
    return uvec2((a & 0xffffu) | b << 16, a >> 16 | (b & 0xffff0000u));
#else
    return halves(as_floats(uvec4(a << 16, a & 0xffff0000u, b << 16, b & 0xffff0000u)));
#endif
}

void put_w(uint i, uint at) {
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
        uvec4 w = w_numbers[4u * i + j];
        tile[behind(at, j)] = uvec4(quad_halves(w.x, w.y), quad_halves(w.z, w.w));
    }
}

#endif

#elif defined(GROUP_WORDS)

uvec4 w_words[W_SLOTS];
float w_d[W_SLOTS];
uint w_octets[W_SLOTS];  // in the block

void fetch_w(uint i, uint row, uint g, uint part) {
    w_words[i] = group_words(row, g);
    w_d[i] = d_of(row, n_inner, g);
    w_octets[i] = ((g & 7u) << 2) + (part << 1);
}

uvec2 quad_halves(uint codes, float d) {
    return halves((bytes(codes) - CODE_OFFSET) * d);
}

void put_w(uint i, uint at) {
    uint j = w_octets[i] & 3u;
    Scale s = scale_made(w_words[i], w_d[i], w_octets[i] >> 2);
    uvec2 first = packed_made(w_words[i], j), second = packed_made(w_words[i], j + 1u);
    tile[at] = uvec4(quad_halves(first.x, s.d.x), quad_halves(second.x, s.d.x));
    tile[behind(at, 2u)] = uvec4(quad_halves(first.y, s.d.y), quad_halves(second.y, s.d.y));
}

#else

uvec4 w_next[2u * W_SLOTS];

void fetch_w(uint i, uint row, uint g, uint part) {
    Scale s = scale_of(row, n_inner, g);
    uint octet = (g << 2) + (part << 1);
    Octet a = scaled(codes_of(row, octet), s), b = scaled(codes_of(row, octet + 1u), s);
    w_next[2u * i] = uvec4(halves(a.a), halves(b.a));
    w_next[2u * i + 1u] = uvec4(halves(a.b), halves(b.b));
}

void put_w(uint i, uint at) {
    tile[at] = w_next[2u * i];
    tile[behind(at, 2u)] = w_next[2u * i + 1u];
}

#endif
