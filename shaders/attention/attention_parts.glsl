// What attention of one token in parts reads and makes. -DROPE: it makes its inputs too, see attention_inputs.glsl; caches and
// y are contiguous.

layout(constant_id = 4) const uint CHUNKS = 1;  // of HEADS heads there are
layout(constant_id = 5) const uint SHARE = 1;  // of which so many share a key

#ifdef ROPE
layout(std430, binding = 0) readonly buffer Q { vec4 q[]; };
layout(std430, binding = 1) buffer K { uvec4 k[]; };
layout(std430, binding = 2) buffer V { uvec4 v[]; };
#else
layout(std430, binding = 0) readonly buffer Q { float q[]; };
layout(std430, binding = 1) readonly buffer K { uvec4 k[]; };
layout(std430, binding = 2) readonly buffer V { uvec4 v[]; };
#endif
layout(std430, binding = 3) readonly buffer Slots { int slots[]; };
layout(std430, binding = 4) readonly buffer Pos { int pos[]; };
layout(std430, binding = 5) buffer Y { float y[]; };
layout(push_constant) uniform Push {
    uint n_seqs, n_parts, parts_magic, parts_shift, n_kv, n_slots;
    uint q_seq, q_head, q_at, k_at, v_at, slots_at, pos_at, y_at;
    float scale, cap;
#ifdef ROPE
    uint n_ctx, cache_row, n_table;  // the caches' in eights
    uint own_k_seq, own_k_head, own_v_seq, own_v_head, own_k_at, own_v_at, turns_at, table_at, rows_at;
#ifdef NORM
    uint q_norm_at, k_norm_at;
    float eps;
#endif
#else
    uint k_slot, k_row, v_slot, v_row, slots_0, y_seq, y_part, y_head, pos_seq;  // the caches' in eights
#endif
} p;

#ifdef ROPE
#define K_SLOT (p.n_ctx * p.cache_row)
#define K_ROW p.cache_row
#define V_SLOT K_SLOT
#define V_ROW K_ROW
#define Y_PART (DIM + 2u)
#define Y_HEAD (p.n_parts * Y_PART)
#define Y_SEQ (CHUNKS * HEADS * Y_HEAD)
#define SLOTS_0 1u
#define POS_SEQ 1u
#else
#define K_SLOT p.k_slot
#define K_ROW p.k_row
#define V_SLOT p.v_slot
#define V_ROW p.v_row
#define Y_PART p.y_part
#define Y_HEAD p.y_head
#define Y_SEQ p.y_seq
#define SLOTS_0 p.slots_0
#define POS_SEQ p.pos_seq
#endif

uint seq, chunk, part;  // of the workgroup

void find_part() {
    uint group = group_index(), rest = group / CHUNKS;
    seq = fast_div(rest, p.parts_magic, p.parts_shift);
    chunk = group % CHUNKS;
    part = rest - seq * p.n_parts;
}

// Of `stop` keys, the last part's being fewer.
uint size_of_parts(uint stop) {
    return fast_div(stop + p.n_parts - 1u, p.parts_magic, p.parts_shift);
}
