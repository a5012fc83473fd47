// Operands of the scans whose state need not be square. -DDELTA: of Kimi's rule, whose values are x, keys b, queries c,
// strengths dt (before their sigmoid) and gates d, alpha.

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
layout(std430, binding = 2) readonly buffer C { float c[]; };
layout(std430, binding = 3) readonly buffer Dt { float dt[]; };
layout(std430, binding = 4) readonly buffer Bias { float bias[]; };
layout(std430, binding = 5) readonly buffer A { float a[]; };
layout(std430, binding = 6) readonly buffer D { float d[]; };
layout(std430, binding = 7) buffer State { float state[]; };
layout(std430, binding = 8) readonly buffer Slots { int slots[]; };
layout(std430, binding = 9) readonly buffer Valid { int n_valid[]; };
layout(std430, binding = 10) buffer Y { float y[]; };

layout(push_constant) uniform Args {
    uint n_seqs, n_tokens, n_slots;
    uint x_seq, x_token, x_head, x_at;
    uint b_seq, b_token, b_group, b_at, c_at;  // c has b's strides
    uint dt_seq, dt_token, dt_head, dt_at;
    uint bias_at, a_at, d_at;
    uint state_slot, state_at;
    uint slots_at, n_valid_at;
    uint y_seq, y_token, y_head, y_at;
#ifdef DELTA
    uint d_seq, d_token, d_head;
#endif
};
