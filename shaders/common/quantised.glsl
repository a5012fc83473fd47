// Floats to blocks of Q8_0 as ggml makes them: d = max |x| / 127 as a half, codes x / d rounded, halves away from 0. A block
// with a number that is not finite gets a d that is none.

#ifndef QUANTISED_GLSL
#define QUANTISED_GLSL
#include "numbers.glsl"

// The largest |x| of the 32 numbers X(first), X(first + 1), ..., as bits, by which NaN is larger than infinity.
#define FIND_LARGEST(largest, X, first)                                        \
    uint largest = 0u;                                                         \
    [[dont_unroll]] for (uint j = 0u; j < 32u; j++) {                          \
        largest = max(largest, floatBitsToUint(X((first) + j)) & 0x7fffffffu); \
    }

uint scale_bits(uint largest) {
    return f32_to_f16(uintBitsToFloat(largest) / 127.0);
}

// What numbers are multiplied with; 0 where they come to nothing.
float inverse_of(uint largest) {
    bool counts = (scale_bits(largest) & 0x7fffu) != 0u && largest < 0x7f800000u;
    return counts ? 1.0 / (uintBitsToFloat(largest) / 127.0) : 0.0;
}

int code_of(float x, float inverse) {
    float v = inverse > 0.0 ? x * inverse : 0.0;
    return int(min(floor(abs(v) + 0.5), 127.0)) * (v < 0.0 ? -1 : 1);
}

uint codes_of(float a, float b, float c, float d, float inverse) {
    uint low = uint(code_of(a, inverse)) & 255u, second = uint(code_of(b, inverse)) & 255u;
    uint third = uint(code_of(c, inverse)) & 255u, high = uint(code_of(d, inverse)) & 255u;
    return low | second << 8 | third << 16 | high << 24;
}

// Word w of a head (or row) whose codes start at word `to` of the words y, and its block's scale, which stands `shift` halves
// behind (cached.glsl); its neighbour in the word may be another invocation's.
#define PUT_CODES(y, to, w, shift, X)                                                             \
    {                                                                                             \
        FIND_LARGEST(largest, X, (w) / 8u * 32u)                                                  \
        float inverse = inverse_of(largest);                                                      \
        uint e = 4u * (w);                                                                        \
        y[(to) + (w)] = codes_of(X(e), X(e + 1u), X(e + 2u), X(e + 3u), inverse);                 \
        if ((w) % 8u == 0u) {                                                                     \
            uint half_ = (shift) + (w) / 8u, places = (half_ & 1u) << 4, at = (to) + (half_ >> 1); \
            atomicAnd(y[at], ~(0xffffu << places));                                               \
            atomicOr(y[at], scale_bits(largest) << places);                                       \
        }                                                                                         \
    }

#endif
