// What the kernels of the gated delta rule take: shapes as constants, operands, and where they stand.
// Inner axes have stride 1. slots [n_seqs, 1 + N_SNAPSHOTS]: a sequence's slot, then the slots that also receive the
// state as it is after each SNAPSHOT_SPAN tokens (or the last one); ids outside of the state are read clamped, not written.

layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 1) readonly buffer K { float k[]; };
layout(std430, binding = 2) readonly buffer V { float v[]; };
layout(std430, binding = 3) readonly buffer Beta { float beta[]; };
layout(std430, binding = 4) readonly buffer Alpha { float alpha[]; };
layout(std430, binding = 5) readonly buffer A { float a[]; };
layout(std430, binding = 6) readonly buffer Dt { float dt[]; };
layout(std430, binding = 7) buffer State { float state[]; };
layout(std430, binding = 8) readonly buffer Slots { int slots[]; };
layout(std430, binding = 9) readonly buffer Valid { int n_valid[]; };
layout(std430, binding = 10) buffer Y { float y[]; };
#ifdef NORM
layout(std430, binding = 11) readonly buffer W { float w[]; };
layout(std430, binding = 12) readonly buffer Gate { float gate[]; };
#endif

layout(push_constant) uniform Args {
    uint n_seqs, n_tokens, n_slots;
    uint q_seq, q_token, q_head, q_at, k_at;  // k has q's strides, alpha has beta's
    uint v_seq, v_token, v_head, v_at;
    uint beta_seq, beta_token, beta_at, alpha_at;
    uint a_at, dt_at;
    uint state_slot, state_at;
    uint slots_at, n_valid_at;
    uint y_seq, y_token, y_head, y_at;
#ifdef NORM
    uint gate_seq, gate_token, gate_head, gate_at, w_at;
    float eps;
#endif
};

#include "delta_heads.glsl"
#include "delta_slots.glsl"
