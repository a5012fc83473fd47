// y [B, 1, T, n_kv] = 0 where row s is of a position from 0 on: the last up to pos[b, t] that is s modulo n_kv; with a
// window only where that is > pos[b, t] - window. Else -inf; any layouts.
// VALID: y [B, T] = 1 where token t < n_valid[b], else 0.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "walk.glsl"

layout(std430, binding = 0) readonly buffer Pos { int pos[]; };
layout(std430, binding = 1) buffer Y { float y[]; };
layout(push_constant) uniform Push {
    WALK STRIDES(pos) STRIDES(y)
#ifndef VALID
    int window, n_kv;
#endif
} p;

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
#ifdef VALID
        y[AT(y, c)] = int(c.w) < pos[AT(pos, c)] ? 1.0 : 0.0;
#else
        int last = pos[AT(pos, c)], distance = max(last, 0) % p.n_kv - int(c.w);
        distance += distance < 0 ? p.n_kv : 0;
        y[AT(y, c)] = distance <= last && (p.window == 0 || distance < p.window) ? 0.0 : -INFINITY;
#endif
    }
}
