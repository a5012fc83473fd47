// The gates of a chunk of CHUNK tokens and the running sums of its log decays, for a workgroup whose invocations know
// lane, seq, head and n, the sequence's valid tokens.

#include "decay_sums.glsl"

shared float strengths[CHUNK];  // beta after its sigmoid

// Of a chunk from token `first` on. `left` is made ready by take_norms.
void take_gates(uint first) {
    float log_decay = 0.0;
    if (lane < CHUNK) {
        uint t = first + lane, gate = gates_of(seq, head) + min(t, n_tokens - 1u) * beta_token;
        log_decay = t < n ? log_decay_of(gate, a[a_at + head], dt[dt_at + head]) : 0.0;
        strengths[lane] = t < n ? sigmoid(beta[beta_at + gate]) : 0.0;
    }
    sum_up(log_decay);
}
