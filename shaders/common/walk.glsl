// Walks the elements of up to four axes of any strides: one invocation takes PER elements of the flat count.
// walk.py makes the push constants; the shader's block is called `p` and holds WALK and a STRIDES a tensor.

#ifndef WALK_GLSL
#define WALK_GLSL
#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint AXES = 4;  // the axes in use, the last ones
layout(constant_id = 2) const uint PER = 1;

// Axes 1, 2, 3 have their size, and the two numbers by which fast_div divides; shifts are bytes.
#define WALK uint count, size1, size2, size3, magic1, magic2, magic3, shifts;
#define STRIDES(t) uint t##_0, t##_1, t##_2, t##_3, t##_at;
#define AT(t, c) (p.t##_at + c.x * p.t##_0 + c.y * p.t##_1 + c.z * p.t##_2 + c.w * p.t##_3)
#define COORDINATES(i) unravel(i, uvec3(p.size1, p.size2, p.size3), uvec3(p.magic1, p.magic2, p.magic3), p.shifts)

uvec4 unravel(uint i, uvec3 size, uvec3 magic, uint shifts) {
    uvec4 c = uvec4(0u, 0u, 0u, i);
    if (AXES > 1u) {
        c.z = fast_div(i, magic.z, (shifts >> 16) & 255u);
        c.w = i - c.z * size.z;
    }
    if (AXES > 2u) {
        uint rest = c.z;
        c.y = fast_div(rest, magic.y, (shifts >> 8) & 255u);
        c.z = rest - c.y * size.y;
    }
    if (AXES > 3u) {
        uint rest = c.y;
        c.x = fast_div(rest, magic.x, shifts & 255u);
        c.y = rest - c.x * size.x;
    }
    return c;
}

// The elements of this invocation: `EACH_ELEMENT(i) {}`. The end is not known when the pipeline is made, since software
// drivers that unroll the loop take seconds to compile it.
#define EACH_ELEMENT(i) for (uint i = first_element(), end_ = last_element(p.count); i < end_; i += gl_WorkGroupSize.x)

uint first_element() {
    return group_index() * gl_WorkGroupSize.x * PER + gl_LocalInvocationIndex;
}

uint last_element(uint count) {
    return min((group_index() + 1u) * gl_WorkGroupSize.x * PER, count);
}

#endif
