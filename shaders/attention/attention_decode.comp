// attention.comp's SPLIT for GPUs with subgroups: one token, each key and value read once for HEADS query heads that share
// them. TILE keys at a time: EIGHT invocations make a key's scores, a quad of the key each in turn; subgroups make a head's
// weights of them; then an invocation adds a quad of every KEY_SETS-th value for all heads.
//   y[b, h, part] = sums of exp(z - top) v, then top and the sum of exp(z - top), of the part's keys
// Heads of 4 n; q and y: inner stride 1; caches of one layout whose rows begin at quads, with
// -DHALVES of fp16; slots are clamped.
// Grid: a workgroup for each HEADS heads of each part of each sequence.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "maths.glsl"
#include "cached.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint DIM = 64;
layout(constant_id = 2) const uint HEADS = 1;
layout(constant_id = 3) const uint TILE = 64;

layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 1) readonly buffer K { QUAD k[]; };
layout(std430, binding = 2) readonly buffer V { QUAD v[]; };
layout(std430, binding = 3) readonly buffer Slots { int slots[]; };
layout(std430, binding = 4) readonly buffer Pos { int pos[]; };
layout(std430, binding = 5) buffer Y { float y[]; };
layout(push_constant) uniform Push {
    uint n_seqs, n_heads, n_parts, share, n_kv, n_slots;
    uint cache_slot, cache_row, slots_0;  // the caches' in quads
    uint q_seq, q_head, y_seq, y_part, y_head, pos_seq;
    uint q_at, k_at, v_at, slots_at, pos_at, y_at;
    float scale, cap;
} p;

const uint EIGHT = 8u, QUADS = DIM / 4u, PACKS = (HEADS + 3u) / 4u;
const uint TURNS = (QUADS + EIGHT - 1u) / EIGHT;
const uint AT_ONCE = 4u * N_PACK;  // values loaded before the first is used
const uint BURST = TURNS < AT_ONCE ? TURNS : AT_ONCE;  // quads of two keys, likewise
const uint KEY_SETS = gl_WorkGroupSize.x / QUADS;

shared vec4 query[HEADS * QUADS];  // then the sums of values
shared vec4 weights[TILE * PACKS];  // of key s and head h: [s * PACKS + h / 4][h % 4]
shared float tops[2u * HEADS], totals[HEADS], shrinks[HEADS];
uint tops_at = 0u;  // of the two: a tile writes the others, since compilers read all lanes' where the first alone wants its
vec4 acc[HEADS];
vec2 scores[HEADS];  // of two keys

#define EACH_HEAD [[unroll]] for (uint h = 0u; h < HEADS; h++)

uint invocation() {
    return gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
}

// Of the parts that EIGHT invocations have.
vec2 score_of(vec2 z) {
    [[unroll]] for (uint mask = 1u; mask < EIGHT; mask *= 2u) {
        z += subgroupShuffleXor(z, mask);
    }
    return z;
}

float capped(float z) {
    return p.cap > 0.0 ? p.cap * tanh_of(z / p.cap) : z;
}

// Products with two keys of their quads `quad`, `quad` + EIGHT, ...
void add_burst(uint row0, uint row1, uint quad) {
    QUAD keys0[BURST], keys1[BURST];
    [[unroll]] for (uint i = 0u; i < BURST; i++) {
        uint at = min(quad + i * EIGHT, QUADS - 1u);
        keys0[i] = k[row0 + at];
        keys1[i] = k[row1 + at];
    }
    [[unroll]] for (uint i = 0u; i < BURST; i++) {
        uint at = quad + i * EIGHT;
        if (QUADS % (BURST * EIGHT) == 0u || at < QUADS) {
            vec4 key0 = FOUR_OF(keys0[i]), key1 = FOUR_OF(keys1[i]);
            EACH_HEAD {
                vec4 of = query[h * QUADS + at];
                scores[h] += vec2(dot(of, key0), dot(of, key1));
            }
        }
    }
}

// Of n keys whose first stands at `first`, in quads.
void make_scores(uint first, uint n) {
    uint part = invocation() % EIGHT, step_ = gl_WorkGroupSize.x / EIGHT;
    [[dont_unroll]] for (uint from = 0u; from < n; from += 2u * step_) {
        uint s = from + invocation() / EIGHT;
        uint row0 = first + min(s, n - 1u) * p.cache_row, row1 = first + min(s + step_, n - 1u) * p.cache_row;
        EACH_HEAD {
            scores[h] = vec2(0);
        }
        [[dont_unroll]] for (uint turn = 0u; turn < TURNS; turn += BURST) {
            add_burst(row0, row1, part + turn * EIGHT);
        }
        EACH_HEAD {
            vec2 z = score_of(scores[h]);
            bool is_mine = part == h % EIGHT;
            if (is_mine && s < n) {
                weights[s * PACKS + h / 4u][h % 4u] = z.x;
            }
            if (is_mine && s + step_ < n) {
                weights[(s + step_) * PACKS + h / 4u][h % 4u] = z.y;
            }
        }
    }
}

// Scores to weights, a head a subgroup.
void make_weights(uint n) {
    [[dont_unroll]] for (uint h = gl_SubgroupID; h < HEADS; h += gl_NumSubgroups) {
        float top = gl_SubgroupInvocationID == 0u ? tops[tops_at + h] : -INFINITY, most = top, sum = 0.0;
        [[dont_unroll]] for (uint s = gl_SubgroupInvocationID; s < n; s += gl_SubgroupSize) {
            float z = capped(weights[s * PACKS + h / 4u][h % 4u]);
            weights[s * PACKS + h / 4u][h % 4u] = z;
            most = max(most, z);
        }
        float higher = subgroupMax(most);
        [[dont_unroll]] for (uint s = gl_SubgroupInvocationID; s < n; s += gl_SubgroupSize) {
            float weight = exp_of(weights[s * PACKS + h / 4u][h % 4u] - higher);
            weights[s * PACKS + h / 4u][h % 4u] = weight;
            sum += weight;
        }
        sum = subgroupAdd(sum);
        if (gl_SubgroupInvocationID == 0u) {
            shrinks[h] = exp_of(top - higher);
            totals[h] = totals[h] * shrinks[h] + sum;
            tops[HEADS - tops_at + h] = higher;
        }
    }
    tops_at = HEADS - tops_at;
}

QUAD values[AT_ONCE];

void load_values(uint first, uint from, uint n) {
    uint quad = invocation() % QUADS;
    [[unroll]] for (uint i = 0u; i < AT_ONCE; i++) {
        values[i] = v[first + min(from + i * KEY_SETS, n - 1u) * p.cache_row + quad];
    }
}

// The first values were loaded before.
void add_values(uint first, uint n) {
    uint set = invocation() / QUADS;
    EACH_HEAD {
        acc[h] *= shrinks[h];
    }
    [[dont_unroll]] for (uint from = set < KEY_SETS ? set : n; from < n; from += AT_ONCE * KEY_SETS) {
        if (from != set) {
            load_values(first, from, n);
        }
        [[unroll]] for (uint i = 0u; i < AT_ONCE; i++) {
            uint s = from + i * KEY_SETS;
            vec4 pack[PACKS];
            [[unroll]] for (uint j = 0u; j < PACKS; j++) {
                pack[j] = s < n ? weights[s * PACKS + j] : vec4(0);
            }
            vec4 value = s < n ? FOUR_OF(values[i]) : vec4(0);
            EACH_HEAD {
                acc[h] += pack[h / 4u][h % 4u] * value;
            }
        }
    }
}

// The sums of all sets of keys, in `query`.
void join_sums() {
    uint quad = invocation() % QUADS, set = invocation() / QUADS;
    [[dont_unroll]] for (uint i = 0u; i < KEY_SETS; i++) {
        barrier();
        if (set == i) {
            EACH_HEAD {
                query[h * QUADS + quad] = i == 0u ? acc[h] : query[h * QUADS + quad] + acc[h];
            }
        }
    }
    barrier();
}

void start(uint q_row) {
    for (uint i = invocation(); i < HEADS * QUADS; i += gl_WorkGroupSize.x) {
        uint at = q_row + i / QUADS * p.q_head + i % QUADS * 4u;
        query[i] = vec4(q[at], q[at + 1u], q[at + 2u], q[at + 3u]) * p.scale;
    }
    [[dont_unroll]] for (uint h = invocation(); h < HEADS; h += gl_WorkGroupSize.x) {
        tops[h] = -INFINITY;
        totals[h] = 0.0;
    }
    [[dont_unroll]] for (uint i = invocation(); HEADS % 4u != 0u && i < TILE * PACKS; i += gl_WorkGroupSize.x) {
        weights[i] = vec4(0);  // those of no head are read along
    }
    EACH_HEAD {
        acc[h] = vec4(0);
    }
    barrier();
}

void store(uint y_row) {
    [[dont_unroll]] for (uint i = invocation(); i < HEADS * DIM; i += gl_WorkGroupSize.x) {
        y[y_row + i / DIM * p.y_head + i % DIM] = query[i / 4u][i % 4u];
    }
    [[dont_unroll]] for (uint h = invocation(); h < HEADS; h += gl_WorkGroupSize.x) {
        y[y_row + h * p.y_head + DIM] = tops[tops_at + h];
        y[y_row + h * p.y_head + DIM + 1u] = totals[h];
    }
}

void main() {
    uint group = group_index(), n_chunks = p.n_heads / HEADS;
    uint head = group % n_chunks * HEADS, step_ = group / n_chunks % p.n_parts, seq = group / n_chunks / p.n_parts;
    if (seq >= p.n_seqs) {
        return;
    }
    uint stop = min(p.n_kv, uint(max(pos[p.pos_at + seq * p.pos_seq] + 1, 0)));
    uint size = (stop + p.n_parts - 1u) / p.n_parts, first = step_ * size, last = min(first + size, stop);
    uint slot = uint(clamp(slots[p.slots_at + seq * p.slots_0], 0, int(p.n_slots) - 1));
    uint cache = slot * p.cache_slot + head / p.share * QUADS;
    start(p.q_at + seq * p.q_seq + head * p.q_head);
    [[dont_unroll]] for (uint s = first; s < last; s += TILE) {
        uint n = min(TILE, last - s);
        load_values((p.v_at >> 2) + cache + s * p.cache_row, invocation() / QUADS, n);
        make_scores((p.k_at >> 2) + cache + s * p.cache_row, n);
        barrier();
        make_weights(n);
        barrier();
        add_values((p.v_at >> 2) + cache + s * p.cache_row, n);
        barrier();
    }
    join_sums();
    store(p.y_at + seq * p.y_seq + step_ * p.y_part + head * p.y_head);
}
