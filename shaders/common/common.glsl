// Shared by every kernel: which workgroup this is, division by a number known on the host, IEEE tests by bits.
// A kernel that includes it starts with: #version 450, #extension GL_GOOGLE_include_directive : require

#ifndef COMMON_GLSL
#define COMMON_GLSL

// A kernel that calls it reads nothing but weights before: where kernels may be started before those that they depend on
// have ended, it waits there and not at its entry.
#if !defined(TEXT)
#define await_inputs()
#endif

// Workgroups of a grid made by kernel.grid_of, counted along x, then y. The last ones may lie beyond the work.
uint group_index() {
    return gl_WorkGroupID.x + gl_WorkGroupID.y * gl_NumWorkGroups.x;
}

// n / d for n < 2^31 and d >= 1, with shift = ceil(log2(d)) and magic = floor(2^32 (2^shift - d) / d) + 1
// (Granlund & Montgomery, 1994): integer division is dear on phones and on CPUs.
uint fast_div(uint n, uint magic, uint shift) {
    uint high, low;
    umulExtended(n, magic, high, low);
    return (high + n) >> shift;
}

// By bits, since compilers may assume that no NaN occurs.
bool is_nan(float x) {
    return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u;
}

bool is_finite(float x) {
    return (floatBitsToUint(x) & 0x7fffffffu) < 0x7f800000u;
}

// x with NaN and infinity kept whatever min and max do with them on a driver.
float select_nan(float x, float y) {
    return is_nan(x) ? x : y;
}

#define INFINITY uintBitsToFloat(0x7f800000u)

#endif
