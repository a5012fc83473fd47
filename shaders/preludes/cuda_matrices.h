// Halves and cooperative matrices of 16 x 16 for CUDA: tensor cores by PTX, from compute capability 7.5 on. Each lane of
// the warp holds a share, as mma.sync wants it: of operands a pair in each of four blocks of 8 x 8, of sums two columns
// of rows lane / 4 and lane / 4 + 8, in either half of the columns.

VK_FN uint vk_halves(float low, float high) {
    uint both;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
#else
    asm("{ .reg .f16 a, b; cvt.rn.f16.f32 a, %1; cvt.rn.f16.f32 b, %2; mov.b32 %0, {a, b}; }"
        : "=r"(both) : "f"(low), "f"(high));
#endif
    return both;
}

#define VK_HALVES(op, name)                                                                       \
    VK_FN f16vec2 operator op(f16vec2 a, f16vec2 b) {                                             \
        asm(name ".rn.f16x2 %0, %0, %1;" : "+r"(a.bits) : "r"(b.bits));                           \
        return a;                                                                                 \
    }
VK_HALVES(-, "sub")
VK_HALVES(*, "mul")
VK_FN f16vec2 fma(f16vec2 a, f16vec2 b, f16vec2 c) {
    asm("fma.rn.f16x2 %0, %0, %1, %2;" : "+r"(a.bits) : "r"(b.bits), "r"(c.bits));
    return a;
}

template <vk_Use use> struct coopmat<float16_t, 16u, 16u, use> {
    uint pairs[4];
};
template <> struct coopmat<float, 16u, 16u, gl_MatrixUseAccumulator> {
    float sums[8];
    coopmat() = default;
    VK_FN explicit coopmat(float x) { VK_UNROLL for (int i = 0; i < 8; i++) sums[i] = x; }
};
typedef coopmat<float16_t, 16u, 16u, gl_MatrixUseA> vk_MatrixA;
typedef coopmat<float16_t, 16u, 16u, gl_MatrixUseB> vk_MatrixB;
typedef coopmat<float, 16u, 16u, gl_MatrixUseAccumulator> vk_Sums;

// From the element i of x, vectors of 16 bytes, on; what stands at the other side of the diagonal is turned on its way.
template <vk_Use use>
VK_FN void vk_load(coopmat<float16_t, 16u, 16u, use> &m, const uvec4 *x, uint i, uint pitch, vk_Order order) {
    const uint lane = threadIdx.x & 31u;
    bool rows = order == gl_CooperativeMatrixLayoutRowMajor;
    uint row = rows ? lane & 15u : (lane & 7u) + (lane >> 4 << 3), octet = rows ? lane >> 4 : lane >> 3 & 1u;
    uint at = uint(__cvta_generic_to_shared(x)) + (i + row * pitch + octet) * 16u;
    if (rows == (use == gl_MatrixUseA))
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(m.pairs[0]), "=r"(m.pairs[1]), "=r"(m.pairs[2]), "=r"(m.pairs[3]) : "r"(at) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(m.pairs[0]), "=r"(m.pairs[1]), "=r"(m.pairs[2]), "=r"(m.pairs[3]) : "r"(at) : "memory");
}

VK_FN void vk_multiply_add(float *sums, const uint *a, const uint *b) {
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    VK_UNROLL for (int k = 0; k < 2; k++)
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
            : "r"(a[2 * k]), "r"(a[2 * k + 1]), "r"(b[k]));
#endif
}
VK_FN vk_Sums coopMatMulAdd(const vk_MatrixA &a, const vk_MatrixB &b, vk_Sums c) {
    VK_UNROLL for (int half = 0; half < 2; half++) vk_multiply_add(c.sums + 4 * half, a.pairs, b.pairs + 2 * half);
    return c;
}

template <class T> VK_FN void vk_put(T *x, uint i, float value);
template <> VK_FN void vk_put(float *x, uint i, float value) { x[i] = value; }
template <> VK_FN void vk_put(uvec4 *x, uint i, float value) { (&x->x)[i] = __float_as_uint(value); }

// `pitch` and i count elements of x, floats or four of them.
template <class T> VK_FN void vk_store(const vk_Sums &m, T *x, uint i, uint pitch, vk_Order order) {
    const uint lane = threadIdx.x & 31u, words = sizeof(T) / 4u;
    bool rows = order == gl_CooperativeMatrixLayoutRowMajor;
    VK_UNROLL for (uint e = 0u; e < 8u; e++) {
        uint row = (lane >> 2) + (e >> 1 & 1u) * 8u, column = (lane & 3u) * 2u + (e & 1u) + (e >> 2) * 8u;
        vk_put(x, i * words + (rows ? row * pitch * words + column : column * pitch * words + row), m.sums[e]);
    }
}
#define VK_MATRIX_LOAD(m, x, i, pitch, order) vk_load(m, x, i, pitch, order)
#define VK_MATRIX_STORE(m, x, i, pitch, order) vk_store(m, x, i, pitch, order)
