// u of a chunk of delta_parts.comp, from halves of v times a power of two.

vec4 value_of(uint row, uint quad) {
    uint at = v_at + seq * v_seq + min(first + row, n_tokens - 1u) * v_token + head * v_head;
    return first + row < n ? v[(at >> 2) + quad] : vec4(0);
}

float largest(vec4 x, float top) {
    [[unroll]] for (uint e = 0u; e < 4u; e++) {
        top = is_finite(x[e]) ? max(top, abs(x[e])) : top;
    }
    return top;
}

// Of all invocations, which meet at another barrier before the next time.
float largest_of_all(float top) {
    top = subgroupMax(top);
    if (gl_SubgroupInvocationID == 0u) {
        tops[gl_SubgroupID] = top;
    }
    barrier();
    for (uint i = 0u; i < 8u; i++) {
        top = max(top, tops[i]);
    }
    return top;
}

const uint N_VALUES = 2u * CHUNK * WIDE / LOCAL;  // quads of an invocation
vec4 values[N_VALUES];

// Long before they are used.
void fetch_values() {
    [[unroll]] for (uint i = 0u; i < N_VALUES; i++) {
        uint item = lane + i / 2u * LOCAL;
        values[i] = value_of(item / WIDE, item % WIDE * 2u + i % 2u);
    }
}

// Halves of v in the place of k, times what is returned, a power of two.
float take_values() {
    float top = 0.0;
    [[unroll]] for (uint i = 0u; i < N_VALUES; i++) {
        top = largest(values[i], top);
    }
    int power = clamp(int(floatBitsToUint(largest_of_all(top)) >> 23) - 127, -100, 100);
    float scale = uintBitsToFloat(uint(127 + 14 - power) << 23);
    [[unroll]] for (uint i = 0u; i < N_VALUES; i += 2u) {
        uint item = lane + i / 2u * LOCAL;
        keys[item / WIDE * PITCH + item % WIDE] = halves(scale * values[i], scale * values[i + 1u]);
    }
    return scale;
}

vec4 exact_u(uint row, uint quad) {
    vec4 sum = vec4(0);
    for (uint j = 0u; j <= row; j++) {
        sum += pair_of(row, j) * factor_of(j, false) * value_of(j, quad);
    }
    return sum;
}

// u; returns its largest number.
float put_u() {
    float scale = 1.0 / take_values(), top = 0.0;
    put_factors(false);
    uint to = u_at + place(DIM);
    if (multiply_factors()) {
        [[unroll]] for (uint d = 0u; d < N_SUMS; d++) {
            [[unroll]] for (uint e = 0u; e < made[d].length(); e++) {
                made[d][e] *= scale;
                top = max(top, abs(made[d][e]));
            }
            STORE_SUMS(made[d], u, to + part * 16u * DIM + 16u * (second * N_SUMS + d), DIM);
        }
    } else {
        for (uint item = lane; item < CHUNK * DIM / 4u; item += LOCAL) {
            vec4 x = exact_u(item / (DIM / 4u), item % (DIM / 4u));
            top = largest(x, top);
            [[unroll]] for (uint e = 0u; e < 4u; e++) {
                u[to + 4u * item + e] = x[e];
            }
        }
    }
    return largest_of_all(top);
}
