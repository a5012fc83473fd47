// attention_decode.comp for parts of at most 32 keys of fp16, without a loop: everything is asked for before anything is
// used, and code that is not in the cache is walked through once. TEAM invocations hold eight dims each of KEYS keys and
// of their values. Of the products of all dims with HEADS queries each keeps the sum of one key and head, which becomes
// a weight; then each adds its dims of its KEYS values for all heads, and the teams' sums are added in shared memory.
//   y as in attention_decode.comp
// DIM is 64, 128 or 256, HEADS at most 8. q, y: inner stride 1; caches whose rows begin at multiples of 8 halves; slots
// are clamped.
// -DROPE: q and the step's own keys and values come as projections make them, see attention_inputs.glsl. The own row of
// a cache is written by the first part, read by none: its numbers are known to all. Caches and y are contiguous.
// Grid: a workgroup for each HEADS heads of each part of each sequence.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "maths.glsl"
#include "each.glsl"
#ifdef ROPE
#include "numbers.glsl"
#endif

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint DIM = 64;
layout(constant_id = 2) const uint HEADS = 8;
layout(constant_id = 3) const uint SUBGROUP = 32;  // at least TEAM
layout(constant_id = 6) const uint CAPPED = 0;
layout(constant_id = 7) const uint KEYS = 4;  // a power of two

#include "attention_parts.glsl"

const uint LANES = gl_WorkGroupSize.x, TEAM = DIM / 8u;
const uint QUADS = DIM / 4u, QUERIES = (HEADS * QUADS + LANES - 1u) / LANES;  // quads of all queries an invocation brings
const uint SLOTS = 8u, AT_ONCE = 4u;  // heads that a key has room for; whose sums are in shared memory together
const uint SUBGROUPS = LANES / SUBGROUP;

shared vec4 held[2u * AT_ONCE * LANES];  // the queries, then sums of values
shared float tops[SUBGROUPS * SLOTS], totals[SUBGROUPS * SLOTS];
uint slot, start, stop, n_keys;  // a sequence's keys from `start` on, of those before `stop` that it sees
uvec4 keys[KEYS], values[KEYS];
float scores[32];  // of key j and head h: [j * SLOTS + h]
float weight;  // of key lane() / SLOTS, where there is one, and head lane() % SLOTS
float top;  // of that head
vec4 low[HEADS], high[HEADS];  // sums of values

uint invocation() {
    return gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID;
}

uint lane() {
    return gl_SubgroupInvocationID % TEAM;
}

uint team() {
    return invocation() / TEAM;
}

uint first_key() {
    return team() * KEYS;
}

vec4 four_halves(uint a, uint b) {
    return vec4(unpackHalf2x16(a), unpackHalf2x16(b));
}

#ifdef ROPE
#include "attention_inputs.glsl"
#include "attention_own.glsl"

void hold_inputs() {
    make_inputs();
    if (team() < HEADS) {
        held[team() * 2u * TEAM + lane()] = query_low;
        held[(team() * 2u + 1u) * TEAM + lane()] = query_high;
    }
}
#else
void hold_queries(uint q_row) {
    [[unroll]] for (uint i = 0u; i < QUERIES; i++) {
        uint of = invocation() + i * LANES, head = of / QUADS, quad = of % QUADS;
        if (HEADS * QUADS % LANES == 0u || head < HEADS) {
            uint at = q_row + head * p.q_head + quad * 4u;
            held[(head * 2u + quad % 2u) * TEAM + quad / 2u] = vec4(q[at], q[at + 1u], q[at + 2u], q[at + 3u]) * p.scale;
        }
    }
}
#endif

void add_products(vec4 query, vec4 key, uint of) {
    scores[of] += query.x * key.x;
    scores[of] += query.y * key.y;
    scores[of] += query.z * key.z;
    scores[of] += query.w * key.w;
}

// Of the invocation's eight dims.
void make_scores() {
    [[unroll]] for (uint i = 0u; i < 32u; i++) {
        scores[i] = 0.0;
    }
    [[unroll]] for (uint h = 0u; h < HEADS; h++) {
        vec4 first = held[h * 2u * TEAM + lane()], second = held[(h * 2u + 1u) * TEAM + lane()];
        [[unroll]] for (uint j = 0u; j < KEYS; j++) {
            add_products(first, four_halves(keys[j].x, keys[j].y), j * SLOTS + h);
            add_products(second, four_halves(keys[j].z, keys[j].w), j * SLOTS + h);
        }
    }
}

// Each half of 2 n invocations keeps half of 2 n scores and gives the others away.
void exchange(uint i, uint n) {
    bool is_upper = (gl_SubgroupInvocationID & n) != 0u;
    float kept = is_upper ? scores[i + n] : scores[i], given = is_upper ? scores[i] : scores[i + n];
    scores[i] = kept + subgroupShuffleXor(given, n);
}

#define EXCHANGE_16(i) exchange(i, 16u); exchange((i) + 8u, 16u)
#define EXCHANGE_8(i) exchange(i, 8u)
#define EXCHANGE_4(i) exchange(i, 4u)
#define EXCHANGE_2(i) exchange(i, 2u)

// Sums of all dims, the invocation's own in scores[0].
void add_scores() {
    EACH_TO_8(KEYS > 2u ? 8u : 0u, EXCHANGE_16)
    EACH_TO_8(KEYS > 1u ? 8u : 0u, EXCHANGE_8)
    EACH_TO_8(4u, EXCHANGE_4)
    EACH_TO_8(2u, EXCHANGE_2)
    exchange(0u, 1u);
    [[unroll]] for (uint mask = KEYS * SLOTS; mask < TEAM; mask *= 2u) {
        scores[0] += subgroupShuffleXor(scores[0], mask);
    }
}

float most_of(float z) {
    [[unroll]] for (uint mask = SLOTS; mask < SUBGROUP; mask *= 2u) {
        z = max(z, subgroupShuffleXor(z, mask));
    }
    return z;
}

float sum_of(float z) {
    [[unroll]] for (uint mask = SLOTS; mask < SUBGROUP; mask *= 2u) {
        z += subgroupShuffleXor(z, mask);
    }
    return z;
}

void make_weight() {
    bool is_known = lane() < KEYS * SLOTS && first_key() + lane() / SLOTS < n_keys;
    bool is_first = gl_SubgroupInvocationID < SLOTS;
    uint of = gl_SubgroupID * SLOTS + gl_SubgroupInvocationID;
    float z = CAPPED != 0u ? p.cap * tanh_of(scores[0] / p.cap) : scores[0];
    float most = most_of(is_known ? z : -INFINITY);
    if (is_first) {
        tops[of] = most;
    }
    barrier();
    top = tops[lane() % SLOTS];
    [[unroll]] for (uint i = 1u; i < SUBGROUPS; i++) {
        top = max(top, tops[i * SLOTS + lane() % SLOTS]);
    }
    weight = is_known ? exp_of(z - top) : 0.0;
    float sum = sum_of(weight);
    if (is_first) {
        totals[of] = sum;
    }
}

void add_value(uint j) {
    uvec4 words = first_key() + j < n_keys ? values[j] : uvec4(0);  // an unknown one may be NaN
    vec4 first = four_halves(words.x, words.y), second = four_halves(words.z, words.w);
    uint from = gl_SubgroupInvocationID - lane() + j * SLOTS;
#define ADD(h)                                          \
    {                                                   \
        float times = subgroupShuffle(weight, from + h); \
        low[h] += times * first;                        \
        high[h] += times * second;                      \
    }
    EACH_TO_8(HEADS, ADD)
}

// The sums of the heads from `head` on, which a barrier precedes: from each team's to y.
void store_sums(uint head, uint y_row) {
    uint own = invocation(), of = own / TEAM, quad = own % TEAM * 2u + of % 2u;
    [[unroll]] for (uint h = 0u; h < AT_ONCE; h++) {
        if (head + h < HEADS) {
            held[h * 2u * LANES + own] = low[min(head + h, HEADS - 1u)];
            held[(h * 2u + 1u) * LANES + own] = high[min(head + h, HEADS - 1u)];
        }
    }
    barrier();
    if (of < 2u * AT_ONCE && head + of / 2u < HEADS) {
        vec4 sum = held[of * LANES + own % TEAM];
        [[unroll]] for (uint i = TEAM; i < LANES; i += TEAM) {
            sum += held[of * LANES + i + own % TEAM];
        }
        uint at = y_row + (head + of / 2u) * Y_HEAD + quad * 4u;
        y[at] = sum.x;
        y[at + 1u] = sum.y;
        y[at + 2u] = sum.z;
        y[at + 3u] = sum.w;
    }
}

void store(uint y_row) {
    uint own = invocation();
    store_sums(0u, y_row);
    if (own < HEADS) {
        float total = totals[own];
        [[unroll]] for (uint i = 1u; i < SUBGROUPS; i++) {
            total += totals[i * SLOTS + own];
        }
        y[y_row + own * Y_HEAD + DIM] = top;
        y[y_row + own * Y_HEAD + DIM + 1u] = total;
    }
    if (HEADS > AT_ONCE) {
        barrier();
        store_sums(AT_ONCE, y_row);
    }
}

// Of keys and values the invocation's eight dims of its rows, or of others that are seen. The own row is another's to
// write: in its place comes a neighbour.
void ask_rows(uint own) {
    uint in_row = chunk / SHARE * TEAM + lane();
    uint k_first = (p.k_at >> 3) + slot * K_SLOT + in_row, v_first = (p.v_at >> 3) + slot * V_SLOT + in_row;
    [[unroll]] for (uint j = 0u; j < KEYS; j++) {
        uint row = min(start + first_key() + j, max(stop, 1u) - 1u);
#ifdef ROPE
        row = row != own ? row : own > 0u ? own - 1u : 1u;
#endif
        keys[j] = k[k_first + row * K_ROW];
        values[j] = v[v_first + row * V_ROW];
    }
}

// Queries are in shared memory behind it.
void ask() {
    int last_pos = pos[p.pos_at + seq * POS_SEQ], asked = slots[p.slots_at + seq * SLOTS_0];
#ifdef ROPE
    int position = turns[p.turns_at + seq];
    own_row = rows[p.rows_at + seq];
    ask_inputs(seq, chunk * HEADS + min(team(), HEADS - 1u), chunk / SHARE);
#endif
    stop = min(p.n_kv, uint(max(last_pos + 1, 0)));
    slot = uint(clamp(asked, 0, int(p.n_slots) - 1));
    uint size = size_of_parts(stop);
    start = min(part * size, stop);
    n_keys = min(size, stop - start);
#ifdef ROPE
    ask_angles(position);
    if (stop > 0u) {  // else the slot may be another's
        ask_rows(uint(own_row) - slot * p.n_ctx);
    }
    hold_inputs();
#else
    ask_rows(0u);
    hold_queries(p.q_at + seq * p.q_seq + chunk * HEADS * p.q_head);
#endif
}

void main() {
    find_part();
    if (seq >= p.n_seqs) {
        return;
    }
    ask();
    [[unroll]] for (uint h = 0u; h < HEADS; h++) {
        low[h] = vec4(0);
        high[h] = vec4(0);
    }
    barrier();
#ifdef ROPE
    take_own(uint(own_row) - slot * p.n_ctx - start - first_key());
    if (part == 0u && chunk % SHARE == 0u && own_row >= 0 && uint(own_row) < p.n_slots * p.n_ctx) {
        write_own(uint(own_row) * K_ROW + chunk / SHARE * TEAM);
    }
#endif
    make_scores();
    add_scores();
    make_weight();
    EACH_TO_8(KEYS, add_value)
    store(p.y_at + seq * Y_SEQ + part * Y_PART + chunk * HEADS * Y_HEAD);
}
