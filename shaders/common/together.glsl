// What a subgroup sums up, by exchanges: drivers' compilers of SPIR-V make of subgroupAdd() two ways, of whole subgroups and
// of others, and for the second keep with every branch on the way there a mask of who takes it.

#ifndef TOGETHER_GLSL
#define TOGETHER_GLSL

#if defined(TEXT)
#define sum_of_all(x) subgroupAdd(x)
#else
#define ADD_OTHERS(bits)                       \
    if (n > (bits)) {                          \
        x += subgroupShuffleXor(x, (bits));    \
    }

// Every invocation of a subgroup gets it. Included behind the size of a workgroup, which is whole subgroups, or less than
// one and a power of two.
float sum_of_all(float x) {
    uint n = min(gl_SubgroupSize, gl_WorkGroupSize.x);
    ADD_OTHERS(1u)
    ADD_OTHERS(2u)
    ADD_OTHERS(4u)
    ADD_OTHERS(8u)
    ADD_OTHERS(16u)
    ADD_OTHERS(32u)
    ADD_OTHERS(64u)
    return x;
}
#endif

#endif
