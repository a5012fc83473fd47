// y = x tiled: x at the coordinates modulo its sizes; any layouts. -DSRC, -DDST: elements.glsl.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "walk.glsl"

layout(constant_id = 3) const uint TILED = 15;  // bit a: axis a repeats, by more than a stride of 0 could do
layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) buffer Y { uint y[]; };
layout(push_constant) uniform Push { WALK STRIDES(x) STRIDES(y) uint n0, n1, n2, n3; } p;

#include "elements.glsl"

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
        uint at_y = AT(y, c);
        if ((TILED & 1u) != 0u) c.x %= p.n0;
        if ((TILED & 2u) != 0u) c.y %= p.n1;
        if ((TILED & 4u) != 0u) c.z %= p.n2;
        if ((TILED & 8u) != 0u) c.w %= p.n3;
        uint at = AT(x, c);
        STORE(at_y, LOAD(x, at));
    }
}
