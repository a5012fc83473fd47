// What the kernels of the gated delta rule take: shapes as constants, operands, and where they stand.
// Inner axes have stride 1. slots [n_seqs, 1 + N_SNAPSHOTS]: a sequence's slot, then the slots that also receive the
// state as it is after each SNAPSHOT_SPAN tokens (or the last one); ids outside of the state are read clamped, not written.

layout(constant_id = 3) const uint DIM = 128;
layout(constant_id = 4) const uint N_HEADS = 1;
layout(constant_id = 5) const uint SHARE = 1;  // value heads that share a key head
layout(constant_id = 6) const uint GATE_KEY = 1;  // strides of beta and alpha
layout(constant_id = 7) const uint GATE_SHARE = 1;
layout(constant_id = 10) const uint SLOTS_SEQ = 1;  // strides of slots
layout(constant_id = 11) const uint SLOTS_COLUMN = 1;
layout(constant_id = 12) const uint N_SNAPSHOTS = 0;
layout(constant_id = 13) const uint TILED = 0;  // value heads j, j + Hk, ... share key head j, else SHARE in a row

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

const uint SNAPSHOT_SPAN = 64u;  // SPAN of runtime/ir/composites/slots.py

int slot_of(uint seq, uint column) {
    return slots[slots_at + seq * SLOTS_SEQ + column * SLOTS_COLUMN];
}

// Where the state of a head stands, of the slot clamped.
uint state_of(int slot, uint head) {
    return state_at + uint(clamp(slot, 0, int(n_slots) - 1)) * state_slot + head * DIM * DIM;
}

// The slots that receive the state at the end of a span of tokens: place 0 is the snapshot's, place 1 the sequence's own.
const uint FIRST_PLACE = N_SNAPSHOTS > 0u ? 0u : 1u, N_PLACES = 2u;
const uint SPAN = N_SNAPSHOTS > 0u ? SNAPSHOT_SPAN : 0x7fffffffu;

int place_of(uint place, uint seq, uint token, bool is_last) {
    if (place == 1u) {
        return is_last ? slot_of(seq, 0u) : -1;
    }
    uint column = token / SNAPSHOT_SPAN;
    return column < N_SNAPSHOTS ? slot_of(seq, 1u + column) : -1;
}

bool is_slot(int slot) {
    return slot >= 0 && slot < int(n_slots);
}

const uint N_KEYS = N_HEADS / SHARE;

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
