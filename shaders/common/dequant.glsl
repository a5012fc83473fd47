// Weights of every type as floats. TYPE_<name> picks the type; binding 0 holds the weights.
//
// A row is groups of 32 elements: 16 from group_at(g) on, and 16 from OCTET_STEP further on. Each group has one Scale
// and four octets, 4g + j for j < 4; an octet is two quads, a at group_at(g) + 4j and b OCTET_STEP further on:
//     quad a = scale.d.x * codes.a + scale.m.x        quad b = scale.d.y * codes.b + scale.m.y
// Without HAS_MIN m is 0, without HAS_SCALE d is 1 as well; ONE_SCALE: d.x is d.y, and m.x is m.y. `row` is the first
// 32-bit word of a row (elements for
// F32, F16 and BF16). The device's layout of rows, scales at the tail, is described in runtime/ir/quants.py.

#include "numbers.glsl"

// What all types share; kernels of several weights declare word_at themselves, see weights.glsl.
#ifndef DEQUANT_SHARED
#define DEQUANT_SHARED

struct Octet {
    vec4 a, b;
};

struct Scale {
    vec2 d, m;
};

#if !defined(WORDS_GIVEN)
layout(std430, binding = 0) readonly buffer Weights {
    uint weights[];
};

uint word_at(uint i) {
    return weights[i];
}
#endif

#if defined(WIDE)
// 16 bytes a load where rows begin at a multiple of 16 bytes.
layout(constant_id = 5) const uint ALIGNED = 0;

#if !defined(WORDS_GIVEN)
layout(std430, binding = 0) readonly buffer Weights4 {
    uvec4 weights4[];
};

uvec4 aligned_words4(uint i) {
    return weights4[i];
}
#endif

// Words i to i + 3; i is a multiple of 4 where ALIGNED.
uvec4 words4(uint i) {
    if (ALIGNED != 0u) {
        return aligned_words4(i >> 2);
    }
    return uvec4(word_at(i), word_at(i + 1u), word_at(i + 2u), word_at(i + 3u));
}

// Words 4 q to 4 q + 3 of a row that begins at word `row`, a multiple of 4 where ALIGNED.
uvec4 quad_words(uint row, uint q) {
    if (ALIGNED != 0u) {
        return aligned_words4((row >> 2) + q);
    }
    return words4(row + (q << 2));
}

// Halves i to i + 7; i is a multiple of 8 where ALIGNED.
uvec4 halves8(uint i) {
    if (ALIGNED != 0u) {
        return aligned_words4(i >> 3);
    }
    uint at = i >> 1;
    uvec4 w = uvec4(word_at(at), word_at(at + 1u), word_at(at + 2u), word_at(at + 3u));
    if ((i & 1u) == 0u) {
        return w;
    }
    uint last = word_at(at + 4u);
    return uvec4(w.x >> 16 | w.y << 16, w.y >> 16 | w.z << 16, w.z >> 16 | w.w << 16, w.w >> 16 | last << 16);
}
#endif

vec4 as_floats(uvec4 w) {
    return vec4(uintBitsToFloat(w.x), uintBitsToFloat(w.y), uintBitsToFloat(w.z), uintBitsToFloat(w.w));
}

uint half_at(uint first, uint i) {
    return half_of(word_at(first + (i >> 1)), i);
}

vec4 bytes(uint word) {
    return vec4(int(word) << 24 >> 24, int(word) << 16 >> 24, int(word) << 8 >> 24, int(word) >> 24);
}

vec4 nibbles(uint word) {
    return vec4(int(word) & 15, int(word >> 8) & 15, int(word >> 16) & 15, int(word >> 24) & 15);
}

uint byte_of(uvec3 words, uint i) {
    return ((i < 4u ? words.x : i < 8u ? words.y : words.z) >> ((i & 3u) << 3)) & 255u;
}

#endif

#if defined(TYPE_F32)
float weight(uint i) {
    return uintBitsToFloat(word_at(i));
}
#elif defined(TYPE_F16)
float weight(uint i) {
    return f16_to_f32(half_at(0u, i));
}
#elif defined(TYPE_BF16)
float weight(uint i) {
    return bf16_to_f32(half_at(0u, i));
}
#endif

#if defined(TYPE_F32) || defined(TYPE_F16) || defined(TYPE_BF16)

#define PLAIN
const uint OCTET_STEP = 16u;

uint group_at(uint g) {
    return g << 5;
}

Scale scale_of(uint row, uint n_inner, uint g) {
    return Scale(vec2(1), vec2(0));
}

vec4 quad_at(uint i) {
    return vec4(weight(i), weight(i + 1u), weight(i + 2u), weight(i + 3u));
}

Octet codes_of(uint row, uint i) {
    uint at = row + ((i >> 2) << 5) + ((i & 3u) << 2);
    return Octet(quad_at(at), quad_at(at + OCTET_STEP));
}

#elif defined(TYPE_Q8_0)
#define HAS_SCALE
#define ONE_SCALE
const uint OCTET_STEP = 16u;

uint group_at(uint g) {
    return g << 5;
}

Scale scale_of(uint row, uint n_inner, uint g) {
    return Scale(vec2(f16_to_f32(half_at(row + (n_inner >> 2), g))), vec2(0));
}

Octet codes_of(uint row, uint i) {
    uint at = row + ((i >> 2) << 3) + (i & 3u);
    return Octet(bytes(word_at(at)), bytes(word_at(at + 4u)));
}

#elif defined(TYPE_Q2_K) || defined(TYPE_Q3_K) || defined(TYPE_Q4_K) || defined(TYPE_Q5_K) || defined(TYPE_Q6_K)
#include "dequant_k.glsl"
#elif defined(TYPE_IQ4_XS) || defined(TYPE_NVFP4)
#include "dequant_fours.glsl"
#elif defined(TYPE_TQ1_0) || defined(TYPE_TQ2_0) || defined(TYPE_Q1_0)
#include "dequant_few.glsl"
#elif defined(GRID_WORDS)
#include "dequant_grids.glsl"
#else
#include "dequant_32.glsl"
#endif

// Types that look codes up fill a table in shared memory where TABLE_SHARED: kernels that define it let all of a workgroup
// call begin_dequant before anything else, or fill_table where a barrier follows before the first number is made.
#if !defined(BEGINS)
#define BEGINS
#if defined(HAS_TABLE)
void begin_dequant(uint n_invocations) {
    fill_table(n_invocations);
    barrier();
}
#else
#define fill_table(n_invocations)
#define begin_dequant(n_invocations)
#endif
#endif

#if defined(PACKED)
// Types whose codes are made four bytes at a time: packed_octet(row, i), each byte less CODE_OFFSET.
Octet codes_of(uint row, uint i) {
    uvec2 codes = packed_octet(row, i);
    return Octet(bytes(codes.x) - CODE_OFFSET, bytes(codes.y) - CODE_OFFSET);
}
#endif

// Scales without minima can wait until a group is summed; one for both quads, until both are.
#if defined(HAS_SCALE) && !defined(HAS_MIN)
const bool SCALE_LATE = true;
#else
const bool SCALE_LATE = false;
#endif
#if defined(ONE_SCALE)
const bool SCALE_BOTH = true;
#else
const bool SCALE_BOTH = false;
#endif

uint octet_at(uint i) {
    return group_at(i >> 2) + ((i & 3u) << 2);
}

Octet scaled(Octet codes, Scale s) {
#if defined(HAS_MIN)
    return Octet(codes.a * s.d.x + s.m.x, codes.b * s.d.y + s.m.y);
#elif defined(HAS_SCALE)
    return Octet(codes.a * s.d.x, codes.b * s.d.y);
#else
    return codes;
#endif
}

#if defined(WIDE)
#include "pieces.glsl"
#endif
