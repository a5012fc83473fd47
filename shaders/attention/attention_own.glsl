// What attention_inputs.glsl makes, where a team holds KEYS keys and values.

// In the place of the team's key `at`, where it has so many.
void take_own(uint at) {
    uvec4 key = fresh[octet()], value = fresh[TEAM + octet()];
    [[unroll]] for (uint j = 0u; j < KEYS; j++) {
        keys[j] = j == at ? key : keys[j];
        values[j] = j == at ? value : values[j];
    }
}
