// y = x, but src where the contiguous index lies in a region: offset + sum(coordinate * stride), coordinate < size.
// The region's axes come sorted, largest stride first, and each stride covers all axes after it, so that greedy division
// finds the coordinates. x, y and src have any layouts. -DSRC, -DDST: elements.glsl.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "walk.glsl"

layout(constant_id = 3) const uint REGION_AXES = 4;  // the axes in use, the last ones
layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) buffer Y { uint y[]; };
layout(std430, binding = 2) readonly buffer S { uint src[]; };
layout(push_constant) uniform Push {
    WALK STRIDES(x) STRIDES(y) STRIDES(src)
    uint size_0, size_1, size_2, size_3, stride_0, stride_1, stride_2, stride_3, offset;
} p;

#include "elements.glsl"

bool find(inout uint rest, out uint c, uint size, uint stride) {
    c = stride == 1u ? rest : rest / stride;
    rest -= c * stride;
    return c < size;
}

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
        uint rest = i - p.offset, bits, r0 = 0u, r1 = 0u, r2 = 0u, r3 = 0u;
        bool inside = i >= p.offset;
        if (REGION_AXES > 3u) inside = find(rest, r0, p.size_0, p.stride_0) && inside;
        if (REGION_AXES > 2u) inside = find(rest, r1, p.size_1, p.stride_1) && inside;
        if (REGION_AXES > 1u) inside = find(rest, r2, p.size_2, p.stride_2) && inside;
        inside = find(rest, r3, p.size_3, p.stride_3) && inside && rest == 0u;
        if (inside) {
            uvec4 r = uvec4(r0, r1, r2, r3);
            uint at = AT(src, r);
            bits = LOAD(src, at);
        } else {
            uint at = AT(x, c);
            bits = LOAD(x, at);
        }
        STORE(AT(y, c), bits);
    }
}
