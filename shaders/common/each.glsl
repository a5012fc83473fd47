// Loops around what a subgroup does together: drivers' compilers of SPIR-V may leave such a loop as one, whatever it asks
// for, and what it counts through is then in memory and not in registers. So for them it is written out.

#ifndef EACH_GLSL
#define EACH_GLSL

// f(0u) to f(n - 1u), of at most 8 or 32. n: a constant.
#if defined(TEXT)
#define EACH_TO_8(n, f) [[unroll]] for (uint each_ = 0u; each_ < (n); each_++) { f(each_); }
#define EACH_TO_32(n, f) EACH_TO_8(n, f)
#else
#define EACH_EIGHT(first, n, f)                       \
    if ((n) > first) { f(first); }                    \
    if ((n) > first + 1u) { f(first + 1u); }          \
    if ((n) > first + 2u) { f(first + 2u); }          \
    if ((n) > first + 3u) { f(first + 3u); }          \
    if ((n) > first + 4u) { f(first + 4u); }          \
    if ((n) > first + 5u) { f(first + 5u); }          \
    if ((n) > first + 6u) { f(first + 6u); }          \
    if ((n) > first + 7u) { f(first + 7u); }
#define EACH_TO_8(n, f) EACH_EIGHT(0u, n, f)
#define EACH_TO_32(n, f) EACH_EIGHT(0u, n, f) EACH_EIGHT(8u, n, f) EACH_EIGHT(16u, n, f) EACH_EIGHT(24u, n, f)
#endif

#endif
