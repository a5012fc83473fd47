// Attention of one token over few keys as a whole, with its inputs made on the way (attention_inputs.glsl): no parts to be
// combined, no queries to be brought. A workgroup has a head. TEAM invocations hold eight dims each of KEYS keys at a time,
// and what their own keys come to; teams are added in shared memory in the end.
//   y = softmax of the keys up to the position, times their values; -DGATE: times sigmoid(gate)
// DIM is 64, 128 or 256. q, k, v, gate: inner stride 1; caches of fp16 and y are contiguous; slots are clamped.
// Grid: a workgroup for each head of each sequence.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "maths.glsl"
#include "each.glsl"
#include "numbers.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint DIM = 64;
layout(constant_id = 4) const uint CHUNKS = 1;  // heads
layout(constant_id = 5) const uint SHARE = 1;  // of which so many share a key
layout(constant_id = 6) const uint CAPPED = 0;

layout(std430, binding = 0) readonly buffer Q { vec4 q[]; };
layout(std430, binding = 1) buffer K { uvec4 k[]; };
layout(std430, binding = 2) buffer V { uvec4 v[]; };
layout(std430, binding = 3) readonly buffer Slots { int slots[]; };
layout(std430, binding = 4) readonly buffer Pos { int pos[]; };
layout(std430, binding = 5) buffer Y { float y[]; };
#ifdef GATE
#ifdef NORM
#define GATE_BINDING 13
#else
#define GATE_BINDING 11
#endif
layout(std430, binding = GATE_BINDING) readonly buffer Gate { float gate[]; };
#endif
layout(push_constant) uniform Push {
    uint n_seqs, n_kv, n_slots, n_ctx, cache_row, n_table;  // the caches' in eights
    uint q_seq, q_head, q_at, own_k_seq, own_k_head, own_k_at, own_v_seq, own_v_head, own_v_at;
    uint k_at, v_at, slots_at, pos_at, y_at, turns_at, table_at, rows_at;
    float scale, cap;
#ifdef NORM
    uint q_norm_at, k_norm_at;
    float eps;
#endif
#ifdef GATE
    uint gate_seq, gate_head, gate_at;
#endif
} p;

const uint KEYS = 4u, LANES = gl_WorkGroupSize.x, TEAM = DIM / 8u, TEAMS = LANES / TEAM;

shared float held[TEAMS * DIM], tops[TEAMS], totals[TEAMS];
uint seq, head, slot, at, stop;  // keys from `at` on, of those before `stop` that the sequence sees
uvec4 keys[KEYS], values[KEYS];
float scores[KEYS];
const float LOWEST = -3.0e38;  // the top of no keys: finite, so that nothing has to be asked before it is subtracted
float top = LOWEST, total = 0.0;  // of the team
vec4 low = vec4(0), high = vec4(0);  // its sums of values
#ifdef GATE
float open;  // the gate of the invocation's dim of y
#endif

uint invocation() {
    return gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
}

uint team() {
    return invocation() / TEAM;
}

#include "attention_inputs.glsl"
#include "attention_own.glsl"

vec4 four_halves(uint a, uint b) {
    return vec4(unpackHalf2x16(a), unpackHalf2x16(b));
}

uint first_key() {
    return at + team() * KEYS;
}

uint own_key() {
    return uint(own_row) - slot * p.n_ctx;
}

// Of key j of the turn from `turn` on, in a cache. The own row is another's to write: in its place comes a neighbour.
uint place_of(uint turn, uint j) {
    uint row = min(turn + team() * KEYS + j, stop - 1u), own = own_key();
    row = row != own ? row : own > 0u ? own - 1u : 1u;
    return (slot * p.n_ctx + row) * p.cache_row + head / SHARE * TEAM + octet();
}

void ask_keys(uint turn) {
    [[unroll]] for (uint j = 0u; j < KEYS; j++) {
        keys[j] = k[(p.k_at >> 3) + place_of(turn, j)];
    }
}

void ask_values(uint turn) {
    [[unroll]] for (uint j = 0u; j < KEYS; j++) {
        values[j] = v[(p.v_at >> 3) + place_of(turn, j)];
    }
}

#define ADD_OTHERS_OF_SCORES(bits)                                  \
    if (TEAM > (bits)) {                                            \
        scores[0] += subgroupShuffleXor(scores[0], (bits));         \
        scores[1] += subgroupShuffleXor(scores[1], (bits));         \
        scores[2] += subgroupShuffleXor(scores[2], (bits));         \
        scores[3] += subgroupShuffleXor(scores[3], (bits));         \
    }

void make_scores() {
    [[unroll]] for (uint j = 0u; j < KEYS; j++) {
        scores[j] = dot(query_low, four_halves(keys[j].x, keys[j].y)) + dot(query_high, four_halves(keys[j].z, keys[j].w));
    }
    ADD_OTHERS_OF_SCORES(1u)
    ADD_OTHERS_OF_SCORES(2u)
    ADD_OTHERS_OF_SCORES(4u)
    ADD_OTHERS_OF_SCORES(8u)
    ADD_OTHERS_OF_SCORES(16u)
}

// What is not known may be NaN.
void add_values() {
    float most = top;
    [[unroll]] for (uint j = 0u; j < KEYS; j++) {
        float z = CAPPED != 0u ? p.cap * tanh_of(scores[j] / p.cap) : scores[j];
        scores[j] = first_key() + j < stop ? z : -INFINITY;
        most = max(most, scores[j]);
    }
    float kept = exp_of(top - most);
    top = most;
    total *= kept;
    low *= kept;
    high *= kept;
    [[unroll]] for (uint j = 0u; j < KEYS; j++) {
        float weight = exp_of(scores[j] - top);
        uvec4 words = first_key() + j < stop ? values[j] : uvec4(0);
        total += weight;
        low += weight * four_halves(words.x, words.y);
        high += weight * four_halves(words.z, words.w);
    }
}

// The teams' sums to shared memory, by the largest of all.
void gather() {
    if (octet() == 0u) {
        tops[team()] = top;
    }
    barrier();
    float most = tops[0];
    [[unroll]] for (uint i = 1u; i < TEAMS; i++) {
        most = max(most, tops[i]);
    }
    float factor = exp_of(top - most);
    if (octet() == 0u) {
        totals[team()] = total * factor;
    }
    uint to = team() * DIM + octet() * 8u;
    held[to] = low.x * factor;
    held[to + 1u] = low.y * factor;
    held[to + 2u] = low.z * factor;
    held[to + 3u] = low.w * factor;
    held[to + 4u] = high.x * factor;
    held[to + 5u] = high.y * factor;
    held[to + 6u] = high.z * factor;
    held[to + 7u] = high.w * factor;
}

void store() {
    uint d = invocation();
    if (d < DIM) {
        float sum = held[d], all_ = totals[0];
        [[unroll]] for (uint i = 1u; i < TEAMS; i++) {
            sum += held[i * DIM + d];
            all_ += totals[i];
        }
        float made = all_ != 0.0 ? sum / all_ : 0.0;
#ifdef GATE
        made *= sigmoid(open);
#endif
        y[p.y_at + (seq * CHUNKS + head) * DIM + d] = made;
    }
}

void ask() {
    int last_pos = pos[p.pos_at + seq], asked = slots[p.slots_at + seq], position = turns[p.turns_at + seq];
    own_row = rows[p.rows_at + seq];
    ask_inputs(seq, head, head / SHARE);
#ifdef GATE
    open = gate[p.gate_at + seq * p.gate_seq + head * p.gate_head + min(invocation(), DIM - 1u)];
#endif
    stop = min(p.n_kv, uint(max(last_pos + 1, 0)));
    slot = uint(clamp(asked, 0, int(p.n_slots) - 1));
    at = 0u;
    ask_angles(position);
    if (stop > 0u) {  // else the slot may be another's
        ask_keys(0u);
        ask_values(0u);
    }
    make_inputs();
}

void main() {
    uint group = group_index();
    head = group % CHUNKS;
    seq = group / CHUNKS;
    if (seq >= p.n_seqs) {
        return;
    }
    ask();
    barrier();
    if (head % SHARE == 0u && own_row >= 0 && uint(own_row) < p.n_slots * p.n_ctx) {
        write_own(uint(own_row) * p.cache_row + head / SHARE * TEAM);
    }
    do {
        uint next = at + TEAMS * KEYS;
        take_own(own_key() - first_key());
        make_scores();
        if (next < stop) {
            ask_keys(next);
        }
        add_values();
        if (next < stop) {
            ask_values(next);
        }
        at = next;
    } while (at < stop);
    gather();
    barrier();
    store();
}
