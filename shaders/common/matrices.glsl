// Names for cooperative matrices of 16 x 16: halves left and right in a product, sums in fp32, and sums as halves.
// Halves stand in arrays of uvec4, eight to a number, floats in any arrays; `at` and `pitch` count their numbers, and
// every row starts at a multiple of 16 bytes.

#define LEFT coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA>
#define RIGHT coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB>
#define SUMS coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>
#define HALVES coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>

#define LOAD_ROWS(m, from, at, pitch) coopMatLoad(m, from, at, pitch, gl_CooperativeMatrixLayoutRowMajor)
#define LOAD_COLUMNS(m, from, at, pitch) coopMatLoad(m, from, at, pitch, gl_CooperativeMatrixLayoutColumnMajor)
#define LOAD_SUMS(m, from, at, pitch) coopMatLoad(m, from, at, pitch, gl_CooperativeMatrixLayoutRowMajor)
#define STORE_SUMS(m, to, at, pitch) coopMatStore(m, to, at, pitch, gl_CooperativeMatrixLayoutRowMajor)
#define STORE_SUMS_IN_QUADS(m, to, at, pitch) coopMatStore(m, to, at, pitch, gl_CooperativeMatrixLayoutRowMajor)
#define STORE_HALVES(m, to, at, pitch) coopMatStore(HALVES(m), to, at, pitch, gl_CooperativeMatrixLayoutRowMajor)
#define STORE_HALVES_COLUMNS(m, to, at, pitch) coopMatStore(HALVES(m), to, at, pitch, gl_CooperativeMatrixLayoutColumnMajor)
#define NO_SUMS SUMS(0.0)
#define ADD_PRODUCT(a, b, sums) sums = coopMatMulAdd(a, b, sums)
