// Up to four weights in one kernel: `source` says which one the functions of dequant.glsl read. Set it to constants:
// compilers then drop the choice. TYPE_<name>: the type of the first N_FIRST, which the kernel defines; SECOND_<name>:
// that of the others, where it is another one (plain numbers then come in rows of whole groups). The kernel declares
// buffers w0, w1, ... (words), as many as N_WEIGHTS.

#define WORDS_GIVEN
uint source = 0u;

#define WEIGHTS(i) layout(std430, binding = i) readonly buffer Weights##i { uint w##i[]; }

WEIGHTS(0);
WEIGHTS(1);
#if N_WEIGHTS > 2
WEIGHTS(2);
#endif
#if N_WEIGHTS > 3
WEIGHTS(3);
#endif

uint word_at(uint i) {
    if (source == 0u) {
        return w0[i];
    }
#if N_WEIGHTS > 2
    if (source == 1u) {
        return w1[i];
    }
#endif
#if N_WEIGHTS > 3
    if (source == 2u) {
        return w2[i];
    }
    return w3[i];
#elif N_WEIGHTS > 2
    return w2[i];
#else
    return w1[i];
#endif
}

#if defined(WIDE)
#define WEIGHTS4(i) layout(std430, binding = i) readonly buffer WideWeights##i { uvec4 v##i[]; }
WEIGHTS4(0);
WEIGHTS4(1);
#if N_WEIGHTS > 2
WEIGHTS4(2);
#endif
#if N_WEIGHTS > 3
WEIGHTS4(3);
#endif

uvec4 aligned_words4(uint i) {
    if (source == 0u) {
        return v0[i];
    }
#if N_WEIGHTS > 2
    if (source == 1u) {
        return v1[i];
    }
#endif
#if N_WEIGHTS > 3
    if (source == 2u) {
        return v2[i];
    }
    return v3[i];
#elif N_WEIGHTS > 2
    return v2[i];
#else
    return v1[i];
#endif
}
#endif

#if (defined(TYPE_Q2_K) || defined(TYPE_Q3_K) || defined(TYPE_Q4_K) || defined(TYPE_Q5_K) || defined(TYPE_Q6_K)) \
    && !defined(SECOND_F32) && !defined(SECOND_F16)
#define ONE_OF_TWO  // what was loaded of either type has room in an AnyRaw
struct AnyRaw {
    uvec4 a, b, c;
    uint d;
};
#endif

#include "dequant.glsl"

#if defined(SECOND_F32) || defined(SECOND_F16) || defined(SECOND_Q8_0) || defined(SECOND_Q3_K) || defined(SECOND_Q4_K) \
    || defined(SECOND_Q5_K) || defined(SECOND_Q6_K)

#undef TYPE_F32
#undef TYPE_F16
#undef TYPE_BF16
#undef TYPE_Q4_0
#undef TYPE_Q4_1
#undef TYPE_Q5_0
#undef TYPE_Q5_1
#undef TYPE_Q8_0
#undef TYPE_Q2_K
#undef TYPE_Q3_K
#undef TYPE_Q4_K
#undef TYPE_Q5_K
#undef TYPE_Q6_K
#undef TYPE_IQ4_NL
#undef TYPE_IQ4_XS
#undef TYPE_MXFP4
#undef PLAIN
#undef HAS_SCALE
#undef HAS_MIN
#undef ONE_SCALE

#if defined(SECOND_F32)
#define TYPE_F32
#elif defined(SECOND_F16)
#define TYPE_F16
#elif defined(SECOND_Q3_K)
#define TYPE_Q3_K
#elif defined(SECOND_Q4_K)
#define TYPE_Q4_K
#elif defined(SECOND_Q5_K)
#define TYPE_Q5_K
#elif defined(SECOND_Q6_K)
#define TYPE_Q6_K
#else
#define TYPE_Q8_0
#endif

#define weight second_weight
#define OCTET_STEP SECOND_OCTET_STEP
#define SCALE_LATE SECOND_SCALE_LATE
#define SCALE_BOTH SECOND_SCALE_BOTH
#define group_at second_group_at
#define quad_at second_quad_at
#define scale_of second_scale_of
#define codes_of second_codes_of
#define octet_at second_octet_at
#define scaled second_scaled
#define Raw SecondRaw
#define raw_of second_raw_of
#define octet_of second_octet_of
#define raw_scale second_raw_scale
#define either_of second_either_of
#define one_of second_one_of
#define quad_place second_quad_place
#define four_numbers second_four_numbers
#define packed_of second_packed_of
#define CODE_OFFSET SECOND_CODE_OFFSET
#define BLOCK_WORDS SECOND_BLOCK_WORDS
#define pairs second_pairs
#define single_bits second_single_bits
#define tail_word second_tail_word
#define tail_scale second_tail_scale
#define scale_made second_scale_made
#define octet_made second_octet_made
#include "dequant.glsl"
#undef weight
#undef OCTET_STEP
#undef SCALE_LATE
#undef SCALE_BOTH
#undef group_at
#undef quad_at
#undef scale_of
#undef codes_of
#undef octet_at
#undef scaled
#undef Raw
#undef raw_of
#undef octet_of
#undef raw_scale
#undef either_of
#undef one_of
#undef quad_place
#undef four_numbers
#undef packed_of
#undef CODE_OFFSET
#undef BLOCK_WORDS
#undef pairs
#undef single_bits
#undef tail_word
#undef tail_scale
#undef scale_made
#undef octet_made
#undef PLAIN

#define TWO_TYPES
const bool ORDERS_DIFFER = OCTET_STEP != SECOND_OCTET_STEP;  // of elements in octets

bool is_first() {
    return source < N_FIRST;
}

uint any_step() {
    return is_first() ? OCTET_STEP : SECOND_OCTET_STEP;
}

bool any_late() {
    return is_first() ? SCALE_LATE : SECOND_SCALE_LATE;
}

bool any_both() {
    return is_first() ? SCALE_BOTH : SECOND_SCALE_BOTH;
}

uint any_group_at(uint g) {
    return is_first() ? group_at(g) : second_group_at(g);
}

uint any_octet_at(uint i) {
    return is_first() ? octet_at(i) : second_octet_at(i);
}

Scale any_scale_of(uint row, uint n, uint g) {
    if (is_first()) {
        return scale_of(row, n, g);
    }
    return second_scale_of(row, n, g);
}

Octet any_codes_of(uint row, uint i) {
    if (is_first()) {
        return codes_of(row, i);
    }
    return second_codes_of(row, i);
}

Octet any_scaled(Octet codes, Scale s) {
    if (is_first()) {
        return scaled(codes, s);
    }
    return second_scaled(codes, s);
}

#if defined(WIDE)
#if defined(ONE_OF_TWO)
#define OF_FIRST(raw) one_of(raw)
#define OF_SECOND(raw) second_one_of(raw)

AnyRaw any_raw_of(uint row, uint n, uint p) {
    if (is_first()) {
        return either_of(raw_of(row, n, p));
    }
    return second_either_of(second_raw_of(row, n, p));
}
#else
#define OF_FIRST(raw) raw.first
#define OF_SECOND(raw) raw.second

struct AnyRaw {
    Raw first;
    SecondRaw second;
};

AnyRaw any_raw_of(uint row, uint n, uint p) {
    AnyRaw raw;
    if (is_first()) {
        raw.first = raw_of(row, n, p);
    } else {
        raw.second = second_raw_of(row, n, p);
    }
    return raw;
}
#endif

Octet any_octet_of(AnyRaw raw, uint p, uint j) {
    if (is_first()) {
        return octet_of(OF_FIRST(raw), p, j);
    }
    return second_octet_of(OF_SECOND(raw), p, j);
}

Scale any_raw_scale(AnyRaw raw, uint p) {
    if (is_first()) {
        return raw_scale(OF_FIRST(raw), p);
    }
    return second_raw_scale(OF_SECOND(raw), p);
}

uint any_quad_place(uint p, uint quad, uint n) {
    return is_first() ? quad_place(p, quad, n) : second_quad_place(p, quad, n);
}

#if defined(DOT)
uvec2 any_packed_of(AnyRaw raw, uint p, uint j) {
    if (is_first()) {
        return packed_of(OF_FIRST(raw), p, j);
    }
    return second_packed_of(OF_SECOND(raw), p, j);
}

float any_code_offset() {
    return is_first() ? CODE_OFFSET : SECOND_CODE_OFFSET;
}

#define packed_of any_packed_of
#define CODE_OFFSET any_code_offset()
#endif

#define Raw AnyRaw
#define raw_of any_raw_of
#define octet_of any_octet_of
#define raw_scale any_raw_scale
#define quad_place any_quad_place
#endif

#define OCTET_STEP any_step()
#define SCALE_LATE any_late()
#define SCALE_BOTH any_both()
#define group_at any_group_at
#define octet_at any_octet_at
#define scale_of any_scale_of
#define codes_of any_codes_of
#define scaled any_scaled

#endif
