// y = OP(x), element by element, any layouts. -DOP names the function; `a` and `b` are the op's parameters.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "maths.glsl"
#include "walk.glsl"

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) buffer Y { float y[]; };
layout(push_constant) uniform Push { WALK STRIDES(x) STRIDES(y) float a, b; } p;

float op_neg(float v) { return uintBitsToFloat(floatBitsToUint(v) ^ 0x80000000u); }
float op_abs(float v) { return uintBitsToFloat(floatBitsToUint(v) & 0x7fffffffu); }
float op_sqr(float v) { return v * v; }
// By bits, since a driver may take a negative denormal for 0.
float op_sqrt(float v) { return floatBitsToUint(v) > 0x80000000u ? uintBitsToFloat(0x7fc00000u) : select_nan(v, sqrt(v)); }
float op_exp(float v) { return exp_of(v); }
float op_log(float v) { return log_of(v); }
float op_tanh(float v) { return tanh_of(v); }
float op_relu(float v) { return select_nan(v, max(v, 0.0)); }
float op_sigmoid(float v) { return sigmoid(v); }
float op_silu(float v) { return silu(v); }
float op_softplus(float v) { return softplus(v); }
float op_gelu(float v) { return gelu(v); }
float op_gelu_erf(float v) { return gelu_erf(v); }
float op_scale(float v) { return v * p.a + p.b; }
float op_clamp(float v) { return select_nan(v, min(max(v, p.a), p.b)); }

void main() {
    EACH_ELEMENT(i) {
        uvec4 c = COORDINATES(i);
        y[AT(y, c)] = OP(x[AT(x, c)]);
    }
}
