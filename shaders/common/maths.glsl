// Functions in forms that neither overflow nor lose the small values, on every driver.

#ifndef MATHS_GLSL
#define MATHS_GLSL
#include "common.glsl"

// Drivers may give anything for exp of NaN or beyond the exponent's range.
float exp_of(float x) {
    float y = exp(clamp(x, -104.0, 89.0));
    y = x < -103.98 ? 0.0 : x > 88.73 ? INFINITY : y;
    return select_nan(x, y);
}

// Zero is told from a denormal by bits.
float log_of(float x) {
    if (is_nan(x) || floatBitsToUint(x) == 0x7f800000u) {
        return x;
    }
    if ((floatBitsToUint(x) & 0x7fffffffu) == 0u) {
        return -INFINITY;
    }
    if (floatBitsToUint(x) > 0x7fffffffu) {
        return uintBitsToFloat(0x7fc00000u);
    }
    uint bits = floatBitsToUint(x);  // denormals, which a driver may take for 0, are bits * 2^-149
    return bits < 0x800000u ? log(float(bits)) - 103.27892990343185 : log(x);
}

// log(1 + y) for 0 <= y <= 1: the atanh series in y / (2 + y) <= 1/3.
float log1p_of(float y) {
    float s = y / (2.0 + y), t = s * s;
    float sum = 1.0 + t * (1.0 / 3.0 + t * (1.0 / 5.0 + t * (1.0 / 7.0 + t * (1.0 / 9.0 + t * (1.0 / 11.0 + t / 13.0)))));
    return 2.0 * s * sum;
}

// (1 - e) / (1 + e) with e = exp(-2|x|); near 0 the Taylor series, which keeps the relative precision.
float tanh_of(float x) {
    float a = abs(x), t = x * x;
    float e = exp(-2.0 * min(a, 20.0));
    float series = a * (1.0 - t * (1.0 / 3.0 - t * (2.0 / 15.0 - t * (17.0 / 315.0 - t * (62.0 / 2835.0)))));
    float y = a < 0.25 ? series : (1.0 - e) / (1.0 + e);
    return select_nan(x, x < 0.0 ? -y : y);
}

// 1 / (1 + exp(-x)), with an exponent that is never positive.
float sigmoid(float x) {
    float e = exp(-min(abs(x), 104.0));
    return select_nan(x, (x < 0.0 ? e : 1.0) / (1.0 + e));
}

float silu(float x) {
    return x * sigmoid(x);
}

float softplus(float x) {
    return select_nan(x, max(x, 0.0) + log1p_of(exp(-min(abs(x), 104.0))));
}

// The tanh form, as x * sigmoid(2 u): 0.5 (1 + tanh u) = sigmoid(2 u).
float gelu(float x) {
    return x * sigmoid(2.0 * 0.7978845608028654 * (x + 0.044715 * x * x * x));
}

// erfc by a Chebyshev fit in 1 / (1 + |x| / 2), good to 1.2e-7 of itself (Press et al., Numerical Recipes, 6.2).
float erfc_of(float x) {
    float a = abs(x), t = 1.0 / (1.0 + 0.5 * a);
    float p = -0.82215223 + t * 0.17087277;
    p = -1.13520398 + t * (1.48851587 + t * p);
    p = 0.09678418 + t * (-0.18628806 + t * (0.27886807 + t * p));
    p = -1.26551223 + t * (1.00002368 + t * (0.37409196 + t * p));
    float y = t * exp(max(p - a * a, -104.0));
    return x < 0.0 ? 2.0 - y : y;
}

// x times the normal distribution's function.
float gelu_erf(float x) {
    return select_nan(x, 0.5 * x * erfc_of(-0.7071067811865476 * clamp(x, -20.0, 20.0)));
}

#endif
