// What every mul_mat kernel is told. Strides and starts in elements, of block types in 32-bit words.
// Batch (b0, b1) of x and y meets batch (b0 / ratio0, b1 / ratio1) of w.
// With ADD: y is added to what stands in `residual`, whose inner stride is 1; no batch.
// With CONV: what convolved.glsl is told, too.
// With EXPERTS: b0 is a token, b1 a slot, ids[b0, b1] the expert, and w_batch1 the stride from expert to expert.

#include "common.glsl"

layout(push_constant) uniform Args {
    uint w_at, x_at, y_at;
    uint n_rows, n_cols, n_inner;
    uint w_row, w_inner, w_batch0, w_batch1;
    uint x_col, x_inner, x_batch0, x_batch1;
    uint y_col, y_inner, y_batch0, y_batch1;
    uint n_batch0, n_batch1, ratio0, ratio1;
#if defined(EXPERTS)
    uint ids_at, ids_batch0, ids_batch1, n_experts;
#elif defined(GLU)
    uint up_at, residual_at, residual_col, adds;
#elif defined(ADD)
    uint residual_at, residual_col;
#elif defined(CONV)
    uint conv_at, state_at, state_slot, slots_at, tails_at, tails_seq, tails_column, n_slots;
#endif
#if defined(HALVES_BINDING)
    uint halves_at;
#endif
};

layout(std430, binding = 1) readonly buffer X {
    float x[];
};
#if defined(WIDE)
layout(std430, binding = 1) readonly buffer X4 {
    vec4 x4[];
};
#endif
#if defined(EXPERTS)
layout(std430, binding = 2) readonly buffer Ids {
    int ids[];
};
layout(std430, binding = 3) buffer Y {
    float y[];
};

uint expert_of(uint b0, uint b1) {
    return uint(clamp(ids[ids_at + b0 * ids_batch0 + b1 * ids_batch1], 0, int(n_experts) - 1));
}
#elif defined(ADD)
layout(std430, binding = 2) readonly buffer Residual {
    float residual[];
};
layout(std430, binding = 3) buffer Y {
    float y[];
};
#else
layout(std430, binding = 2) buffer Y {
    float y[];
};
#endif

uint w_start(uint b0, uint b1) {
#if defined(EXPERTS)
    return w_at + expert_of(b0, b1) * w_batch1;
#else
    return w_at + b0 / ratio0 * w_batch0 + b1 / ratio1 * w_batch1;
#endif
}
