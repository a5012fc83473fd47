// Floats as integers of the same order, for selection.

#ifndef ORDER_GLSL
#define ORDER_GLSL

// At least 0x7fffff; NaN is the largest, so that who chooses by the order sees it; -0 counts as 0.
uint order_key(float x) {
    uint bits = floatBitsToUint(x), plain = bits == 0x80000000u ? 0u : bits;
    uint key = plain ^ (uint(int(plain) >> 31) | 0x80000000u);
    return (bits & 0x7fffffffu) > 0x7f800000u ? 0xff800001u : key;
}

// The number that order_key was given, or one of its kind.
float of_key(uint key) {
    return uintBitsToFloat((key & 0x80000000u) != 0u ? key ^ 0x80000000u : ~key);
}

#endif
