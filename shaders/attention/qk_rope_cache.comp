// Attention's inputs: rope(q) into y, rope(k) and v into rows of their caches; rows outside are dropped. -DNORM: q and k
// are normed first, by head. -DBIAS: before that each of q, k and v gets a bias. -DHALVES: caches are fp16, rounded to
// nearest, of heads of even sizes. -DQUANTS: they are Q8_0, of heads of whole blocks. -DSCALES: turned queries are
// multiplied by their position's factor.
// Tokens are counted over sequences. q, k, v, y [n, heads, dim]: inner stride 1; caches [n_rows, heads * dim] contiguous.
// Grid: a workgroup for each head of q, then of k, then of v, of each token.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "rows.glsl"
#include "cached.glsl"
#ifdef QUANTS
#include "quantised.glsl"
#endif

layout(constant_id = 3) const uint DIM = 64;
layout(constant_id = 4) const uint NEIGHBOURS = 0u;  // pairs (2i, 2i + 1) in the place of (i, i + half)

layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 1) readonly buffer K { float k[]; };
layout(std430, binding = 2) readonly buffer V { float v[]; };
layout(std430, binding = 3) readonly buffer Pos { int pos[]; };
layout(std430, binding = 4) readonly buffer Table { float table[]; };
layout(std430, binding = 5) readonly buffer Rows { int rows[]; };
layout(std430, binding = 6) buffer Y { float y[]; };
layout(std430, binding = 7) buffer KCache { PACK k_cache[]; };
layout(std430, binding = 8) buffer VCache { PACK v_cache[]; };
#ifdef NORM
layout(std430, binding = 9) readonly buffer QNorm { float q_norm[]; };
layout(std430, binding = 10) readonly buffer KNorm { float k_norm[]; };
#endif
#ifdef BIAS
#ifdef NORM
#define Q_BIAS_BINDING 11
#define K_BIAS_BINDING 12
#define V_BIAS_BINDING 13
#else
#define Q_BIAS_BINDING 9
#define K_BIAS_BINDING 10
#define V_BIAS_BINDING 11
#endif
layout(std430, binding = Q_BIAS_BINDING) readonly buffer QBias { float q_bias[]; };
layout(std430, binding = K_BIAS_BINDING) readonly buffer KBias { float k_bias[]; };
layout(std430, binding = V_BIAS_BINDING) readonly buffer VBias { float v_bias[]; };
#endif
#ifdef SCALES
layout(std430, binding = 9) readonly buffer QScales { float q_scales[]; };  // [n_scales], alone beside the caches
#endif
layout(push_constant) uniform Push {
    uint n_tokens, n_heads, n_heads_kv, dim, half_dims, n_table, n_rows;
    uint q_token, q_head, k_token, k_head, v_token, v_head, y_token, y_head;
    uint q_at, k_at, v_at, pos_at, table_at, rows_at, y_at, k_cache_at, v_cache_at;
#ifdef NORM
    uint q_norm_at, k_norm_at;
    float eps;
#endif
#ifdef BIAS
    uint q_bias_at, k_bias_at, v_bias_at;
#endif
#ifdef SCALES
    uint q_scales_at, n_scales;
#endif
#ifdef QUANTS
    uint cache_row;  // in words
#endif
} p;

shared float row_[DIM];

#define FIRST(d) (NEIGHBOURS != 0u ? 2u * (d) : (d))
#define SECOND(d) (NEIGHBOURS != 0u ? 2u * (d) + 1u : (d) + p.half_dims)

bool is_key;  // or a query
uint head, from;  // where the head starts in q or in k

#ifdef BIAS
#define BIASED(x, name, d) (x + name[p.name##_at + head * p.dim + d])
#else
#define BIASED(x, name, d) x
#endif

float value(uint d) {
    if (is_key) {
        return BIASED(k[from + d], k_bias, d);
    }
    return BIASED(q[from + d], q_bias, d);
}

float factor;

float normed(uint d) {
#ifdef NORM
    float w = 0.0;
    if (is_key) {
        w = k_norm[p.k_norm_at + d];
    } else {
        w = q_norm[p.q_norm_at + d];
    }
    return value(d) * factor * w;
#else
    return value(d);
#endif
}

void find_factor() {
#ifdef NORM
    float total = 0.0;
    [[dont_unroll]] for (uint d = LANE; d < p.dim; d += LANES) {
        float x = value(d);
        total += x * x;
    }
    factor = 1.0 / sqrt(group_sum(total) / float(p.dim) + p.eps);
#endif
}

// The head, normed and turned, in row_.
void turn(int position) {
    find_factor();
    uint angle = p.table_at + uint(clamp(position, 0, int(p.n_table) - 1)) * 2u * p.half_dims;
    [[dont_unroll]] for (uint d = LANE; d < p.half_dims; d += LANES) {
        float c = table[angle + d], s = table[angle + d + p.half_dims];
        float a = normed(FIRST(d)), b = normed(SECOND(d));
        row_[FIRST(d)] = a * c - b * s;
        row_[SECOND(d)] = a * s + b * c;
    }
    [[dont_unroll]] for (uint d = 2u * p.half_dims + LANE; d < p.dim; d += LANES) {
        row_[d] = normed(d);
    }
    barrier();
}

float scale_of(int position) {
#ifdef SCALES
    return q_scales[p.q_scales_at + uint(clamp(position, 0, int(p.n_scales) - 1))];
#else
    return 1.0;
#endif
}

float values(uint first, uint d) {
    return BIASED(v[first + d], v_bias, d);
}

#ifdef HALVES
uint pack_of(float a, float b) {
    return f32_to_f16(a) | f32_to_f16(b) << 16;
}
#endif

#ifdef QUANTS
// Where the head starts in a row of a cache, and its scales from there in halves.
uint head_word(uint row) {
    return row * p.cache_row + head * p.dim / 4u;
}

uint head_shift() {
    return shift_of(p.n_heads_kv * p.dim / 4u, head * p.dim);
}

void store_values(uint token, uint row) {
    uint first = p.v_at + token * p.v_token + head * p.v_head, to = p.v_cache_at + head_word(row);
#define OF_VALUES(d) values(first, d)
    [[dont_unroll]] for (uint w = LANE; w < p.dim / 4u; w += LANES) {
        PUT_CODES(v_cache, to, w, head_shift(), OF_VALUES)
    }
}

void store_keys(uint row) {
    uint to = p.k_cache_at + head_word(row);
#define OF_KEYS(d) row_[d]
    [[dont_unroll]] for (uint w = LANE; w < p.dim / 4u; w += LANES) {
        PUT_CODES(k_cache, to, w, head_shift(), OF_KEYS)
    }
}
#else
// Where the head starts in a cache.
uint head_at(uint row) {
    return (row * p.n_heads_kv + head) * p.dim;
}

void store_values(uint token, uint row) {
    uint first = p.v_at + token * p.v_token + head * p.v_head, to = head_at(row);
    [[dont_unroll]] for (uint d = LANE; d < p.dim / N_PACK; d += LANES) {
#ifdef HALVES
        v_cache[(p.v_cache_at + to) / 2u + d] = pack_of(values(first, 2u * d), values(first, 2u * d + 1u));
#else
        v_cache[p.v_cache_at + to + d] = values(first, d);
#endif
    }
}

void store_keys(uint row) {
    uint to = head_at(row);
    [[dont_unroll]] for (uint d = LANE; d < p.dim / N_PACK; d += LANES) {
#ifdef HALVES
        k_cache[(p.k_cache_at + to) / 2u + d] = pack_of(row_[2u * d], row_[2u * d + 1u]);
#else
        k_cache[p.k_cache_at + to + d] = row_[d];
#endif
    }
}
#endif

void main() {
    uint group = group_index();
    uint n_parts = p.n_heads + 2u * p.n_heads_kv, part = group % n_parts, token = group / n_parts;
    if (token >= p.n_tokens) {
        return;
    }
    int row = rows[p.rows_at + token];
    bool kept = row >= 0 && row < int(p.n_rows);
    head = part < p.n_heads ? part : (part - p.n_heads) % p.n_heads_kv;
    if (part >= p.n_heads + p.n_heads_kv) {
        if (kept) {
            store_values(token, uint(row));
        }
        return;
    }
    is_key = part >= p.n_heads;
    from = is_key ? p.k_at + token * p.k_token + head * p.k_head : p.q_at + token * p.q_token + head * p.q_head;
    turn(pos[p.pos_at + token]);
    if (is_key) {
        if (kept) {
            store_keys(uint(row));
        }
        return;
    }
    float scale = scale_of(pos[p.pos_at + token]);
    [[dont_unroll]] for (uint d = LANE; d < p.dim; d += LANES) {
        y[p.y_at + token * p.y_token + head * p.y_head + d] = row_[d] * scale;
    }
}
