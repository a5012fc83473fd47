// What attention of one token makes of it by itself: queries, the own key and value. -DNORM: queries and the
// key are normed first, by head. A team, of TEAM invocations of a subgroup next to each other, has a head of queries and the
// own key beside, of which an invocation has eight dims. Eight teams by different numbers, team(), make halves of it.

layout(constant_id = 8) const uint HALF = 32;  // of the dims that are turned, the first ones; a multiple of 8
layout(constant_id = 9) const uint NEIGHBOURS = 0;  // pairs (2i, 2i + 1) in the place of (i, i + HALF)

layout(std430, binding = 6) readonly buffer OwnK { vec4 own_k[]; };
layout(std430, binding = 7) readonly buffer OwnV { float own_v[]; };
layout(std430, binding = 8) readonly buffer Turns { int turns[]; };  // positions by which is turned
layout(std430, binding = 9) readonly buffer Table { vec4 table[]; };
layout(std430, binding = 10) readonly buffer Rows { int rows[]; };  // of the caches, counted over slots
#ifdef NORM
layout(std430, binding = 11) readonly buffer QNorm { vec4 q_norm[]; };
layout(std430, binding = 12) readonly buffer KNorm { vec4 k_norm[]; };
#endif

shared uvec4 fresh[2u * TEAM];  // the own key, then the own value, as they go to the caches

int own_row;
vec4 query_low, query_high, key_low, key_high;
vec2 value_pair;  // of the own value
vec4 cos_low, cos_high, sin_low, sin_high;
#ifdef NORM
vec4 q_norm_low, q_norm_high, k_norm_low, k_norm_high;
#endif

// Of a head's eights.
uint octet() {
    return gl_SubgroupInvocationID % TEAM;
}

void ask_inputs(uint seq, uint head, uint key) {
    uint at = ((p.q_at + seq * p.q_seq + head * p.q_head) >> 2) + octet() * 2u;
    query_low = q[at];
    query_high = q[at + 1u];
    at = ((p.own_k_at + seq * p.own_k_seq + key * p.own_k_head) >> 2) + octet() * 2u;
    key_low = own_k[at];
    key_high = own_k[at + 1u];
    at = p.own_v_at + seq * p.own_v_seq + key * p.own_v_head + octet() * 8u + team() % 4u * 2u;
    value_pair = vec2(own_v[at], own_v[at + 1u]);
#ifdef NORM
    at = (p.q_norm_at >> 2) + octet() * 2u;
    q_norm_low = q_norm[at];
    q_norm_high = q_norm[at + 1u];
    at = (p.k_norm_at >> 2) + octet() * 2u;
    k_norm_low = k_norm[at];
    k_norm_high = k_norm[at + 1u];
#endif
}

// Sines have the signs with which the others of pairs are added.
void ask_angles(int position) {
    uint at = (p.table_at >> 2) + uint(clamp(position, 0, int(p.n_table) - 1)) * (HALF / 2u);
    if (NEIGHBOURS != 0u) {
        at += min(octet(), HALF / 4u - 1u);
        vec4 c = table[at], s = table[at + HALF / 4u];
        cos_low = vec4(c.x, c.x, c.y, c.y);
        cos_high = vec4(c.z, c.z, c.w, c.w);
        sin_low = vec4(-s.x, s.x, -s.y, s.y);
        sin_high = vec4(-s.z, s.z, -s.w, s.w);
    } else {
        at += octet() % (HALF / 8u) * 2u;
        float sign_of = octet() < HALF / 8u ? -1.0 : 1.0;
        cos_low = table[at];
        cos_high = table[at + 1u];
        sin_low = table[at + HALF / 4u] * sign_of;
        sin_high = table[at + HALF / 4u + 1u] * sign_of;
    }
}

// What the queries and the own key are multiplied with once they are turned, which is done while sums are under way.
float query_factor, key_factor = 1.0;

#ifdef NORM
float factor_of(float squares) {
    return 1.0 / sqrt(squares / float(DIM) + p.eps);
}

#define ADD_OTHERS_OF_TEAM(bits)                              \
    if (TEAM > (bits)) {                                      \
        of_query += subgroupShuffleXor(of_query, (bits));     \
        of_key += subgroupShuffleXor(of_key, (bits));         \
    }

void norm_inputs() {
    float of_query = dot(query_low, query_low) + dot(query_high, query_high);
    float of_key = dot(key_low, key_low) + dot(key_high, key_high);
    query_low *= q_norm_low;
    query_high *= q_norm_high;
    key_low *= k_norm_low;
    key_high *= k_norm_high;
    ADD_OTHERS_OF_TEAM(1u)
    ADD_OTHERS_OF_TEAM(2u)
    ADD_OTHERS_OF_TEAM(4u)
    ADD_OTHERS_OF_TEAM(8u)
    ADD_OTHERS_OF_TEAM(16u)
    query_factor *= factor_of(of_query);
    key_factor = factor_of(of_key);
}
#endif

vec4 others(vec4 x) {
    vec4 other = vec4(x.y, x.x, x.w, x.z);
    if (NEIGHBOURS == 0u) {
        uint n = HALF / 8u, from = gl_SubgroupInvocationID;
        from = octet() < n ? from + n : octet() < 2u * n ? from - n : from;
        other.x = subgroupShuffle(x.x, from);
        other.y = subgroupShuffle(x.y, from);
        other.z = subgroupShuffle(x.z, from);
        other.w = subgroupShuffle(x.w, from);
    }
    return other;
}

vec4 turned(vec4 x, vec4 cosines, vec4 sines) {
    vec4 made = x * cosines + others(x) * sines;
    return octet() * 8u < 2u * HALF ? made : x;
}

// What goes to the caches is in shared memory, which a barrier makes known. Halves are made by eight teams: a word each.
void make_inputs() {
    query_factor = p.scale;
#ifdef NORM
    norm_inputs();
#endif
    query_low = turned(query_low, cos_low, sin_low);
    query_high = turned(query_high, cos_high, sin_high);
    key_low = turned(key_low, cos_low, sin_low);
    key_high = turned(key_high, cos_high, sin_high);
    query_low *= query_factor;
    query_high *= query_factor;
    if (team() < 8u) {
        uint word = team() % 4u;
        vec4 four = word < 2u ? key_low : key_high;
        vec2 two = word % 2u == 0u ? four.xy : four.zw;
        two = team() < 4u ? two * key_factor : value_pair;
        fresh[team() / 4u * TEAM + octet()][word] = f32_to_f16(two.x) | f32_to_f16(two.y) << 16;
    }
}

void write_own(uint row) {
    uint own = invocation();
    if (own < TEAM) {
        k[(p.k_at >> 3) + row + own] = fresh[own];
    } else if (own < 2u * TEAM) {
        v[(p.v_at >> 3) + row + own - TEAM] = fresh[own];
    }
}
