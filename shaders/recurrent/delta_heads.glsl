// Shapes of the gated delta rule as constants, and where its gates stand; beta and alpha, buffers of gates, are declared
// before.

layout(constant_id = 3) const uint DIM = 128;
layout(constant_id = 4) const uint N_HEADS = 1;
layout(constant_id = 5) const uint SHARE = 1;  // value heads that share a key head
layout(constant_id = 6) const uint GATE_KEY = 1;  // strides of beta and alpha
layout(constant_id = 7) const uint GATE_SHARE = 1;
layout(constant_id = 13) const uint TILED = 0;  // value heads j, j + Hk, ... share key head j, else SHARE in a row

const uint N_KEYS = N_HEADS / SHARE, STATE_SIZE = DIM * DIM;

uint key_of(uint head) {
    return TILED != 0u ? head % N_KEYS : head / SHARE;
}

// Value heads share the layout of the gates with the key head they belong to.
uint gates_of(uint seq, uint head) {
    uint share = TILED != 0u ? head / N_KEYS : head % SHARE;
    return seq * beta_seq + key_of(head) * GATE_KEY + share * GATE_SHARE;
}

float log_decay_of(uint gate, float rate, float bias) {
    return rate * softplus(alpha[alpha_at + gate] + bias);
}
