// Halves and cooperative matrices of 16 x 16 and 16 x 8 for the host, of subgroups of 32: each lane holds eight
// elements, or four, side by side in a row, halves as the floats that they equal.

inline uint vk_half_bits(float x) {
    uint bits = floatBitsToUint(x), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return sign | 0x7e00u;
    if (size >= 0x47800000u) return sign | 0x7c00u;
    if (size < 0x38800000u) return sign | uint(__builtin_rintf(uintBitsToFloat(size) * 16777216.0f));  // of 2^-24
    return sign | (((size + 0xfffu + (size >> 13 & 1u)) >> 13) - (112u << 10));
}
inline float vk_half(uint bits) {
    uint size = bits & 0x7fffu;  // whose fraction and exponent a float has 13 bits further up, the latter 112 more
    float x = size >= 0x7c00u ? uintBitsToFloat(0x7f800000u | size << 13) : uintBitsToFloat(size << 13) * 0x1p112f;
    return bits & 0x8000u ? -x : x;
}
inline vec2 unpackHalf2x16(uint bits) { return vec2(vk_half(bits), vk_half(bits >> 16)); }
inline uint vk_halves(float low, float high) { return vk_half_bits(low) | vk_half_bits(high) << 16; }

// Of two halves floats hold sums, differences and products so well that to round them again changes nothing.
#define VK_HALVES(expression)                                                         \
    uint r = 0u;                                                                      \
    for (uint i = 0u; i < 32u; i += 16u) {                                            \
        double x = vk_half(a.bits >> i), y = vk_half(b.bits >> i);                    \
        r |= vk_half_bits(float(expression)) << i;                                    \
    }                                                                                 \
    return unpackFloat2x16(r);
inline f16vec2 operator-(f16vec2 a, f16vec2 b) { VK_HALVES(x - y) }
inline f16vec2 operator*(f16vec2 a, f16vec2 b) { VK_HALVES(x * y) }
inline f16vec2 min(f16vec2 a, f16vec2 b) { VK_HALVES(y < x ? y : x) }
inline f16vec2 fma(f16vec2 a, f16vec2 b, f16vec2 c) { VK_HALVES(x * y + vk_half(c.bits >> i)) }

template <uint columns> struct coopmat<float, 16u, columns, gl_MatrixUseAccumulator> {
    float elements[columns / 2u];
    coopmat() = default;
    explicit coopmat(float x) { for (float &element : elements) element = x; }
    float &operator[](uint i) { return elements[vkrun_checked(i, columns / 2u)]; }
    static constexpr uint length() { return columns / 2u; }
};
template <uint columns> using vk_Sums = coopmat<float, 16u, columns, gl_MatrixUseAccumulator>;

template <uint columns, vk_Use use> struct coopmat<float16_t, 16u, columns, use> {
    float elements[columns / 2u];
    coopmat() = default;
    explicit coopmat(const vk_Sums<columns> &m) {
        static_assert(use == gl_MatrixUseAccumulator, "sums become halves, and no operand");
        for (uint i = 0u; i < columns / 2u; i++) elements[i] = vk_half(vk_half_bits(m.elements[i]));
    }
};

// Where element i of a lane's stands in an array of `n` numbers an element, from element `first` on.
struct vk_Place {
    uint first, pitch, n;
    bool rows;
    template <uint columns> uint at(uint i) const {
        uint e = vkrun_lane % 32u * (columns / 2u) + i, row = e / columns, column = e % columns;
        return first * n + (rows ? row * pitch * n + column : column * pitch * n + row);
    }
};
template <uint columns, vk_Use use, class X>
inline void vk_load(coopmat<float16_t, 16u, columns, use> &m, X &x, vk_Place place, const char *name, vkrun_site site) {
    place.n *= 2u;
    for (uint i = 0u; i < columns / 2u; i++) {
        uint at = place.at<columns>(i);
        uint word = x.touch_part(at / 8u, at / 2u % 4u, VKRUN_READ | VKRUN_BY_ANY, name, site);
        m.elements[i] = vk_half(word >> at % 2u * 16u);
    }
}
template <uint columns, class X>
inline auto &vk_touch(X &x, vk_Place place, uint i, int how, const char *name, vkrun_site site) {
    uint at = place.at<columns>(i);
    return x.touch_part(at / place.n, at % place.n, how | VKRUN_BY_ANY, name, site);
}
template <uint columns, class X>
inline void vk_load(vk_Sums<columns> &m, X &x, vk_Place place, const char *name, vkrun_site site) {
    for (uint i = 0u; i < columns / 2u; i++)
        __builtin_memcpy(&m.elements[i], &vk_touch<columns>(x, place, i, VKRUN_READ, name, site), 4);
}
template <uint columns, class X>
inline void vk_store(const vk_Sums<columns> &m, X &x, vk_Place place, const char *name, vkrun_site site) {
    for (uint i = 0u; i < columns / 2u; i++)
        __builtin_memcpy(&vk_touch<columns>(x, place, i, VKRUN_WRITE, name, site), &m.elements[i], 4);
}
template <class X>
inline void vk_store(const coopmat<float16_t, 16u, 16u, gl_MatrixUseAccumulator> &m, X &x, vk_Place place,
                     const char *name, vkrun_site site) {
    if (!place.rows) vkrun_fail(site, "halves are stored by rows");
    uint lane = vkrun_lane % 32u;
    for (uint i = 0u; i < 4u; i++)
        x.touch_part(place.first + lane / 2u * place.pitch + lane % 2u, i, VKRUN_WRITE | VKRUN_BY_ANY, name, site) =
            vk_halves(m.elements[2u * i], m.elements[2u * i + 1u]);
}
#define VK_MATRIX_LOAD(m, x, i, pitch, order) \
    vk_load(m, x, vk_Place{i, pitch, x.n_parts, order == gl_CooperativeMatrixLayoutRowMajor}, #x, VK_HERE)
#define VK_MATRIX_STORE(m, x, i, pitch, order) \
    vk_store(m, x, vk_Place{i, pitch, x.n_parts, order == gl_CooperativeMatrixLayoutRowMajor}, #x, VK_HERE)
#define VK_MATRIX_LOAD_BUFFER(m, x, i, pitch, order) VK_MATRIX_LOAD(m, x, i, pitch, order)
#define VK_MATRIX_STORE_BUFFER(m, x, i, pitch, order) VK_MATRIX_STORE(m, x, i, pitch, order)

struct vk_Operands {
    float a[8], b[8];
};
template <uint n> struct vk_Row {  // of which compilers add all at once, however plainly they compile
    typedef float numbers __attribute__((vector_size(4u * n)));
};
template <class A, class B, uint columns>
inline vk_Sums<columns> vk_multiply_add(vkrun_site site, int number, const A &a, const B &b, vk_Sums<columns> c) {
    vk_Operands own{};
    __builtin_memcpy(own.a, a.elements, sizeof own.a), __builtin_memcpy(own.b, b.elements, sizeof own.b);
    vk_Brought<vk_Operands> brought = vk_bring(own, site, number);
    if (brought.all->active != 0xffffffffu) vkrun_fail(site, "a product of matrices by another than 32 lanes");
    const auto *of = reinterpret_cast<const float(*)[16]>(brought.all->slots);
    const auto *row = of + vkrun_lane % 32u / 2u * 2u, *other = of + vkrun_lane % 2u;
    typename vk_Row<columns / 2u>::numbers sums, factors;
    __builtin_memcpy(&sums, c.elements, sizeof sums);
    for (uint k = 0u; k < 16u; k++, other += 2) {
        __builtin_memcpy(&factors, *other + 8, sizeof factors);
        sums += row[k / 8u][k % 8u] * factors;
    }
    __builtin_memcpy(c.elements, &sums, sizeof sums);
    return c;
}
#define coopMatMulAdd(...) vk_multiply_add(VK_HERE, __COUNTER__, __VA_ARGS__)

// What a warpgroup multiplies at once, each lane its own sums; they are there at once too.
template <uint n, class S, class X>
inline void vk_warpgroup(S *sums, X &x, uint a, uint b, uint adds, const char *name, vkrun_site site) {
    const uint lane = vkrun_lane % 32u, row = vkrun_lane / 32u % 4u * 16u + lane / 2u, column = lane % 2u * 8u;
    auto half = [&](uint first, uint line, uint k) {
        uint at = first / 8u * 8u + line * 8u + ((first % 8u + k / 8u) ^ line % 8u);
        return vk_half(x.touch_part(at, k / 2u % 4u, VKRUN_READ, name, site) >> k % 2u * 16u);
    };
    if (S::length() != 8u) vkrun_fail(site, "products of a warpgroup are of 16 x 16");
    for (uint m = 0u; m < n && adds == 0u; m++) sums[m] = S(0.0f);
    for (uint k = 0u; k < 16u; k++)
        for (uint m = 0u; m < n; m++)
            for (uint i = 0u; i < S::length(); i++)
                sums[m].elements[i] += half(a, row, k) * half(b, m * 16u + column + i, k);
}
#define VK_WARPGROUP_MUL_ADD(sums, i, n, x, a, b, adds) vk_warpgroup<n>(&sums[i], x, a, b, adds, #x, VK_HERE)
#define VK_COPY_ASYNC(x, i, y, j) \
    x.touch(i, VKRUN_WRITE, #x, VK_HERE) = vk_copy(y.touch(j, VKRUN_READ, #y, VK_HERE))
inline void copiesCommit() {}
inline void copiesAwait(uint) {}
inline void warpgroupPublish() {}
inline void warpgroupFence() {}
inline void warpgroupCommit() {}
inline void warpgroupAwait() {}
