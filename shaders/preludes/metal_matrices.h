// Halves and cooperative matrices of 16 x 16 for Metal: four simdgroup matrices of 8 x 8 each, by rows. What a thread
// holds of one has the same places in matrices of halves and of floats, which is used where sums become halves.

typedef half float16_t;
typedef half2 f16vec2;

VK_FN uint packHalf2x16(vec2 a) { return as_type<uint>(half2(a)); }
VK_FN vec2 unpackHalf2x16(uint bits) { return vec2(as_type<half2>(bits)); }
VK_FN uint packFloat2x16(f16vec2 a) { return as_type<uint>(a); }
VK_FN f16vec2 unpackFloat2x16(uint bits) { return as_type<half2>(bits); }

enum vk_Use { gl_MatrixUseA, gl_MatrixUseB, gl_MatrixUseAccumulator };
enum vk_Order { gl_CooperativeMatrixLayoutRowMajor, gl_CooperativeMatrixLayoutColumnMajor };

template <class T, uint rows, uint columns, vk_Use use> struct coopmat;

template <> struct coopmat<float, 16u, 16u, gl_MatrixUseAccumulator> {
    simdgroup_matrix<float, 8, 8> blocks[4];
    coopmat() = default;
    VK_FN explicit coopmat(float x) {
        VK_UNROLL for (uint b = 0u; b < 4u; b++) blocks[b] = make_filled_simdgroup_matrix<float, 8, 8>(x);
    }
    VK_FN thread float &operator[](uint i) {
        return reinterpret_cast<thread float *>(&blocks[i / 2u].thread_elements())[i % 2u];
    }
    VK_FN static constexpr uint length() { return 8u; }
};
typedef coopmat<float, 16u, 16u, gl_MatrixUseAccumulator> vk_Sums;

template <vk_Use use> struct coopmat<half, 16u, 16u, use> {
    simdgroup_matrix<half, 8, 8> blocks[4];
    coopmat() = default;
    VK_FN explicit coopmat(vk_Sums m) {
        static_assert(use == gl_MatrixUseAccumulator, "sums become halves, and no operand");
        VK_UNROLL for (uint i = 0u; i < 8u; i++)
            blocks[i / 2u].thread_elements()[i % 2u] = half(m.blocks[i / 2u].thread_elements()[i % 2u]);
    }
};

// Numbers of an element of an array that matrices of T are loaded from: halves stand in pairs in the words of uvec4.
template <class T, class X> constexpr uint vk_numbers() { return uint(sizeof(X) / sizeof(T)); }

#define VK_MATRIX_FUNCTIONS(space)                                                                                   \
    template <vk_Order order, vk_Use use, class T, class X>                                                          \
    VK_FN void vk_load(thread coopmat<T, 16u, 16u, use> &m, space const X *x, uint i, uint pitch) {                  \
        constexpr bool turned = order == gl_CooperativeMatrixLayoutColumnMajor;                                      \
        space const T *from = reinterpret_cast<space const T *>(x + i);                                              \
        const uint row = pitch * vk_numbers<T, X>();                                                                 \
        VK_UNROLL for (uint b = 0u; b < 4u; b++) {                                                                   \
            const uint down = turned ? b % 2u : b / 2u, along = turned ? b / 2u : b % 2u;                            \
            simdgroup_load(m.blocks[b], from + 8u * (down * row + along), row, ulong2(0), turned);                   \
        }                                                                                                            \
    }                                                                                                                \
    template <vk_Order order, vk_Use use, class T, class X>                                                          \
    VK_FN void vk_store(coopmat<T, 16u, 16u, use> m, space X *x, uint i, uint pitch) {                               \
        constexpr bool turned = order == gl_CooperativeMatrixLayoutColumnMajor;                                      \
        space T *to = reinterpret_cast<space T *>(x + i);                                                            \
        const uint row = pitch * vk_numbers<T, X>();                                                                 \
        VK_UNROLL for (uint b = 0u; b < 4u; b++) {                                                                   \
            const uint down = turned ? b % 2u : b / 2u, along = turned ? b / 2u : b % 2u;                            \
            simdgroup_store(m.blocks[b], to + 8u * (down * row + along), row, ulong2(0), turned);                    \
        }                                                                                                            \
    }
VK_MATRIX_FUNCTIONS(device)
VK_MATRIX_FUNCTIONS(threadgroup)
#define VK_MATRIX_LOAD(m, x, i, pitch, order) vk_load<order>(m, x, i, pitch)
#define VK_MATRIX_LOAD_BUFFER(m, x, i, pitch, order) vk_load<order>(m, x, i, pitch)
#define VK_MATRIX_STORE(m, x, i, pitch, order) vk_store<order>(m, x, i, pitch)
#define VK_MATRIX_STORE_BUFFER(m, x, i, pitch, order) vk_store<order>(m, x, i, pitch)

VK_FN vk_Sums coopMatMulAdd(
    coopmat<half, 16u, 16u, gl_MatrixUseA> a, coopmat<half, 16u, 16u, gl_MatrixUseB> b, vk_Sums c) {
    VK_UNROLL for (uint i = 0u; i < 8u; i++) {
        const uint row = i / 4u, column = i / 2u % 2u, k = i % 2u, sum = 2u * row + column;
        simdgroup_multiply_accumulate(c.blocks[sum], a.blocks[2u * row + k], b.blocks[2u * k + column], c.blocks[sum]);
    }
    return c;
}

// Of NVIDIA's devices, by a constant that is false here.
#define VK_WARPGROUP_MUL_ADD(sums, i, n, x, a, b, adds)
#define VK_COPY_ASYNC(x, i, y, j)
#define warpgroupPublish()
#define warpgroupFence()
#define warpgroupCommit()
#define warpgroupAwait()
#define copiesCommit()
#define copiesAwait(n)
