// x is made on its way into a product: silu or gelu of what stands there times what it opens, `up`, of the same strides.
// The product is added to a residual where `adds` is not 0.

#include "maths.glsl"

layout(constant_id = 10) const uint GELU = 0;  // in the place of silu

layout(std430, binding = 3) readonly buffer Up {
    float up[];
};
layout(std430, binding = 4) readonly buffer Residual {
    float residual[];
};

float glu(float gate, float of) {
    return (GELU != 0u ? gelu(gate) : silu(gate)) * of;
}

#if defined(WIDE)
#define QUADS_GIVEN
#else
#define X(i) glu(x[i], up[i - x_at + up_at])
#endif
