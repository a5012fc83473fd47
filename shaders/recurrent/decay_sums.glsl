// Running sums G of the log decays of a chunk of CHUNK tokens, for a workgroup whose invocations know lane.

const float STEEPEST = -1000.0;  // log decay of a token: exp of it is 0, and sums of it stay exact and finite

shared vec2 sums[CHUNK];  // G as a sum of two floats, so that differences of large sums stay exact

// exp(G_i - G_j), and exp(G_i) itself; sums are of numbers that are never positive in a sane model.
float decay_between(vec2 late, vec2 early) {
    return exp_of((late.x - early.x) + (late.y - early.y));
}

// The sum of two numbers of two floats each (Knuth's two-sum).
vec2 add_exactly(vec2 x, vec2 y) {
    precise float sum = x.x + y.x, part = sum - x.x;
    precise float lost = (x.x - (sum - part)) + (y.x - part);
    return vec2(sum, lost + (x.y + y.y));
}

// Of all invocations: the first CHUNK bring a token's each. Others may read the sums after a barrier.
void sum_up(float log_decay) {
    if (lane < CHUNK) {
        sums[lane] = vec2(select_nan(log_decay, max(log_decay, STEEPEST)), 0);
    }
    for (uint reach = 1u; reach < CHUNK; reach *= 2u) {
        barrier();
        bool adds = lane >= reach && lane < CHUNK;
        vec2 before = adds ? sums[lane - reach] : vec2(0);
        barrier();
        if (adds) {
            sums[lane] = add_exactly(before, sums[lane]);
        }
    }
}
