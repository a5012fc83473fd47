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

float glu(uint at) {
    float gate = x[at];
    return (GELU != 0u ? gelu(gate) : silu(gate)) * up[at - x_at + up_at];
}

#if defined(WIDE)
#define X_QUAD(c, p, quad) glu_quad(cols[c] + quad_place(p, quad, n_inner))

vec4 glu_quad(uint at) {
    return vec4(glu(at), glu(at + 1u), glu(at + 2u), glu(at + 3u));
}
#else
#define X(i) glu(i)
#endif
