// Codes of four bits that stand for numbers: IQ4_* for those of a curve, the others for E2M1, doubled.

#if defined(TYPE_IQ4_NL) || defined(TYPE_IQ4_XS)
// -127 -104 -83 -65 | -49 -35 -22 -10 | 1 13 25 38 | 53 69 89 113
const uint CODES_0 = 0xBFAD9881u, CODES_4 = 0xF6EADDCFu, CODES_8 = 0x26190D01u, CODES_12 = 0x71594535u;
#else
// 0 1 2 3 | 4 6 8 12 | 0 -1 -2 -3 | -4 -6 -8 -12
const uint CODES_0 = 0x03020100u, CODES_4 = 0x0C080604u, CODES_8 = 0xFDFEFF00u, CODES_12 = 0xF4F8FAFCu;
#endif

// The number in its lowest byte.
uint code_byte(uint q) {
    uint low = q < 4u ? CODES_0 : CODES_4, high = q < 12u ? CODES_8 : CODES_12;
    return (q < 8u ? low : high) >> ((q & 3u) << 3) & 255u;
}

#if defined(TABLE_SHARED)
#define HAS_TABLE

shared uint pairs[256];  // of both halves of a byte: the low one's number in byte 0, the high one's in byte 2

void fill_table(uint n_invocations) {
    for (uint i = gl_LocalInvocationID.x; i < 256u; i += n_invocations) {
        pairs[i] = code_byte(i & 15u) | code_byte(i >> 4) << 16;
    }
}

// Of the low halves of four bytes, and of the high ones, as signed bytes.
uvec2 both_values(uint word) {
    uint first = pairs[word & 255u] | pairs[word >> 8 & 255u] << 8;
    uint last = pairs[word >> 16 & 255u] | pairs[word >> 24] << 8;
    return uvec2((first & 0xFFFFu) | last << 16, first >> 16 | (last & 0xFFFF0000u));
}

Octet both_halves(uint word) {
    uvec2 codes = both_values(word);
    return Octet(bytes(codes.x), bytes(codes.y));
}
#else

vec4 values(uint word) {
    return bytes(code_byte(word & 15u) | code_byte(word >> 8 & 15u) << 8 | code_byte(word >> 16 & 15u) << 16 |
                 code_byte(word >> 24 & 15u) << 24);
}

Octet both_halves(uint word) {
    return Octet(values(word), values(word >> 4));
}
#endif
