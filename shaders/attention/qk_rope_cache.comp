// Attention's inputs: rope(q) into y, rope(k) and v into rows of their caches; rows outside are dropped. -DNORM: q and k
// are normed first, by head.
// Tokens are counted over sequences. q, k, v, y [n, heads, dim]: inner stride 1; caches [n_rows, heads * dim] contiguous.
// Grid: a workgroup for each head of q, then of k, then of v, of each token.
#version 450
#extension GL_GOOGLE_include_directive : require
#ifdef SUBGROUPS
#extension GL_KHR_shader_subgroup_arithmetic : require
#endif
#include "rows.glsl"

layout(constant_id = 3) const uint DIM = 64;
layout(constant_id = 4) const uint NEIGHBOURS = 0u;  // pairs (2i, 2i + 1) in the place of (i, i + half)

layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 1) readonly buffer K { float k[]; };
layout(std430, binding = 2) readonly buffer V { float v[]; };
layout(std430, binding = 3) readonly buffer Pos { int pos[]; };
layout(std430, binding = 4) readonly buffer Table { float table[]; };
layout(std430, binding = 5) readonly buffer Rows { int rows[]; };
layout(std430, binding = 6) buffer Y { float y[]; };
layout(std430, binding = 7) buffer KCache { float k_cache[]; };
layout(std430, binding = 8) buffer VCache { float v_cache[]; };
#ifdef NORM
layout(std430, binding = 9) readonly buffer QNorm { float q_norm[]; };
layout(std430, binding = 10) readonly buffer KNorm { float k_norm[]; };
#endif
layout(push_constant) uniform Push {
    uint n_tokens, n_heads, n_heads_kv, dim, half_dims, n_table, n_rows;
    uint q_token, q_head, k_token, k_head, v_token, v_head, y_token, y_head;
    uint q_at, k_at, v_at, pos_at, table_at, rows_at, y_at, k_cache_at, v_cache_at;
#ifdef NORM
    uint q_norm_at, k_norm_at;
    float eps;
#endif
} p;

shared float row_[DIM];

#define FIRST(d) (NEIGHBOURS != 0u ? 2u * (d) : (d))
#define SECOND(d) (NEIGHBOURS != 0u ? 2u * (d) + 1u : (d) + p.half_dims)

#ifdef NORM
#define FACTOR(x, from)                                                                      \
    float total = 0.0;                                                                       \
    for (uint d = LANE; d < p.dim; d += LANES) {                                             \
        total += x[from + d] * x[from + d];                                                  \
    }                                                                                        \
    float factor = 1.0 / sqrt(group_sum(total) / float(p.dim) + p.eps);
#define NORMED(x, from, norm, d) (x[from + (d)] * factor * norm[p.norm##_at + (d)])
#else
#define FACTOR(x, from)
#define NORMED(x, from, norm, d) x[from + (d)]
#endif

// The head at `from`, normed and turned, in row_.
#define TURN(x, from, norm, position)                                                        \
    FACTOR(x, from)                                                                          \
    uint angle = p.table_at + uint(clamp(position, 0, int(p.n_table) - 1)) * 2u * p.half_dims; \
    for (uint d = LANE; d < p.half_dims; d += LANES) {                                       \
        float c = table[angle + d], s = table[angle + d + p.half_dims];                      \
        float a = NORMED(x, from, norm, FIRST(d)), b = NORMED(x, from, norm, SECOND(d));     \
        row_[FIRST(d)] = a * c - b * s;                                                      \
        row_[SECOND(d)] = a * s + b * c;                                                     \
    }                                                                                        \
    for (uint d = 2u * p.half_dims + LANE; d < p.dim; d += LANES) {                          \
        row_[d] = NORMED(x, from, norm, d);                                                  \
    }                                                                                        \
    barrier();

void main() {
    uint group = group_index();
    uint n_parts = p.n_heads + 2u * p.n_heads_kv, part = group % n_parts, token = group / n_parts;
    if (token >= p.n_tokens) {
        return;
    }
    int position = pos[p.pos_at + token], row = rows[p.rows_at + token];
    bool kept = row >= 0 && row < int(p.n_rows);
    uint width = p.n_heads_kv * p.dim;
    if (part < p.n_heads) {
        uint from = p.q_at + token * p.q_token + part * p.q_head, to = p.y_at + token * p.y_token + part * p.y_head;
        TURN(q, from, q_norm, position)
        for (uint d = LANE; d < p.dim; d += LANES) {
            y[to + d] = row_[d];
        }
    } else if (part < p.n_heads + p.n_heads_kv) {
        uint head = part - p.n_heads, from = p.k_at + token * p.k_token + head * p.k_head;
        TURN(k, from, k_norm, position)
        for (uint d = LANE; kept && d < p.dim; d += LANES) {
            k_cache[p.k_cache_at + uint(row) * width + head * p.dim + d] = row_[d];
        }
    } else {
        uint head = part - p.n_heads - p.n_heads_kv, from = p.v_at + token * p.v_token + head * p.v_head;
        for (uint d = LANE; kept && d < p.dim; d += LANES) {
            v_cache[p.v_cache_at + uint(row) * width + head * p.dim + d] = v[from + d];
        }
    }
}
