// attention.comp's SPLIT for GPUs with subgroups: one token, each key and value read once for HEADS query heads that share
// them. TILE keys at a time: EIGHT invocations make a key's scores, a quad of the key each in turn; subgroups make a head's
// weights of them; then an invocation adds a quad of every KEY_SETS-th value for all heads.
//   y[b, h, part] = sums of exp(z - top) v, then top and the sum of exp(z - top), of the part's keys
// Heads of 4 n; q and y: inner stride 1; caches whose rows begin at quads, with -DK_HALVES and -DV_HALVES of fp16, with
// -DK_QUANTS and -DV_QUANTS of Q8_0, whose heads are whole blocks; slots are clamped.
// window: where not 0 only the last so many keys; RING: the key of position s stands in row s % n_ctx of its slot.
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
layout(constant_id = 4) const uint K_SCALES = 0u;  // of rows of Q8_0, the words before their scales
layout(constant_id = 5) const uint V_SCALES = 0u;
layout(constant_id = 6) const uint RING = 0u;

layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 1) readonly buffer K { K_QUAD k[]; };
layout(std430, binding = 2) readonly buffer V { V_QUAD v[]; };
layout(std430, binding = 3) readonly buffer Slots { int slots[]; };
layout(std430, binding = 4) readonly buffer Pos { int pos[]; };
layout(std430, binding = 5) buffer Y { float y[]; };
layout(push_constant) uniform Push {
    uint n_seqs, n_heads, n_parts, share, n_kv, n_slots, window, n_ctx;
    uint k_slot, k_row, v_slot, v_row, slots_0;  // the caches' in quads
    uint q_seq, q_head, y_seq, y_part, y_head, pos_seq;
    uint q_at, k_at, v_at, slots_at, pos_at, y_at;
    float scale, cap;
} p;

const uint EIGHT = 8u, QUADS = DIM / 4u, PACKS = (HEADS + 3u) / 4u;
const uint TURNS = (QUADS + EIGHT - 1u) / EIGHT;
#if defined(V_HALVES) || defined(V_QUANTS)
const uint AT_ONCE = 8u;  // values loaded before the first is used
#else
const uint AT_ONCE = 4u;
#endif
const uint MOST_KEYS = 4u * K_N_PACK, BURST = TURNS < MOST_KEYS ? TURNS : MOST_KEYS;  // quads of two keys, likewise
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

uint k_shift, v_shift;  // see cached.glsl
uint n_before;  // rows from a tile's first key to the ring's end

// How far a tile's key s, at most the last of n, stands below its first: of a ring also above, so that rows wrap.
uint row_of(uint s, uint n) {
    uint own = min(s, n - 1u);
    return RING != 0u && own >= n_before ? own - p.n_ctx : own;
}

#ifdef K_QUANTS
const bool PAIRED = DIM % 64u == 0u;  // a head's scales begin with a word's
uint words0[BURST], words1[BURST];  // with the scales of those quads, which are a block's for all EIGHT

void load_scales(uint row0, uint row1, uint turn) {
    [[unroll]] for (uint i = 0u; i < BURST; i++) {
        uint at = (k_shift + min(turn + i, TURNS - 1u)) >> 1;
        bool is_known = PAIRED && (i & 1u) == 1u;
        words0[i] = is_known ? words0[i - (i & 1u)] : k[row0 + at];
        words1[i] = is_known ? words1[i - (i & 1u)] : k[row1 + at];
    }
}
#else
#define load_scales(row0, row1, turn)
#endif

vec4 key_of(K_QUAD key, uint i, uint of, uint turn) {
#if defined(K_QUANTS)
    return four_bytes(key) * scale_in(of == 0u ? words0[i] : words1[i], k_shift + turn + i);
#elif defined(K_HALVES)
    return FOUR_HALVES(key);
#else
    return key;
#endif
}

// Products with two keys of their quads, from `turn` on the invocation's of EIGHT each.
void add_burst(uint row0, uint row1, uint turn) {
    K_QUAD keys0[BURST], keys1[BURST];
    uint quad = invocation() % EIGHT + turn * EIGHT;
    [[unroll]] for (uint i = 0u; i < BURST; i++) {
        uint at = min(quad + i * EIGHT, QUADS - 1u);
        keys0[i] = k[row0 + at];
        keys1[i] = k[row1 + at];
    }
    load_scales(row0, row1, turn);
    [[unroll]] for (uint i = 0u; i < BURST; i++) {
        uint at = quad + i * EIGHT;
        if (QUADS % (BURST * EIGHT) == 0u || at < QUADS) {
            vec4 key0 = key_of(keys0[i], i, 0u, turn), key1 = key_of(keys1[i], i, 1u, turn);
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
        uint row0 = first + row_of(s, n) * p.k_row, row1 = first + row_of(s + step_, n) * p.k_row;
        EACH_HEAD {
            scores[h] = vec2(0);
        }
        [[dont_unroll]] for (uint turn = 0u; turn < TURNS; turn += BURST) {
            add_burst(row0, row1, turn);
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

V_QUAD values[AT_ONCE];
#ifdef V_QUANTS
uint value_scales[AT_ONCE];
#endif

void load_values(uint first, uint from, uint n) {
    uint quad = invocation() % QUADS;
    [[unroll]] for (uint i = 0u; i < AT_ONCE; i++) {
        uint row = first + row_of(from + i * KEY_SETS, n) * p.v_row;
        values[i] = v[row + quad];
#ifdef V_QUANTS
        value_scales[i] = v[row + ((v_shift + quad / 8u) >> 1)];
#endif
    }
}

vec4 value_of(uint i) {
#if defined(V_QUANTS)
    return four_bytes(values[i]) * scale_in(value_scales[i], v_shift + invocation() % QUADS / 8u);
#elif defined(V_HALVES)
    return FOUR_HALVES(values[i]);
#else
    return values[i];
#endif
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
            vec4 value = s < n ? value_of(i) : vec4(0);
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

// The first key of a part, and the first one behind it.
uvec2 keys_of(uint part, int position) {
    uint stop = min(p.n_kv, uint(max(position + 1, 0)));
    uint seen = p.window > 0u ? uint(max(position + 1 - int(p.window), 0)) : 0u;
    uint size = (stop - min(seen, stop) + p.n_parts - 1u) / p.n_parts, first = seen + part * size;
    return uvec2(first, min(first + size, stop));
}

void main() {
    uint group = group_index(), n_chunks = p.n_heads / HEADS;
    uint head = group % n_chunks * HEADS, step_ = group / n_chunks % p.n_parts, seq = group / n_chunks / p.n_parts;
    if (seq >= p.n_seqs) {
        return;
    }
    uvec2 keys = keys_of(step_, pos[p.pos_at + seq * p.pos_seq]);
    uint slot = uint(clamp(slots[p.slots_at + seq * p.slots_0], 0, int(p.n_slots) - 1));
    uint in_row = head / p.share * QUADS, k_first = K_QUAD_AT(p.k_at) + slot * p.k_slot + in_row;
    uint v_first = V_QUAD_AT(p.v_at) + slot * p.v_slot + in_row;
    k_shift = shift_of(K_SCALES, 4u * in_row);
    v_shift = shift_of(V_SCALES, 4u * in_row);
    start(p.q_at + seq * p.q_seq + head * p.q_head);
    [[dont_unroll]] for (uint s = keys.x; s < keys.y; s += TILE) {
        uint n = min(TILE, keys.y - s), row = RING != 0u ? s % p.n_ctx : s;
        n_before = p.n_ctx - row;
        load_values(v_first + row * p.v_row, invocation() / QUADS, n);
        make_scores(k_first + row * p.k_row, n);
        barrier();
        make_weights(n);
        barrier();
        add_values(v_first + row * p.v_row, n);
        barrier();
    }
    join_sums();
    store(p.y_at + seq * p.y_seq + step_ * p.y_part + head * p.y_head);
}
