// 16-bit numbers in 32-bit words, without 16-bit types. By integer code, since drivers may flush denormals.

#ifndef NUMBERS_GLSL
#define NUMBERS_GLSL

// The 16 bits of element i of an array of halves kept in words: `half_of(words[i >> 1], i)`.
uint half_of(uint word, uint i) {
    return (i & 1u) == 0u ? word & 0xffffu : word >> 16;
}

// Exact. Denormals: a 10-bit integer times 2^-24.
float f16_to_f32(uint h) {
    uint sign = (h & 0x8000u) << 16, exponent = h & 0x7c00u, fraction = h & 0x3ffu;
    if (exponent == 0u) {
        return uintBitsToFloat(sign | floatBitsToUint(float(fraction) * 5.9604644775390625e-8));
    }
    uint bits = exponent == 0x7c00u ? 0x7f800000u | fraction << 13 : ((h & 0x7fffu) << 13) + 0x38000000u;
    return uintBitsToFloat(sign | bits);
}

// To nearest even; what is too large becomes infinity, NaN stays NaN.
uint f32_to_f16(float x) {
    uint bits = floatBitsToUint(x), sign = (bits >> 16) & 0x8000u, a = bits & 0x7fffffffu;
    if (a > 0x7f800000u) {
        return sign | 0x7e00u | ((a >> 13) & 0x1ffu);
    }
    if (a >= 0x477ff000u) {  // 65520, from where on all round to infinity
        return sign | 0x7c00u;
    }
    if (a >= 0x38800000u) {  // 2^-14, the smallest normal
        return sign | ((a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13);
    }
    if (a < 0x33000000u) {  // 2^-25
        return sign;
    }
    uint shift = 126u - (a >> 23), m = (a & 0x7fffffu) | 0x800000u;  // the result is m / 2^shift, 14 <= shift <= 24
    uint kept = m >> shift, rest = m & ((1u << shift) - 1u), tie = 1u << (shift - 1u);
    return sign | (kept + uint(rest > tie || (rest == tie && (kept & 1u) == 1u)));
}

float bf16_to_f32(uint h) {
    return uintBitsToFloat(h << 16);
}

// To nearest even; NaN stays NaN.
uint f32_to_bf16(float x) {
    uint bits = floatBitsToUint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return (bits >> 16) | 0x40u;
    }
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

#endif
