// 16-bit numbers in 32-bit words, without 16-bit types. By integer code where drivers may flush denormals.

#ifndef NUMBERS_GLSL
#define NUMBERS_GLSL

#if !defined(TEXT)
layout(constant_id = 100) const uint KEEPS_DENORMALS = 0u;  // not the kernel's, but the device's: see shaders/denormals.py
#endif

// The 16 bits of element i of an array of halves kept in words: `half_of(words[i >> 1], i)`.
uint half_of(uint word, uint i) {
    return (i & 1u) == 0u ? word & 0xffffu : word >> 16;
}

// Exact. Denormals: a 10-bit integer times 2^-24. Without branches, which a SIMD machine would walk all of.
float f16_to_f32(uint h) {
#if defined(TEXT)
    return unpackHalf2x16(h).x;  // whose preludes keep denormals
#else
    if (KEEPS_DENORMALS != 0u) {
        return unpackHalf2x16(h).x;
    }
    uint sign = (h & 0x8000u) << 16, exponent = h & 0x7c00u;
    uint bits = ((h & 0x7fffu) << 13) + (exponent == 0x7c00u ? 0x70000000u : 0x38000000u);
    bits = exponent == 0u ? floatBitsToUint(float(h & 0x3ffu) * 5.9604644775390625e-8) : bits;
    return uintBitsToFloat(sign | bits);
#endif
}

// Of both halves of a word.
vec2 f16s_to_f32(uint word) {
#if defined(TEXT)
    return unpackHalf2x16(word);
#else
    if (KEEPS_DENORMALS != 0u) {
        return unpackHalf2x16(word);
    }
    return vec2(f16_to_f32(word & 0xFFFFu), f16_to_f32(word >> 16));
#endif
}

// To nearest even; what is too large becomes infinity, NaN stays NaN.
uint f32_to_f16(float x) {
    uint bits = floatBitsToUint(x), a = bits & 0x7fffffffu;
    uint h = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
    uint m = (a & 0x7fffffu) | 0x800000u, shift = uint(clamp(126 - int(a >> 23), 1, 31));  // denormal: m / 2^shift
    uint tiny = (m + (1u << (shift - 1u)) - 1u + ((m >> shift) & 1u)) >> shift;
    h = a < 0x38800000u ? tiny : h;  // 2^-14, the smallest normal
    h = a >= 0x477ff000u ? 0x7c00u : h;  // 65520, from where on all round to infinity
    h = a > 0x7f800000u ? 0x7e00u | ((a >> 13) & 0x1ffu) : h;
    return ((bits >> 16) & 0x8000u) | h;
}

float bf16_to_f32(uint h) {
    return uintBitsToFloat(h << 16);
}

// To nearest even; NaN stays NaN.
uint f32_to_bf16(float x) {
    uint bits = floatBitsToUint(x), rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded;
}

#endif
