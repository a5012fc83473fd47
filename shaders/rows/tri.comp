// y = a triangle of the last two axes of x, zero elsewhere; any layouts.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "walk.glsl"

layout(constant_id = 3) const uint LOWER = 1;
layout(constant_id = 4) const uint DIAGONAL = 1;
layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) buffer Y { uint y[]; };
layout(push_constant) uniform Push { WALK STRIDES(x) STRIDES(y) } p;

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
        bool keep = LOWER != 0u ? c.w < c.z : c.w > c.z;
        keep = keep || (DIAGONAL != 0u && c.w == c.z);
        y[AT(y, c)] = keep ? x[AT(x, c)] : 0u;
    }
}
