// Codes of four bits that stand for numbers: IQ4_* for those of a curve, the others for E2M1, doubled.

#if defined(TYPE_IQ4_NL) || defined(TYPE_IQ4_XS)
// the table in bytes: -127 -104 -83 -65 | -49 -35 -22 -10 | 1 13 25 38 | 53 69 89 113
float code_value(int q) {
    uint low = q < 4 ? 0xBFAD9881u : 0xF6EADDCFu;
    uint high = q < 12 ? 0x26190D01u : 0x71594535u;
    return float(int((q < 8 ? low : high) << (24 - ((q & 3) << 3))) >> 24);
}
#else
float code_value(int q) {
    int m = q & 7;
    int value = m < 2 ? m : ((2 | (m & 1)) << (m >> 1)) >> 1;
    return float(q < 8 ? value : -value);
}
#endif

// Of the low halves of four bytes.
vec4 values(uint word) {
    ivec4 q = ivec4(int(word) & 15, int(word >> 8) & 15, int(word >> 16) & 15, int(word >> 24) & 15);
    return vec4(code_value(q.x), code_value(q.y), code_value(q.z), code_value(q.w));
}
