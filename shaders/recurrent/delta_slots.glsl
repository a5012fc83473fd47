// The slots of a state of STATE_SIZE numbers a head, which with slots, n_slots and their strides is declared before.

layout(constant_id = 10) const uint SLOTS_SEQ = 1;  // strides of slots
layout(constant_id = 11) const uint SLOTS_COLUMN = 1;
layout(constant_id = 12) const uint N_SNAPSHOTS = 0;

const uint SNAPSHOT_SPAN = 64u;  // SPAN of runtime/ir/composites/slots.py

int slot_of(uint seq, uint column) {
    return slots[slots_at + seq * SLOTS_SEQ + column * SLOTS_COLUMN];
}

// Where the state of a head stands, of the slot clamped.
uint state_of(int slot, uint head) {
    return state_at + uint(clamp(slot, 0, int(n_slots) - 1)) * state_slot + head * STATE_SIZE;
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
