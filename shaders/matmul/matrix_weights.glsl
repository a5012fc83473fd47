// Weights on their way from a buffer to shared memory as halves: an item is a group of a row (WIDE, by 16-byte loads),
// or half of one, two octets. fetch_w loads, put_w stores the quads a of octets from tile[at] on, quads b from
// tile[at + 2].
// QUAD: the order of four elements in shared memory, of x too. Codes become halves by bits: 0x6400 | q is 1024 + q.

#if defined(WIDE)
const uint W_PARTS = 1u;
#else
const uint W_PARTS = 2u;
#endif
const uint W_ITEMS = (TILE_ROWS * GROUPS * W_PARTS + LOCAL - 1u) / LOCAL;

#if defined(TYPE_Q4_0) || defined(TYPE_Q8_0)

#define QUAD(v) (v).xzyw
#if defined(TYPE_Q4_0)
const uint MASK = 0x000f000fu;
const float16_t ZERO = float16_t(1032.0);
#else
const uint MASK = 0x00ff00ffu;
const float16_t ZERO = float16_t(1152.0);
#endif

uvec4 w_codes[W_ITEMS];
uint w_scales[W_ITEMS];

uint pair_halves(uint codes, f16vec2 d) {
    return packFloat2x16((unpackFloat2x16((codes & MASK) | 0x64006400u) - ZERO) * d);
}

uvec2 quad_halves(uint codes, f16vec2 d) {
    return uvec2(pair_halves(codes, d), pair_halves(codes >> 8, d));
}

uvec4 octet_halves(uint a, uint b, f16vec2 d) {
    return uvec4(quad_halves(a, d), quad_halves(b, d));
}

#if defined(TYPE_Q4_0) && defined(WIDE)

#if !defined(WORDS_GIVEN)
layout(std430, binding = 0) readonly buffer WeightQuads {
    uvec4 w_quads[];
};

uvec4 words_at(uint i) {
    return w_quads[i >> 2];
}
#endif

void fetch_w(uint i, uint row, uint g, uint part) {
    w_codes[i] = words_at(row + (g << 2));
    w_scales[i] = half_at(row + (n_inner >> 3), g);
}

void put_w(uint i, uint at) {
    f16vec2 d = unpackFloat2x16(w_scales[i] * 0x10001u);
    uvec4 a = w_codes[i], b = w_codes[i] >> 4;
    tile[at] = octet_halves(a.x, a.y, d);
    tile[at + 1u] = octet_halves(a.z, a.w, d);
    tile[at + 2u] = octet_halves(b.x, b.y, d);
    tile[at + 3u] = octet_halves(b.z, b.w, d);
}

#else

// two words of quads a, two of quads b
void fetch_w(uint i, uint row, uint g, uint part) {
#if defined(TYPE_Q4_0)
    uint at = row + (g << 2) + (part << 1);
    w_codes[i].xy = uvec2(word_at(at), word_at(at + 1u));
    w_scales[i] = half_at(row + (n_inner >> 3), g);
#else
    uint at = row + (g << 3) + (part << 1);
    w_codes[i] = uvec4(word_at(at), word_at(at + 1u), word_at(at + 4u), word_at(at + 5u));
    w_scales[i] = half_at(row + (n_inner >> 2), g);
#endif
}

void put_w(uint i, uint at) {
    f16vec2 d = unpackFloat2x16(w_scales[i] * 0x10001u);
#if defined(TYPE_Q4_0)
    uvec4 c = uvec4(w_codes[i].xy, w_codes[i].xy >> 4);
#else
    uvec4 c = w_codes[i] ^ 0x80808080u;
#endif
    tile[at] = octet_halves(c.x, c.y, d);
    tile[at + 2u] = octet_halves(c.z, c.w, d);
}

#endif

#else

#define QUAD(v) (v)

uvec4 w_next[2u * W_ITEMS];

uvec4 halves_of(vec4 a, vec4 b) {
    return uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
}

void fetch_w(uint i, uint row, uint g, uint part) {
    Scale s = scale_of(row, n_inner, g);
    uint octet = (g << 2) + (part << 1);
    Octet a = scaled(codes_of(row, octet), s), b = scaled(codes_of(row, octet + 1u), s);
    w_next[2u * i] = halves_of(a.a, b.a);
    w_next[2u * i + 1u] = halves_of(a.b, b.b);
}

void put_w(uint i, uint at) {
    tile[at] = w_next[2u * i];
    tile[at + 2u] = w_next[2u * i + 1u];
}

#endif
