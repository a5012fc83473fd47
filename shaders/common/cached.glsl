// Numbers of caches: fp32; -DHALVES: fp16, two in a word; -DQUANTS: Q8_0, a row's bytes, four in a word, and behind them
// for each 32 the half that scales them. A buffer is one of PACKs of N_PACK numbers or of QUADs. Kernels that read keys of
// one type and values of another have all that with K_ and V_ in front; with QUANTS they count places in words, else in
// numbers, and have in k_shift and v_shift where the scales of the head stand (shift_of).

#ifndef CACHED_GLSL
#define CACHED_GLSL
#include "numbers.glsl"

vec4 four_bytes(uint word) {
    return vec4(int(word) << 24 >> 24, int(word) << 16 >> 24, int(word) << 8 >> 24, int(word) >> 24);
}

float scale_in(uint word, uint i) {
    return f16_to_f32(half_of(word, i));
}

// Of the head that starts at number `first` of rows whose scales start at word `scales`: from its first word, in halves.
uint shift_of(uint scales, uint first) {
    return 2u * (scales - first / 4u) + first / 32u;
}

#define SCALE_AT(x, at, i) scale_in(x[(at) + ((i) >> 1)], i)
#define BYTES_AT(x, at, shift, i) (four_bytes(x[(at) + (i)]) * SCALE_AT(x, at, (shift) + ((i) >> 3)))
#define FOUR_HALVES(quad) vec4(unpackHalf2x16((quad).x), unpackHalf2x16((quad).y))

#if defined(QUANTS)
#define PACK uint
#define N_PACK 4u
#elif defined(HALVES)
#define PACK uint
#define N_PACK 2u
#else
#define PACK float
#define N_PACK 1u
#endif

#if defined(K_QUANTS)
#define K_PACK uint
#define K_QUAD uint
#define K_N_PACK 4u
#define K_NUMBERS vec4
#define K_FIRST(n) ((n) / 4u)
#define K_PACK_AT(at) (at)
#define K_QUAD_AT(at) (at)
#define K_NUMBERS_OF(at, i) BYTES_AT(k, at, k_shift, i)
#define K_FOUR_OF(at, i) BYTES_AT(k, at, k_shift, i)
#elif defined(K_HALVES)
#define K_PACK uint
#define K_QUAD uvec2
#define K_N_PACK 2u
#define K_NUMBERS vec2
#define K_FIRST(n) (n)
#define K_PACK_AT(at) ((at) / 2u)
#define K_QUAD_AT(at) ((at) >> 2)
#define K_NUMBERS_OF(at, i) unpackHalf2x16(k[(at) + (i)])
#define K_FOUR_OF(at, i) FOUR_HALVES(k[(at) + (i)])
#else
#define K_PACK float
#define K_QUAD vec4
#define K_N_PACK 1u
#define K_NUMBERS float
#define K_FIRST(n) (n)
#define K_PACK_AT(at) (at)
#define K_QUAD_AT(at) ((at) >> 2)
#define K_NUMBERS_OF(at, i) k[(at) + (i)]
#define K_FOUR_OF(at, i) k[(at) + (i)]
#endif

#if defined(V_QUANTS)
#define V_PACK uint
#define V_QUAD uint
#define V_N_PACK 4u
#define V_NUMBERS vec4
#define V_FIRST(n) ((n) / 4u)
#define V_PACK_AT(at) (at)
#define V_QUAD_AT(at) (at)
#define V_NUMBERS_OF(at, i) BYTES_AT(v, at, v_shift, i)
#define V_FOUR_OF(at, i) BYTES_AT(v, at, v_shift, i)
#elif defined(V_HALVES)
#define V_PACK uint
#define V_QUAD uvec2
#define V_N_PACK 2u
#define V_NUMBERS vec2
#define V_FIRST(n) (n)
#define V_PACK_AT(at) ((at) / 2u)
#define V_QUAD_AT(at) ((at) >> 2)
#define V_NUMBERS_OF(at, i) unpackHalf2x16(v[(at) + (i)])
#define V_FOUR_OF(at, i) FOUR_HALVES(v[(at) + (i)])
#else
#define V_PACK float
#define V_QUAD vec4
#define V_N_PACK 1u
#define V_NUMBERS float
#define V_FIRST(n) (n)
#define V_PACK_AT(at) (at)
#define V_QUAD_AT(at) ((at) >> 2)
#define V_NUMBERS_OF(at, i) v[(at) + (i)]
#define V_FOUR_OF(at, i) v[(at) + (i)]
#endif

#endif
