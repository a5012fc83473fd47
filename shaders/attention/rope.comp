#version 450
#extension GL_GOOGLE_include_directive : require
// Rotary embedding of x [b, t, h, d], pairs (i, i + half) of the first 2 * half elements, or with NEIGHBOURS (2i, 2i + 1),
// the others copied; any strides. table [n_table, 2 * half]: cosines, then sines; row pos[b, t], clamped. Grid: a workgroup for each (b, t, h).

#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint NEIGHBOURS = 0u;

layout(std430, binding = 0) readonly buffer X {
    float x[];
};
layout(std430, binding = 1) readonly buffer Pos {
    int pos[];
};
layout(std430, binding = 2) readonly buffer Table {
    float table[];
};
layout(std430, binding = 3) buffer Y {
    float y[];
};
layout(push_constant) uniform Args {
    uint x_at, pos_at, table_at, y_at;
    uint n_batch, n_tokens, n_heads, n_inner, half_dims, n_table;
    uint x_batch, x_token, x_head, x_inner;
    uint pos_batch, pos_token;
    uint table_row, table_inner;
    uint y_batch, y_token, y_head, y_inner;
};

void main() {
    uint group = group_index();
    uint head = group % n_heads, token = group / n_heads % n_tokens, batch = group / n_heads / n_tokens;
    if (batch >= n_batch) {
        return;
    }
    int row = clamp(pos[pos_at + batch * pos_batch + token * pos_token], 0, int(n_table) - 1);
    uint x_first = x_at + batch * x_batch + token * x_token + head * x_head;
    uint y_first = y_at + batch * y_batch + token * y_token + head * y_head;
    uint t_first = table_at + uint(row) * table_row;
    for (uint i = gl_LocalInvocationID.x; i < half_dims; i += gl_WorkGroupSize.x) {
        float c = table[t_first + i * table_inner], s = table[t_first + (i + half_dims) * table_inner];
        uint first = NEIGHBOURS != 0u ? 2u * i : i, second = NEIGHBOURS != 0u ? 2u * i + 1u : i + half_dims;
        float a = x[x_first + first * x_inner], b = x[x_first + second * x_inner];
        y[y_first + first * y_inner] = a * c - b * s;
        y[y_first + second * y_inner] = a * s + b * c;
    }
    for (uint i = 2u * half_dims + gl_LocalInvocationID.x; i < n_inner; i += gl_WorkGroupSize.x) {
        y[y_first + i * y_inner] = x[x_first + i * x_inner];
    }
}
