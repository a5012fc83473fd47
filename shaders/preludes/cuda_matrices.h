// Halves and cooperative matrices of 16 x 16 and 16 x 8 for CUDA: tensor cores by PTX, from compute capability 7.5 on.
// Each lane of the warp holds a share, as mma.sync wants it, of four blocks of 8 x 8, or two: two elements side by side
// of row lane / 4. Blocks go down the rows first, but those of right operands along them, turned over their diagonal.

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
VK_FN f16vec2 min(f16vec2 a, f16vec2 b) {
#if __CUDA_ARCH__ >= 800
    asm("min.f16x2 %0, %0, %1;" : "+r"(a.bits) : "r"(b.bits));
#else
    vec2 x = unpackHalf2x16(a.bits), y = unpackHalf2x16(b.bits);
    a.bits = vk_halves(min(x.x, y.x), min(x.y, y.y));
#endif
    return a;
}
VK_FN f16vec2 fma(f16vec2 a, f16vec2 b, f16vec2 c) {
    asm("fma.rn.f16x2 %0, %0, %1, %2;" : "+r"(a.bits) : "r"(b.bits), "r"(c.bits));
    return a;
}

template <uint columns> struct coopmat<float, 16u, columns, gl_MatrixUseAccumulator> {
    float elements[columns / 2u];
    coopmat() = default;
    VK_FN explicit coopmat(float x) { VK_UNROLL for (uint i = 0u; i < columns / 2u; i++) elements[i] = x; }
    VK_FN float &operator[](uint i) { return elements[i]; }
    VK_FN static constexpr uint length() { return columns / 2u; }
};
template <uint columns> using vk_Sums = coopmat<float, 16u, columns, gl_MatrixUseAccumulator>;

template <uint columns, vk_Use use> struct coopmat<float16_t, 16u, columns, use> {
    uint pairs[columns / 4u];
    coopmat() = default;
    VK_FN explicit coopmat(const vk_Sums<columns> &m) {
        static_assert(use == gl_MatrixUseAccumulator, "sums become halves, and no operand");
        VK_UNROLL for (uint i = 0u; i < columns / 4u; i++)
            pairs[i] = vk_halves(m.elements[2 * i], m.elements[2 * i + 1]);
    }
};

VK_FN uint vk_lane() { return threadIdx.x & 31u; }

// From the element i of x, 16 bytes each, on; blocks that stand the other way round are turned on their way.
template <vk_Order order, uint columns, vk_Use use>
VK_FN void vk_load_shared(coopmat<float16_t, 16u, columns, use> &m, const uvec4 *x, uint i, uint pitch) {
    constexpr bool rows = order == gl_CooperativeMatrixLayoutRowMajor;
    const uint lane = vk_lane() & (2u * columns - 1u), row = rows ? lane & 15u : (lane & 7u) + ((lane & 16u) >> 1);
    // in bytes, and the lane's share by masks: of shifts compilers make an address a matrix, with none in common
    uint at = uint(__cvta_generic_to_shared(x)) + row * pitch * 16u + (rows ? lane & 16u : (lane & 8u) << 1) + i * 16u;
#define VK_LDMATRIX_2(turn)                                                                               \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" turn ".shared.b16 {%0, %1}, [%2];"                       \
                 : "=r"(m.pairs[0]), "=r"(m.pairs[1]) : "r"(at) : "memory")
#define VK_LDMATRIX(turn)                                                                                 \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" turn ".shared.b16 {%0, %1, %2, %3}, [%4];"               \
                 : "=r"(m.pairs[0]), "=r"(m.pairs[1]), "=r"(m.pairs[2]), "=r"(m.pairs[3]) : "r"(at) : "memory")
    constexpr bool as_they_stand = rows == (use == gl_MatrixUseA);
    if constexpr (columns == 8u && as_they_stand) VK_LDMATRIX_2("");
    else if constexpr (columns == 8u) VK_LDMATRIX_2(".trans");
    else if constexpr (as_they_stand) VK_LDMATRIX("");
    else VK_LDMATRIX(".trans");
}
template <vk_Order order, uint columns, vk_Use use>
VK_FN void vk_load(coopmat<float16_t, 16u, columns, use> &m, const uvec4 *x, uint i, uint pitch) {
    constexpr bool rows = order == gl_CooperativeMatrixLayoutRowMajor;
    VK_UNROLL for (uint block = 0u; block < columns / 4u; block++) {
        uint down = rows ? block & 1u : block >> 1, along = rows ? block >> 1 : block & 1u;
        const uvec4 &octet = x[i + (8u * down + (vk_lane() >> 2)) * pitch + along];
        uint pair = (&octet.x)[vk_lane() & 3u];
        if (rows != (use == gl_MatrixUseA)) asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %0;" : "+r"(pair));
        m.pairs[block] = pair;
    }
}
template <vk_Order order, uint columns, class T>
VK_FN void vk_load_shared(vk_Sums<columns> &m, const T *x, uint i, uint pitch) {
    vk_load<order>(m, x, i, pitch);
}

VK_FN void vk_take(float &to, const float *x, uint i) { to = x[i]; }
VK_FN void vk_take(float &to, const vec4 *x, uint i) { to = (&x->x)[i]; }
VK_FN void vk_put(float *x, uint i, float value) { x[i] = value; }
VK_FN void vk_put(vec4 *x, uint i, float value) { (&x->x)[i] = value; }
VK_FN void vk_put(uvec4 *x, uint i, float value) { (&x->x)[i] = __float_as_uint(value); }

// Where element e of a lane's stands in an array of n numbers an element, whose elements i and pitch count.
template <vk_Order order> VK_FN uint vk_place(uint e, uint i, uint pitch, uint n) {
    uint row = (vk_lane() >> 2) + (e >> 1 & 1u) * 8u, column = (vk_lane() & 3u) * 2u + (e & 1u) + (e >> 2) * 8u;
    return i * n + (order == gl_CooperativeMatrixLayoutRowMajor ? row * pitch * n + column : column * pitch * n + row);
}
template <vk_Order order, uint columns, class T>
VK_FN void vk_load(vk_Sums<columns> &m, const T *x, uint i, uint pitch) {
    VK_UNROLL for (uint e = 0u; e < columns / 2u; e++) vk_take(m[e], x, vk_place<order>(e, i, pitch, sizeof(T) / 4u));
}
template <vk_Order order, uint columns, class T>
VK_FN void vk_store(vk_Sums<columns> m, T *x, uint i, uint pitch) {
    VK_UNROLL for (uint e = 0u; e < columns / 2u; e++) vk_put(x, vk_place<order>(e, i, pitch, sizeof(T) / 4u), m[e]);
}
template <vk_Order order, uint columns>
VK_FN void vk_store(coopmat<float16_t, 16u, columns, gl_MatrixUseAccumulator> m, uvec4 *x, uint i, uint pitch) {
    static_assert(order == gl_CooperativeMatrixLayoutRowMajor, "halves are stored by rows");
    VK_UNROLL for (uint block = 0u; block < columns / 4u; block++)
        (&x[i + ((block & 1u) * 8u + (vk_lane() >> 2)) * pitch + (block >> 1)].x)[vk_lane() & 3u] = m.pairs[block];
}
#define VK_MATRIX_LOAD(m, x, i, pitch, order) vk_load_shared<order>(m, x, i, pitch)
#define VK_MATRIX_LOAD_BUFFER(m, x, i, pitch, order) vk_load<order>(m, x, i, pitch)
#define VK_MATRIX_STORE(m, x, i, pitch, order) vk_store<order>(m, x, i, pitch)
#define VK_MATRIX_STORE_BUFFER(m, x, i, pitch, order) vk_store<order>(m, x, i, pitch)

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
template <class A, class B, uint columns>
VK_FN vk_Sums<columns> coopMatMulAdd(const A &a, const B &b, vk_Sums<columns> c) {
    VK_UNROLL for (uint i = 0u; i < columns / 8u; i++) vk_multiply_add(c.elements + 4u * i, a.pairs, b.pairs + 2u * i);
    return c;
}

// Products of a warpgroup (wgmma, of compute capability 9.0 alone): 64 rows of the left operand by 16 n columns of the
// right one onto n matrices of each warp's 16 rows, from sums[i] on, or in their place (adds == 0). Both stand in shared
// memory by lines of 128 bytes, of which the ith has its octet k at k ^ i % 8. Nothing else looks at sums from the first
// fence to the last wait.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
VK_FN void warpgroupPublish() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
VK_FN void warpgroupFence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
VK_FN void warpgroupCommit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
VK_FN void warpgroupAwait() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }

VK_FN unsigned long long vk_described(const uvec4 *x, uint i) {
    const unsigned long long swizzled = 1u, eight_lines = 64u, unused = 1u;  // in words of 16 bytes
    return uint(__cvta_generic_to_shared(x + i)) >> 4 | unused << 16 | eight_lines << 32 | swizzled << 62;
}
#define VK_8(m)                                                                                     \
    "+f"((m).elements[0]), "+f"((m).elements[1]), "+f"((m).elements[2]), "+f"((m).elements[3]),     \
        "+f"((m).elements[4]), "+f"((m).elements[5]), "+f"((m).elements[6]), "+f"((m).elements[7])
#define VK_16(s) VK_8((s)[0]), VK_8((s)[1])
#define VK_32(s) VK_16(s), VK_16(s + 2)
#define VK_64(s) VK_32(s), VK_32(s + 4)
#define VK_WGMMA(columns, numbers, a, b, more, ...)                                                 \
    asm volatile("{ .reg .pred p; setp.ne.u32 p, " more ", 0; "                                     \
                 "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32.f16.f16 " numbers             \
                 ", " a ", " b ", p, 1, 1, 0, 0; }"                                                 \
                 : __VA_ARGS__ : "l"(a_blocks), "l"(b_blocks), "r"(adds))
template <uint n, class S>
VK_FN void vk_warpgroup(S *s, unsigned long long a_blocks, unsigned long long b_blocks, uint adds) {
    if constexpr (S::length() != 8u) __trap();
    else if constexpr (n == 2u)
        VK_WGMMA("32",
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}",
                 "%16", "%17", "%18", VK_16(s));
    else if constexpr (n == 3u)
        VK_WGMMA("48",
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
                 "%19, %20, %21, %22, %23}",
                 "%24", "%25", "%26", VK_16(s), VK_8(s[2]));
    else if constexpr (n == 4u)
        VK_WGMMA("64",
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
                 "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}",
                 "%32", "%33", "%34", VK_32(s));
    else if constexpr (n == 8u)
        VK_WGMMA("128",
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, "
                 "%19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, "
                 "%36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "
                 "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}",
                 "%64", "%65", "%66", VK_64(s));
    else __trap();  // no kernel has so many columns
}
#define VK_WARPGROUP_MUL_ADD(sums, i, n, x, a, b, adds) \
    vk_warpgroup<n>(&sums[i], vk_described(x, a), vk_described(x, b), adds)
VK_FN void vk_copy_async(uvec4 *x, const uvec4 *y) {
    const uint at = uint(__cvta_generic_to_shared(x));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(y) : "memory");
}
#define VK_COPY_ASYNC(x, i, y, j) vk_copy_async(&x[i], &y[j])
VK_FN void copiesCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
#define copiesAwait(n) asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory")  // for all but the last n groups
#else
VK_FN void warpgroupPublish() {}
VK_FN void warpgroupFence() {}
VK_FN void warpgroupCommit() {}
VK_FN void warpgroupAwait() {}
VK_FN void copiesCommit() {}
VK_FN void copiesAwait(uint) {}
#define VK_WARPGROUP_MUL_ADD(sums, i, n, x, a, b, adds) __trap()
#define VK_COPY_ASYNC(x, i, y, j) __trap()
#endif
