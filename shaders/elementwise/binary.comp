// y = OP(a, b), element by element, any layouts; broadcast axes have stride 0. -DOP names the function.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "maths.glsl"
#include "walk.glsl"

layout(std430, binding = 0) readonly buffer A { float a[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
layout(std430, binding = 2) buffer Y { float y[]; };
layout(push_constant) uniform Push { WALK STRIDES(a) STRIDES(b) STRIDES(y) } p;

float op_add(float u, float v) { return u + v; }
float op_sub(float u, float v) { return u - v; }
float op_mul(float u, float v) { return u * v; }

// Drivers may divide by way of 1 / v, which is 0 for large v: infinity over a finite number is done by bits.
float op_div(float u, float v) {
    uint a = floatBitsToUint(u), b = floatBitsToUint(v);
    bool stays = (a & 0x7fffffffu) == 0x7f800000u && (b & 0x7fffffffu) < 0x7f800000u;
    return stays ? uintBitsToFloat(a ^ (b & 0x80000000u)) : u / v;
}

float op_swiglu(float u, float v) { return silu(u) * v; }
float op_geglu(float u, float v) { return gelu(u) * v; }

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
        y[AT(y, c)] = OP(a[AT(a, c)], b[AT(b, c)]);
    }
}
