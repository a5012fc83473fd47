// Loops around what a subgroup does together: drivers' compilers of SPIR-V may leave such a loop as one, whatever it asks
// for, and what it counts through is then in memory and not in registers. So for them it is written out.

#ifndef EACH_GLSL
#define EACH_GLSL

// f(0u) to f(n - 1u), of at most 8. n: a constant.
#if defined(TEXT)
#define EACH_TO_8(n, f) [[unroll]] for (uint each_ = 0u; each_ < (n); each_++) { f(each_); }
#else
#define EACH_TO_8(n, f)            \
    if ((n) > 0u) { f(0u); }       \
    if ((n) > 1u) { f(1u); }       \
    if ((n) > 2u) { f(2u); }       \
    if ((n) > 3u) { f(3u); }       \
    if ((n) > 4u) { f(4u); }       \
    if ((n) > 5u) { f(5u); }       \
    if ((n) > 6u) { f(6u); }       \
    if ((n) > 7u) { f(7u); }
#endif

#endif
