// y = x with zeros around: x starts at coordinates `before` and has sizes `n`; any layouts.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "walk.glsl"

layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) buffer Y { uint y[]; };
layout(push_constant) uniform Push {
    WALK STRIDES(x) STRIDES(y)
    uint n0, n1, n2, n3, before0, before1, before2, before3;
} p;

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
        uint at_y = AT(y, c);
        c -= uvec4(p.before0, p.before1, p.before2, p.before3);  // wraps to a large number before x
        bool inside = all(lessThan(c, uvec4(p.n0, p.n1, p.n2, p.n3)));
        y[at_y] = inside ? x[AT(x, c)] : 0u;
    }
}
