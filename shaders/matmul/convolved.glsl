// The causal convolution of one token of each sequence (causal_conv.comp) as the end of a product: a column is a sequence,
// a row a channel, and who has a sum has all that its channel needs: silu of the three inputs before it and itself times
// four taps, and the channel's part of the state's update in place. What is read is asked for before the product is made.
// The kernel has ROWS and COLS, those of an invocation, and says which column c is: n_cols or more for none.

#include "maths.glsl"

vec4 taps[ROWS], past[ROWS][COLS];  // w of past has room for the sum
int own_slots[COLS];
ivec3 own_tails[COLS];

uint column_of(uint c);

uint sequence_of(uint c) {
    return min(column_of(c), n_cols - 1u);
}

void load_slots() {
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        own_slots[c] = slots[slots_at + sequence_of(c)];
    }
}

void load_tails() {
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        uint at = tails_at + sequence_of(c) * tails_seq;
        own_tails[c] = ivec3(tails[at], tails[at + tails_column], tails[at + 2u * tails_column]);
    }
}

uint state_of(int slot) {
    return state_at + uint(clamp(slot, 0, int(n_slots) - 1)) * state_slot;
}

void load_past(uint r, uint channel, uint n_channels) {
    if (channel >= n_channels) {
        return;
    }
    uint at = conv_at + channel * 4u;
    taps[r] = vec4(conv[at], conv[at + 1u], conv[at + 2u], conv[at + 3u]);
    [[unroll]] for (uint c = 0u; c < COLS; c++) {
        if (column_of(c) >= n_cols) {
            continue;
        }
        uint place = state_of(own_slots[c]) + channel;
        past[r][c] = vec4(state[place], state[place + n_channels], state[place + 2u * n_channels], 0.0);
    }
}

// Row `tail` of [state, x].
float kept(vec4 rows, int tail) {
    return tail <= 0 ? rows.x : tail == 1 ? rows.y : tail == 2 ? rows.z : rows.w;
}

float convolved(uint r, uint c, uint channel, uint n_channels, float sum) {
    vec4 all_rows = vec4(past[r][c].xyz, sum);
    int slot = own_slots[c];
    if (slot >= 0 && slot < int(n_slots)) {
        uint place = state_of(slot) + channel;
        [[unroll]] for (uint j = 0u; j < 3u; j++) {
            state[place + j * n_channels] = kept(all_rows, own_tails[c][j]);
        }
    }
    return silu(dot(all_rows, taps[r]));
}
