// y[ids[i]] = src[i]; ids outside of y are dropped, and of equal ids the last one counts. One workgroup a row of src.
// Any layouts; of Q8_0, DST alone, y_row is in words. -DSRC, -DDST: elements.glsl.
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#include "common.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint PAIRS = 0;  // DST is 16 bits wide and y has column stride 1
layout(std430, binding = 0) readonly buffer Ids { int ids[]; };
layout(std430, binding = 1) readonly buffer Src { uint src[]; };
layout(std430, binding = 2) buffer Y { uint y[]; };
layout(push_constant) uniform Push {
    uint n_src, n_cols, n_rows, ids_row, ids_at, src_row, src_col, src_at, y_row, y_col, y_at;
} p;

#include "elements.glsl"

shared uint n_later;

// Whether a later row has the same id, and so wins.
bool overwritten(uint row, int id) {
    if (gl_LocalInvocationIndex == 0u) {
        n_later = 0u;
    }
    barrier();
    for (uint i = row + 1u + gl_LocalInvocationIndex; i < p.n_src; i += gl_WorkGroupSize.x) {
        if (ids[p.ids_at + i * p.ids_row] == id) {
            atomicAdd(n_later, 1u);
        }
    }
    barrier();
    return n_later != 0u;
}

#if DST != Q8_0
void copy_columns(uint from, uint to) {
    for (uint c = gl_LocalInvocationIndex; c < p.n_cols; c += gl_WorkGroupSize.x) {
        uint at = from + c * p.src_col;
        STORE(to + c * p.y_col, LOAD(src, at));
    }
}
#endif

#if DST == Q8_0
#include "quantised.glsl"

void copy_blocks(uint from, uint to) {
#define OF_SRC(c) uintBitsToFloat(LOAD(src, from + (c) * p.src_col))
    for (uint w = gl_LocalInvocationIndex; w < p.n_cols / 4u; w += gl_WorkGroupSize.x) {
        PUT_CODES(y, to, w, p.n_cols / 2u, OF_SRC)
    }
}
#endif

#if DST == F16
// A word an invocation; those at the row's ends may hold a neighbour's half.
void copy_pairs(uint from, uint to) {
    for (uint w = gl_LocalInvocationIndex; w <= p.n_cols / 2u; w += gl_WorkGroupSize.x) {
        uint high = 2u * w + 1u - (to & 1u), low = high - 1u;  // low is 2^32 - 1 before a row of odd start
        uint at_low = from + low * p.src_col, at_high = from + high * p.src_col;
        if (low < p.n_cols && high < p.n_cols) {
            y[(to + low) >> 1] = LOAD(src, at_low) | LOAD(src, at_high) << 16;
        } else if (low < p.n_cols) {
            STORE(to + low, LOAD(src, at_low));
        } else if (high < p.n_cols) {
            STORE(to + high, LOAD(src, at_high));
        }
    }
}
#endif

void main() {
    uint row = group_index();
    if (row >= p.n_src) {
        return;
    }
    int id = ids[p.ids_at + row * p.ids_row];
    if (id < 0 || uint(id) >= p.n_rows || (row + 1u < p.n_src && overwritten(row, id))) {
        return;
    }
    uint from = p.src_at + row * p.src_row, to = p.y_at + uint(id) * p.y_row;
#if DST == F16
    if (PAIRS != 0u) {
        copy_pairs(from, to);
        return;
    }
#endif
#if DST == Q8_0
    copy_blocks(from, to);
#else
    copy_columns(from, to);
#endif
}
