// token[b] = one of the candidates ids[b, :] by their logits; see runtime/ir/ops/sampling.py. Grid: a workgroup of one
// invocation a sequence: at most some hundred candidates, of which most are cut off at once.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "maths.glsl"

layout(local_size_x = 1) in;

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

uint pcg(uint v) {
    uint state = v * 747796405u + 2891336453u;
    uint word = ((state >> ((state >> 28) + 4u)) ^ state) * 277803737u;
    return (word >> 22) ^ word;
}

uint row, first, kept;  // of the logits and ids of a sequence; how many candidates stay
float top, temp;

float logit_of(uint j) {
    return logits[row + uint(clamp(ids[first + j], 0, int(p.n_vocab) - 1))];
}

float weight_of(uint j) {
    return temp > 0.0 ? exp_of((logit_of(j) - top) / temp) : float(j == 0u);
}

// Candidates come largest first, so that what top_p and min_p keep is a beginning of them. Returns their weight.
float keep(uint k, float top_p, float min_p) {
    float all = 0.0, before = 0.0, total = 0.0;
    for (uint j = 0u; j < k; j++) {
        all += exp_of(logit_of(j) - top);
    }
    float enough = top_p < 1.0 ? top_p * all : INFINITY;  // a small rest is lost in what is before
    for (kept = 0u; kept < k; kept++) {
        float weight = exp_of(logit_of(kept) - top);
        if (kept > 0u && (weight < min_p || before >= enough)) {
            break;
        }
        before += weight;
        total += weight_of(kept);
    }
    return total;
}

void main() {
    uint b = group_index();
    if (b >= p.n_seqs) {
        return;
    }
    uint at = p.settings_at + b * p.settings_seq;
    row = p.logits_at + b * p.logits_seq;
    first = p.ids_at + b * p.ids_seq;
    temp = intBitsToFloat(settings[at]);
    int top_k = settings[at + 3u];
    uint k = top_k > 0 ? min(uint(top_k), p.n_ids) : p.n_ids;
    uint seed = uint(settings[at + 4u]), position = uint(pos[p.pos_at + b * p.pos_seq]);
    float unit = float(pcg(pcg(seed) + position) >> 8) * (1.0 / 16777216.0);
    top = logit_of(0u);
    k = is_finite(top) ? k : 1u;  // `advance` tells the host
    float total = keep(k, intBitsToFloat(settings[at + 1u]), intBitsToFloat(settings[at + 2u]));
    float sum = 0.0;
    uint chosen = 0u;
    for (uint j = 0u; j < kept; j++) {
        if (sum <= unit * total) {
            chosen = j;  // the last whose predecessors do not reach the number
        }
        sum += weight_of(j);
    }
    token[p.token_at + b * p.token_seq] = ids[first + chosen];
}
