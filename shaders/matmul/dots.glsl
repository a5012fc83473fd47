// Products of rows and columns, the way that suits the device. LANES: lanes.glsl for CPUs with subgroups; WIDE: wide.glsl
// for GPUs with them and rows that are not short; else vec.glsl. Rows that belong together: FIRST_ROW + r * ROW_STEP in a
// tile of TILE_OF(rows); total(sums) is right where is_writer().

#if defined(LANES)
#include "lanes.glsl"
#elif defined(WIDE)
#include "wide.glsl"
#else
#include "vec.glsl"
#endif
