// Numbers of caches: fp32, or with -DHALVES fp16, two in a word. A buffer of them is one of PACKs of N_PACK or of QUADs.

#ifndef CACHED_GLSL
#define CACHED_GLSL

#ifdef HALVES
#define PACK uint
#define QUAD uvec2
#define N_PACK 2u
#define NUMBERS vec2
#define NUMBERS_OF(pack) unpackHalf2x16(pack)
#define FOUR_OF(quad) vec4(unpackHalf2x16((quad).x), unpackHalf2x16((quad).y))
#define SUM_OF(numbers) ((numbers).x + (numbers).y)
#else
#define PACK float
#define QUAD vec4
#define N_PACK 1u
#define NUMBERS float
#define NUMBERS_OF(pack) (pack)
#define FOUR_OF(quad) (quad)
#define SUM_OF(numbers) (numbers)
#endif

#endif
