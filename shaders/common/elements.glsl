// Elements of type SRC read as the bits of type DST, and written. F32 is any 32-bit type and F16 any 16-bit one where
// SRC == DST, which copies bits; what is read to become Q8_0 is a float's bits. Includer: -DSRC, -DDST, a buffer of words `y` for STORE.

#ifndef ELEMENTS_GLSL
#define ELEMENTS_GLSL
#include "numbers.glsl"

#define F32 1
#define F16 2
#define BF16 3
#define Q8_0 4

#if SRC == F32
#define WORD(words, i) words[i]
#else
#define WORD(words, i) words[(i) >> 1]
#endif
#define LOAD(words, i) convert(WORD(words, i), i)

uint convert(uint word, uint i) {
#if SRC == DST && SRC == F32
    return word;
#elif SRC == DST
    return half_of(word, i);
#else
#if SRC == F32
    float value = uintBitsToFloat(word);
#elif SRC == F16
    float value = f16_to_f32(half_of(word, i));
#else
    float value = bf16_to_f32(half_of(word, i));
#endif
#if DST == F32 || DST == Q8_0
    return floatBitsToUint(value);
#elif DST == F16
    return f32_to_f16(value);
#else
    return f32_to_bf16(value);
#endif
#endif
}

// A word may hold a neighbour's half, which another invocation or dispatch may be writing: hence atomics.
#if DST == F32
#define STORE(i, bits) y[i] = bits
#else
#define STORE(i, bits) store_half(i, bits)
void store_half(uint i, uint bits) {
    uint shift = (i & 1u) << 4;
    atomicAnd(y[i >> 1], ~(0xffffu << shift));
    atomicOr(y[i >> 1], bits << shift);
}
#endif

#endif
