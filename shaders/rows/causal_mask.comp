// y [B, 1, T, n_kv] = 0 where key s <= pos[b, t] (and, with a window, s > pos[b, t] - window), else -inf; any layouts.
// VALID: y [B, T] = 1 where token t < n_valid[b], else 0.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "walk.glsl"

layout(std430, binding = 0) readonly buffer Pos { int pos[]; };
layout(std430, binding = 1) buffer Y { float y[]; };
layout(push_constant) uniform Push {
    WALK STRIDES(pos) STRIDES(y)
#ifndef VALID
    int window;
#endif
} p;

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
#ifdef VALID
        y[AT(y, c)] = int(c.w) < pos[AT(pos, c)] ? 1.0 : 0.0;
#else
        int last = pos[AT(pos, c)], key = int(c.w);
        y[AT(y, c)] = key <= last && (p.window == 0 || key > last - p.window) ? 0.0 : -INFINITY;
#endif
    }
}
