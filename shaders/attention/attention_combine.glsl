// What is combined: parts of a split attention, -DGATE: a gate of the result, -DSINKS: one more logit a head, of value 0.
layout(std430, binding = 0) readonly buffer Parts { float parts[]; };
layout(std430, binding = 1) buffer Y { float y[]; };
#ifdef GATE
layout(std430, binding = 2) readonly buffer Gate { float gate[]; };
#endif
#ifdef SINKS
#ifdef GATE
#define SINKS_BINDING 3
#else
#define SINKS_BINDING 2
#endif
layout(std430, binding = SINKS_BINDING) readonly buffer Sinks { float sinks[]; };
#endif
layout(push_constant) uniform Push {
    uint n_seqs, n_heads, n_split, dim;
    uint y_seq, y_head, parts_at, y_at;
#ifdef GATE
    uint gate_seq, gate_head, gate_at;
#endif
#ifdef SINKS
    uint sinks_at;
#endif
} p;

float sink_of(uint head) {
#ifdef SINKS
    return sinks[p.sinks_at + head];
#else
    return -INFINITY;
#endif
}

float sink_weight(float sink, float top) {
    return sink > -INFINITY ? exp_of(sink - top) : 0.0;
}
