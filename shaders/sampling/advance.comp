// Moves a step buffer on to the token that was drawn: ring[b, pos % R] = token, ids = token, pos and rows + 1; a
// sequence of pos < 0 is padding and stays. -DWINDOWS: window_rows + 1, back by n_window_rows where pos + 1 divides by
// it. The ring gets -1 for a token whose logit is not finite. Grid: one
// workgroup; its lanes take the sequences.
#version 450
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(local_size_x = 32) in;

layout(std430, binding = 0) readonly buffer Logits { float logits[]; };
layout(std430, binding = 1) readonly buffer Token { int token[]; };
layout(std430, binding = 2) buffer Ids { int ids[]; };
layout(std430, binding = 3) buffer Pos { int pos[]; };
layout(std430, binding = 4) buffer Rows { int rows[]; };
layout(std430, binding = 5) buffer Ring { int ring[]; };
#ifdef WINDOWS
layout(std430, binding = 6) buffer WindowRows { int window_rows[]; };
#endif
layout(push_constant) uniform Push {
    uint n_seqs, n_vocab, n_ring;
    uint logits_seq, token_seq, ids_seq, pos_seq, rows_seq, ring_seq, ring_place;
    uint logits_at, token_at, ids_at, pos_at, rows_at, ring_at;
#ifdef WINDOWS
    uint n_window_rows, window_rows_seq, window_rows_at;
#endif
} p;

void main() {
    for (uint b = gl_LocalInvocationID.x; b < p.n_seqs; b += gl_WorkGroupSize.x) {
        uint at = p.pos_at + b * p.pos_seq;
        int position = pos[at], drawn = token[p.token_at + b * p.token_seq];
        if (position >= 0) {
            float logit = logits[p.logits_at + b * p.logits_seq + uint(clamp(drawn, 0, int(p.n_vocab) - 1))];
            uint place = p.ring_at + b * p.ring_seq + uint(position) % p.n_ring * p.ring_place;
            ring[place] = is_finite(logit) ? drawn : -1;
            ids[p.ids_at + b * p.ids_seq] = drawn;
            rows[p.rows_at + b * p.rows_seq] += 1;
            pos[at] = position + 1;
#ifdef WINDOWS
            bool begins = p.n_window_rows > 0u && uint(position + 1) % max(p.n_window_rows, 1u) == 0u;
            window_rows[p.window_rows_at + b * p.window_rows_seq] += begins ? 1 - int(p.n_window_rows) : 1;
#endif
        }
    }
}
