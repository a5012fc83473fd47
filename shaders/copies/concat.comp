// y = a, then b from coordinate `split` of axis AXIS on; any layouts. -DSRC, -DDST: elements.glsl.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "walk.glsl"

layout(constant_id = 3) const uint AXIS = 3;
layout(std430, binding = 0) readonly buffer A { uint a[]; };
layout(std430, binding = 1) readonly buffer B { uint b[]; };
layout(std430, binding = 2) buffer Y { uint y[]; };
layout(push_constant) uniform Push { WALK STRIDES(a) STRIDES(b) STRIDES(y) uint split; } p;

#include "elements.glsl"

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
        uint at_y = AT(y, c), bits;
        if (c[AXIS] < p.split) {
            uint at = AT(a, c);
            bits = LOAD(a, at);
        } else {
            c[AXIS] -= p.split;
            uint at = AT(b, c);
            bits = LOAD(b, at);
        }
        STORE(at_y, bits);
    }
}
