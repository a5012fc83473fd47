// T = (I + A)^-1 in place of A, in `others`, for a chunk of delta_parts.comp: blocks of 16 on the diagonal first, then
// from blocks of `size` those of twice it, whose lower left quarter is -T22 A21 T11.
// No token's row takes anything of a later one, not even 0 times it, which NaN would not be.

void invert_blocks() {
    uint block = lane / 16u * 16u, column = lane % 16u;
    float x[16];
    if (lane < CHUNK) {
        [[unroll]] for (uint i = 0u; i < 16u; i++) {
            x[i] = i == column ? 1.0 : 0.0;
        }
        [[unroll]] for (uint j = 0u; j < 16u; j++) {
            [[unroll]] for (uint i = j + 1u; i < 16u; i++) {
                x[i] -= pair_of(block + i, block + j) * x[j];
            }
        }
    }
    barrier();
    if (lane < CHUNK) {
        [[unroll]] for (uint i = 0u; i < 16u; i++) {
            PAIR(block + i, block + column) = floatBitsToUint(x[i]);
        }
    }
    barrier();
}

const uint MOST_QUADS = CHUNK * CHUNK / 16u / LOCAL;  // of an invocation

vec4 pairs_at(uint row, uint quad) {
    return uintBitsToFloat(others[row * PAIR_PITCH + quad]);
}

// An invocation has quads of the lower left quarters.
void join_blocks(uint size) {
    uint wide = size / 4u, n_quads = CHUNK / size / 2u * size * wide;
    vec4 x[MOST_QUADS];
    for (uint turn = 0u; turn < 2u; turn++) {
        [[unroll]] for (uint e = 0u; e < MOST_QUADS; e++) {
            uint item = lane + e * LOCAL, block = item / (size * wide) * 2u * size, i = item / wide % size, quad = item % wide;
            x[e] = vec4(0);
            if (item < n_quads) {
                uint row = block + size + i, column = block / 4u + quad;
                if (turn == 0u) {
                    for (uint j = 0u; j < size; j++) {
                        x[e] += pair_of(row, block + j) * pairs_at(block + j, column);
                    }
                } else {
                    for (uint j = 0u; j <= i; j++) {
                        x[e] -= pair_of(row, block + size + j) * pairs_at(block + size + j, column);
                    }
                }
            }
        }
        barrier();
        [[unroll]] for (uint e = 0u; e < MOST_QUADS; e++) {
            uint item = lane + e * LOCAL, block = item / (size * wide) * 2u * size, i = item / wide % size;
            if (item < n_quads) {
                others[(block + size + i) * PAIR_PITCH + block / 4u + item % wide] = floatBitsToUint(x[e]);
            }
        }
        barrier();
    }
}

void invert() {
    invert_blocks();
    join_blocks(16u);
    join_blocks(32u);
}
