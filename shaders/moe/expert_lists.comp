#version 450
#extension GL_GOOGLE_include_directive : require
// The pairs (token, slot) of each expert: lists[0 .. n_experts] says where each expert's begin, lists[n_experts + 1 ..]
// holds the pairs t * n_slots + j, by expert, ascending. Ids are clamped.
// Grid: a workgroup an expert; each looks through all ids, an invocation through a run of them.
#include "common.glsl"

layout(local_size_x_id = 0) in;

layout(std430, binding = 0) readonly buffer Ids { int ids[]; };
layout(std430, binding = 1) buffer Lists { int lists[]; };
layout(push_constant) uniform Args {
    uint ids_at, lists_at;
    uint n_tokens, n_slots, n_experts;
    uint ids_token, ids_slot;
};

shared uint before[gl_WorkGroupSize.x];  // pairs of experts before this one
shared uint mine[gl_WorkGroupSize.x];

uint token, slot;  // of the next pair

void start_at(uint pair) {
    uint n = max(n_slots, 1u);  // without slots there is no pair
    token = pair / n;
    slot = pair % n;
}

// Of the next pair; without divisions, which take longer than all else.
int next_expert() {
    int id = ids[ids_at + token * ids_token + slot * ids_slot];
    slot++;
    if (slot == n_slots) {
        slot = 0u;
        token++;
    }
    return clamp(id, 0, int(n_experts) - 1);
}

// Sums of both up to and with each invocation (Hillis & Steele, 1986).
void scan() {
    uint id = gl_LocalInvocationID.x;
    for (uint step_ = 1u; step_ < gl_WorkGroupSize.x; step_ <<= 1) {
        barrier();
        uint b = id >= step_ ? before[id - step_] : 0u, m = id >= step_ ? mine[id - step_] : 0u;
        barrier();
        before[id] += b;
        mine[id] += m;
    }
    barrier();
}

// How many of the pairs from `first` to `stop` are of experts before one, and of it.
uvec2 counted(uint first, uint stop, int expert) {
    uvec2 n = uvec2(0);
    start_at(first);
    for (uint pair = first; pair < stop; pair++) {
        int e = next_expert();
        n += uvec2(e < expert ? 1u : 0u, e == expert ? 1u : 0u);
    }
    return n;
}

void main() {
    int expert = int(group_index());
    uint n_pairs = n_tokens * n_slots, run = (n_pairs + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
    uint id = gl_LocalInvocationID.x, first = min(id * run, n_pairs), stop = min(first + run, n_pairs);
    uvec2 n = counted(first, stop, expert);
    before[id] = n.x;
    mine[id] = n.y;
    scan();
    if (uint(expert) >= n_experts) {
        return;
    }
    uint start = before[gl_WorkGroupSize.x - 1u], at = lists_at + n_experts + 1u + start + mine[id] - n.y;
    if (id == 0u) {
        lists[lists_at + expert] = int(start);
        if (expert + 1 == int(n_experts)) {
            lists[lists_at + n_experts] = int(n_pairs);
        }
    }
    start_at(first);
    for (uint pair = first; pair < stop; pair++) {
        if (next_expert() == expert) {
            lists[at++] = int(pair);
        }
    }
}
