// y = x as type DST, element by element, any layouts. -DSRC, -DDST: elements.glsl.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "walk.glsl"

layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) buffer Y { uint y[]; };
layout(push_constant) uniform Push { WALK STRIDES(x) STRIDES(y) } p;

#include "elements.glsl"

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
        uint at = AT(x, c);
        STORE(AT(y, c), LOAD(x, at));
    }
}
