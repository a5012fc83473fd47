// What both kernels of experts_down are told; the weights are bindings 0 and 1, see weights.glsl.

layout(constant_id = 11) const uint OPEN = 0;  // the shared expert counts 1, whatever stands in shared_gate

layout(std430, binding = 2) readonly buffer Hidden { float hidden[]; };
layout(std430, binding = 3) readonly buffer SharedHidden { float shared_hidden[]; };
layout(std430, binding = 4) readonly buffer Ids { int ids[]; };
layout(std430, binding = 5) readonly buffer Factors { float factors[]; };
layout(std430, binding = 6) readonly buffer SharedGate { float shared_gate[]; };
layout(std430, binding = 7) readonly buffer Residual { float residual[]; };
layout(std430, binding = 8) buffer Y { float y[]; };
layout(push_constant) uniform Args {
    uint down_at, shared_down_at, hidden_at, shared_at, ids_at, factors_at, gate_at, residual_at, y_at;
    uint n_tokens, n_slots, n_experts, n_rows, n_inner_experts, n_inner_shared;
    uint down_row, shared_down_row, down_expert, hidden_token, hidden_slot, shared_token;
    uint ids_token, ids_slot, factors_token, factors_slot, gate_token, residual_token, y_token;
    uint per_magic, per_shift;  // dividing by the groups of 32 of an expert's row
};

float shared_factor(uint n) {
    return OPEN != 0u ? 1.0 : sigmoid(shared_gate[gate_at + n * gate_token]);
}
