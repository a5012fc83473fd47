// token[b] = one of the candidates ids[b, :] by their logits; see runtime/ir/ops/sampling.py. Grid: a workgroup a sequence,
// whose invocations bring the candidates side by side; sums are taken in the candidates' order, by each for its own.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "maths.glsl"

#define MOST 1024u   // candidates; the host asks for no more
#define AT_ONCE 8u   // that are read before the first is added
layout(local_size_x_id = 0) in;

layout(std430, binding = 0) readonly buffer Logits { float logits[]; };
layout(std430, binding = 1) readonly buffer Ids { int ids[]; };
layout(std430, binding = 2) readonly buffer Settings { int settings[]; };
layout(std430, binding = 3) readonly buffer Pos { int pos[]; };
layout(std430, binding = 4) buffer Token { int token[]; };
layout(push_constant) uniform Push {
    uint n_seqs, n_vocab, n_ids;
    uint logits_seq, ids_seq, settings_seq, pos_seq, token_seq;
    uint logits_at, ids_at, settings_at, pos_at, token_at;
} p;

#define LANE gl_LocalInvocationIndex
#define LANES gl_WorkGroupSize.x
#define EACH_OWN(j, n) for (uint j = LANE; j < n; j += LANES)

shared float shares[MOST], weights[MOST];  // of the largest's, at temperature 1 and at the wanted one
shared uint before_cut, chosen;  // ~ the first candidate that is cut off
uint row, first;  // of the logits and ids of a sequence
float sum, sum_before;  // of all, and of those before the invocation's own

uint pcg(uint v) {
    uint state = v * 747796405u + 2891336453u;
    uint word = ((state >> ((state >> 28) + 4u)) ^ state) * 277803737u;
    return (word >> 22) ^ word;
}

float logit_of(uint j) {
    return logits[row + uint(clamp(ids[first + j], 0, int(p.n_vocab) - 1))];
}

// Those beyond the last are 0 up to a whole number of AT_ONCE.
void weigh(float top, float temp) {
    uint whole = (p.n_ids + AT_ONCE - 1u) / AT_ONCE * AT_ONCE;
    EACH_OWN(j, whole) {
        float z = logit_of(min(j, p.n_ids - 1u)) - top;
        shares[j] = j < p.n_ids ? exp_of(z) : 0.0;
        weights[j] = j >= p.n_ids ? 0.0 : temp > 0.0 ? exp_of(z / temp) : float(j == 0u);
    }
    if (LANE == 0u) {
        before_cut = 0u;
        chosen = 0u;
    }
    barrier();
}

#define ADD_UP(name, numbers)                                                                  \
    void name(uint n, uint own) {                                                              \
        float held[AT_ONCE];                                                                   \
        sum = 0.0;                                                                             \
        sum_before = 0.0;                                                                      \
        [[dont_unroll]] for (uint at = 0u; at < n; at += AT_ONCE) {                            \
            [[unroll]] for (uint i = 0u; i < AT_ONCE; i++) {                                   \
                held[i] = numbers[at + i];                                                     \
            }                                                                                  \
            [[unroll]] for (uint i = 0u; i < AT_ONCE; i++) {                                   \
                sum_before = at + i == own ? sum : sum_before;                                 \
                sum = at + i < n ? sum + held[i] : sum;                                        \
            }                                                                                  \
        }                                                                                      \
    }
ADD_UP(add_shares, shares)
ADD_UP(add_weights, weights)

// Candidates come largest first, so that what top_p and min_p keep of k is a beginning of them; how many those are.
uint keep(uint k, float top_p, float min_p) {
    EACH_OWN(j, k) {
        add_shares(k, j);
        float enough = top_p < 1.0 ? top_p * sum : INFINITY;  // a small rest is lost in what is before
        if (j > 0u && (shares[j] < min_p || sum_before >= enough)) {
            atomicMax(before_cut, ~j);
        }
    }
    barrier();
    return min(k, ~before_cut);
}

// The last of those kept whose predecessors do not reach the number.
uint choose(uint kept, float unit) {
    EACH_OWN(j, kept) {
        add_weights(kept, j);
        if (sum_before <= unit * sum) {
            atomicMax(chosen, j);
        }
    }
    barrier();
    return chosen;
}

void main() {
    uint b = group_index();
    if (b >= p.n_seqs) {
        return;
    }
    uint at = p.settings_at + b * p.settings_seq;
    row = p.logits_at + b * p.logits_seq;
    first = p.ids_at + b * p.ids_seq;
    float temp = intBitsToFloat(settings[at]), top_p = intBitsToFloat(settings[at + 1u]);
    float min_p = intBitsToFloat(settings[at + 2u]), top = logit_of(0u);
    int top_k = settings[at + 3u];
    uint seed = uint(settings[at + 4u]), position = uint(pos[p.pos_at + b * p.pos_seq]);
    weigh(top, temp);
    float unit = float(pcg(pcg(seed) + position) >> 8) * (1.0 / 16777216.0);
    uint k = top_k > 0 ? min(uint(top_k), p.n_ids) : p.n_ids;
    k = is_finite(top) ? k : 1u;  // `advance` tells the host
    uint place = choose(keep(k, top_p, min_p), unit);
    if (LANE == 0u) {
        token[p.token_at + b * p.token_seq] = ids[first + place];
    }
}
