// Moves a step buffer on to the token that was drawn: ring[b, pos % R] = token, ids = token, pos and rows + 1; a
// sequence of pos < 0 is padding and stays. Grid: one workgroup; its lanes take the sequences.
#version 450

layout(local_size_x = 32) in;

layout(std430, binding = 0) readonly buffer Token { int token[]; };
layout(std430, binding = 1) buffer Ids { int ids[]; };
layout(std430, binding = 2) buffer Pos { int pos[]; };
layout(std430, binding = 3) buffer Rows { int rows[]; };
layout(std430, binding = 4) buffer Ring { int ring[]; };
layout(push_constant) uniform Push {
    uint n_seqs, n_ring;
    uint token_seq, ids_seq, pos_seq, rows_seq, ring_seq, ring_place;
    uint token_at, ids_at, pos_at, rows_at, ring_at;
} p;

void main() {
    for (uint b = gl_LocalInvocationID.x; b < p.n_seqs; b += gl_WorkGroupSize.x) {
        uint at = p.pos_at + b * p.pos_seq;
        int position = pos[at], drawn = token[p.token_at + b * p.token_seq];
        if (position >= 0) {
            ring[p.ring_at + b * p.ring_seq + uint(position) % p.n_ring * p.ring_place] = drawn;
            ids[p.ids_at + b * p.ids_seq] = drawn;
            rows[p.rows_at + b * p.rows_seq] += 1;
            pos[at] = position + 1;
        }
    }
}
