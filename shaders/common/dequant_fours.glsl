// Codes of codebook.glsl in blocks of 256 (IQ4_XS) and of 64 (NVFP4), 4 words for each group of 32. Device rows: the
// groups, then of each block
//     IQ4_XS  two words: d, then two high bits of scale a group; four low bits a group
//     NVFP4   two words: scales of runs of 16 as E4M3 without a sign, then a factor
// Words of codes have IQ4_XS's elements j in low and j + 16 in high halves of bytes j, NVFP4's j and j + 8 of a run.

#define HAS_SCALE
#if defined(TYPE_IQ4_XS)
#define ONE_SCALE
#endif
const uint OCTET_STEP = 16u;

#include "codebook.glsl"

uint group_at(uint g) {
    return g << 5;
}

#if defined(TYPE_IQ4_XS)

Scale scale_made(uvec2 head, uint group) {
    uint g = group & 7u, s = head.y >> (g << 2) & 15u | (head.x >> (16u + (g << 1)) & 3u) << 4;
    return Scale(vec2(f16_to_f32(head.x & 0xFFFFu) * float(int(s) - 32)), vec2(0));
}

uvec2 head_of(uint row, uint n_inner, uint g) {
    uint at = row + (n_inner >> 3) + (g >> 3 << 1);
    return uvec2(word_at(at), word_at(at + 1u));
}

Octet octet_made(uvec4 codes, uint j) {
    return both_halves(codes[j]);
}

Octet codes_of(uint row, uint i) {
    return both_halves(word_at(row + i));
}

#else

// Half of E4M3's value, since codes are doubled; 0x7F is none.
float small_scale(uint e) {
    uint exponent = e >> 3 & 15u, mantissa = e & 7u;
    float normal = uintBitsToFloat((exponent + 119u) << 23 | mantissa << 20);
    return e == 127u ? 0.0 : exponent == 0u ? float(mantissa) * 0.0009765625 : normal;
}

Scale scale_made(uvec2 head, uint g) {
    uint two = head.x >> ((g & 1u) << 4);
    return Scale(uintBitsToFloat(head.y) * vec2(small_scale(two & 255u), small_scale(two >> 8 & 255u)), vec2(0));
}

uvec2 head_of(uint row, uint n_inner, uint g) {
    uint at = row + (n_inner >> 3) + (g & ~1u);
    return uvec2(word_at(at), word_at(at + 1u));
}

// Of the words of runs a and b.
Octet octet_of_runs(uint a, uint b, bool is_high) {
    Octet first = both_halves(a), second = both_halves(b);
    return is_high ? Octet(first.b, second.b) : Octet(first.a, second.a);
}

Octet octet_made(uvec4 codes, uint j) {
    uint at = j & 1u;
    return octet_of_runs(codes[at], codes[at + 2u], j > 1u);
}

Octet codes_of(uint row, uint i) {
    uint at = row + (i & ~3u) + (i & 1u);
    return octet_of_runs(word_at(at), word_at(at + 2u), (i & 2u) != 0u);
}

#endif

Scale scale_of(uint row, uint n_inner, uint g) {
    return scale_made(head_of(row, n_inner, g), g);
}
