#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
// y = silu(causal convolution of x over [state, x], plus bias with -DBIAS), with LINEAR without the silu; and the state's
// update in place; any strides.
// An invocation takes one channel of one sequence and a run of tokens; the one with the first run, which is TAPS - 1
// tokens long or more, is also the only one to read the old state and to write the new one.
// Grid: tiles of channels fastest, then runs, then sequences.

#include "maths.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TAPS = 4;
layout(constant_id = 2) const uint LINEAR = 0u;

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer W { float w[]; };
layout(std430, binding = 2) buffer State { float state[]; };
layout(std430, binding = 3) readonly buffer Slots { int slots[]; };
layout(std430, binding = 4) readonly buffer Tails { int tails[]; };
layout(std430, binding = 5) buffer Y { float y[]; };
#ifdef BIAS
layout(std430, binding = 6) readonly buffer Bias { float bias[]; };
#endif

layout(push_constant) uniform Args {
    uint n_seqs, n_tokens, n_channels, n_slots, n_runs, run_length, n_places;
    uint x_seq, x_token, x_channel, x_at;
    uint w_channel, w_tap, w_at;
    uint state_slot, state_column, state_at;
    uint slots_seq, slots_place, slots_at;
    uint tails_seq, tails_place, tails_column, tails_at;
    uint y_seq, y_token, y_channel, y_at;
#ifdef BIAS
    uint bias_channel, bias_at;
#endif
};

const uint PAST = TAPS - 1u;
uint seq, channel, x_first;  // what the invocation works on, and where its first input is
float past[TAPS];  // the PAST inputs before the run's first token, then room for the next one
float taps[TAPS], old[PAST];

// Row i of [state, x]; the state's part stands in `old` of the invocation with the first run.
float row_of(int i) {
    uint row = uint(clamp(i, 0, int(PAST + n_tokens) - 1));
    if (row >= PAST) {
        return x[x_first + (row - PAST) * x_token];
    }
    float found = old[0];
    [[unroll]] for (uint j = 1u; j < PAST; j++) {
        found = row == j ? old[j] : found;
    }
    return found;
}

uint state_of(int slot) {
    return state_at + uint(clamp(slot, 0, int(n_slots) - 1)) * state_slot;
}

// The rows that `tails` names, to the sequence's slot and to those of its snapshots.
void move_state() {
    for (uint place = 0u; place < n_places; place++) {
        int slot = slots[slots_at + seq * slots_seq + place * slots_place];
        if (slot < 0 || slot >= int(n_slots)) {
            continue;
        }
        uint tails_first = tails_at + seq * tails_seq + place * tails_place;
        [[unroll]] for (uint j = 0u; j < PAST; j++) {
            float kept = row_of(tails[tails_first + j * tails_column]);
            state[state_of(slot) + (j * n_channels + channel) * state_column] = kept;
        }
    }
}

// The inputs before the run's first token.
void load_past(uint run) {
    if (run == 0u) {
        uint state_first = state_of(slots[slots_at + seq * slots_seq]);
        [[unroll]] for (uint j = 0u; j < PAST; j++) {
            past[j] = state[state_first + (j * n_channels + channel) * state_column];
        }
        return;
    }
    [[unroll]] for (uint j = 0u; j < PAST; j++) {
        past[j] = x[x_first + (run * run_length - PAST + j) * x_token];
    }
}

void load_taps() {
    [[unroll]] for (uint j = 0u; j < TAPS; j++) {
        taps[j] = w[w_at + channel * w_channel + j * w_tap];
    }
}

void convolve(uint first, uint end) {
    uint y_first = y_at + seq * y_seq + channel * y_channel;
    for (uint t = first; t < end; t++) {
        past[PAST] = x[x_first + t * x_token];
        float sum = 0.0;
#ifdef BIAS
        sum = bias[bias_at + channel * bias_channel];
#endif
        [[unroll]] for (uint j = 0u; j < TAPS; j++) {
            sum += past[j] * taps[j];
        }
        [[unroll]] for (uint j = 0u; j < PAST; j++) {
            past[j] = past[j + 1u];
        }
        y[y_first + t * y_token] = LINEAR != 0u ? sum : silu(sum);
    }
}

void main() {
    uint tiles = (n_channels + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
    uint group = group_index(), run = group / tiles % n_runs;
    channel = group % tiles * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    seq = group / tiles / n_runs;
    if (seq >= n_seqs || channel >= n_channels) {
        return;
    }
    x_first = x_at + seq * x_seq + channel * x_channel;
    load_taps();
    load_past(run);
    [[unroll]] for (uint j = 0u; j < PAST; j++) {
        old[j] = past[j];
    }
    convolve(run * run_length, min((run + 1u) * run_length, n_tokens));
    if (run == 0u) {
        move_state();  // last, so that it waits for nothing which others need
    }
}
