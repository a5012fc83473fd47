// y = a where which[0] is 0, else b; any layouts.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "walk.glsl"

layout(std430, binding = 0) readonly buffer A { float a[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
layout(std430, binding = 2) buffer Y { float y[]; };
layout(std430, binding = 3) readonly buffer Which { int which[]; };
layout(push_constant) uniform Push { WALK STRIDES(a) STRIDES(b) STRIDES(y) uint which_at; } p;

void main() {
    bool first = which[p.which_at] == 0;
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
        y[AT(y, c)] = first ? a[AT(a, c)] : b[AT(b, c)];
    }
}
