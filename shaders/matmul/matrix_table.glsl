// Which types' codes products by cooperative matrices look up in shared memory: matrix_weights.glsl makes MXFP4's by bits.

#if !defined(TYPE_MXFP4)
#define TABLE_SHARED
#endif
