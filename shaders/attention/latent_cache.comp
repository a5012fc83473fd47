// Latent attention's inputs: rope(q) into y; of kv [n, L + r] the first L normed by row, the others turned, into a row of
// the cache; rows outside are dropped. -DHALVES: the cache is fp16, rounded to nearest, L and r are even; -DQUANTS: Q8_0, L and
// r are whole blocks.
// Tokens are counted over sequences. q, y [n, heads, r], kv: inner stride 1; cache [n_rows, L + r] contiguous.
// Grid: a workgroup for each head of q, then for the row of kv, of each token.
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

layout(constant_id = 3) const uint NEIGHBOURS = 0u;  // pairs (2i, 2i + 1) in the place of (i, i + half)

layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 1) readonly buffer Kv { float kv[]; };
layout(std430, binding = 2) readonly buffer Norm { float norm[]; };
layout(std430, binding = 3) readonly buffer Pos { int pos[]; };
layout(std430, binding = 4) readonly buffer Table { float table[]; };
layout(std430, binding = 5) readonly buffer Rows { int rows[]; };
layout(std430, binding = 6) buffer Y { float y[]; };
layout(std430, binding = 7) buffer Cache { PACK cache[]; };
layout(push_constant) uniform Push {
    uint n_tokens, n_heads, n_latent, n_turned, half_dims, n_table, n_rows;
    uint q_token, q_head, kv_token, y_token, y_head;
    uint q_at, kv_at, norm_at, pos_at, table_at, rows_at, y_at, cache_at;
    float eps;
#ifdef QUANTS
    uint cache_row;  // in words
#endif
} p;

bool is_key;  // or a query
uint from, angle;  // where what is turned starts, and its row of the table

float value(uint d) {
    if (is_key) {
        return kv[from + d];
    }
    return q[from + d];
}

// Element d of what is turned.
float turned(uint d) {
    if (d >= 2u * p.half_dims) {
        return value(d);
    }
    bool second = NEIGHBOURS != 0u ? (d & 1u) != 0u : d >= p.half_dims;
    uint pair = NEIGHBOURS != 0u ? d >> 1 : (second ? d - p.half_dims : d);
    uint other = NEIGHBOURS != 0u ? d ^ 1u : (second ? pair : d + p.half_dims);
    float c = table[angle + pair], s = table[angle + pair + p.half_dims];
    return value(d) * c + (second ? value(other) * s : -(value(other) * s));
}

float latent_of(uint first, uint d, float factor) {
    return kv[first + d] * factor * norm[p.norm_at + d];
}

// What the first of kv are multiplied with.
float factor_of(uint first) {
    float total = 0.0;
    [[dont_unroll]] for (uint d = LANE; d < p.n_latent; d += LANES) {
        total += kv[first + d] * kv[first + d];
    }
    return 1.0 / sqrt(group_sum(total) / float(p.n_latent) + p.eps);
}

#ifdef QUANTS
float element(uint first, uint d, float factor) {
    if (d < p.n_latent) {
        return latent_of(first, d, factor);
    }
    return turned(d - p.n_latent);
}

void store_row(uint first, uint row) {
    uint n = p.n_latent + p.n_turned, to = p.cache_at + row * p.cache_row;
    float factor = factor_of(first);
#define OF_ROW(d) element(first, d, factor)
    [[dont_unroll]] for (uint w = LANE; w < n / 4u; w += LANES) {
        PUT_CODES(cache, to, w, n / 2u, OF_ROW)
    }
}
#else
void store(uint at, uint d, float a, float b) {
#ifdef HALVES
    cache[at / 2u + d] = f32_to_f16(a) | f32_to_f16(b) << 16;
#else
    cache[at + d] = a;
#endif
}

void store_latent(uint first, uint to) {
    float factor = factor_of(first);
    [[dont_unroll]] for (uint d = LANE; d < p.n_latent / N_PACK; d += LANES) {
        uint e = N_PACK * d;
        store(to, d, latent_of(first, e, factor), latent_of(first, e + N_PACK - 1u, factor));
    }
}

void store_turned(uint to) {
    [[dont_unroll]] for (uint d = LANE; d < p.n_turned / N_PACK; d += LANES) {
        uint e = N_PACK * d;
        store(to, d, turned(e), turned(e + N_PACK - 1u));
    }
}

void store_row(uint first, uint row) {
    uint to = p.cache_at + row * (p.n_latent + p.n_turned);
    store_latent(first, to);
    store_turned(to + p.n_latent);
}
#endif

void main() {
    uint group = group_index();
    uint n_parts = p.n_heads + 1u, part = group % n_parts, token = group / n_parts;
    if (token >= p.n_tokens) {
        return;
    }
    angle = p.table_at + uint(clamp(pos[p.pos_at + token], 0, int(p.n_table) - 1)) * 2u * p.half_dims;
    is_key = part == p.n_heads;
    if (is_key) {
        int row = rows[p.rows_at + token];
        if (row < 0 || row >= int(p.n_rows)) {
            return;
        }
        uint first = p.kv_at + token * p.kv_token;
        from = first + p.n_latent;
        store_row(first, uint(row));
        return;
    }
    from = p.q_at + token * p.q_token + part * p.q_head;
    [[dont_unroll]] for (uint d = LANE; d < p.n_turned; d += LANES) {
        y[p.y_at + token * p.y_token + part * p.y_head + d] = turned(d);
    }
}
