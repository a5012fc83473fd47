// A CPU, for tests: each invocation is a fiber of backends/host/lanes.cpp, and every access to a buffer or to shared
// memory is looked at: its bounds, and whether another invocation touches the same element, see lanes.cpp.

#include "lanes.h"

#define VK_FN inline __attribute__((always_inline))  // small ones: compilers in a hurry inline nothing
#define VK_CONSTANT constexpr
#define VK_TABLE(T, x) constexpr T x[]
#define VK_PRIVATE
#define VK_PRECISE
#define VK_UNROLL
#define VK_DONT_UNROLL
#define VK_ALIGN(n)
#define VK_MATH(f) __builtin_##f
#define VK_HERE vkrun_site{__FILE__, __LINE__}
#define VK_COMPONENT(i, n) vkrun_checked(i, n)
#define VK_REFERENCE(x) (&x)
#define VK_SWIZZLE(s) s()

VK_FN unsigned vkrun_checked(unsigned i, unsigned n) {
    if (i >= n) vkrun_out_of_bounds(VK_HERE, "a vector", i, n);
    return i;
}

namespace {
#include "vectors.h"
#undef VK_FN
#define VK_FN inline

template <class A, class B> inline A vk_bits(B b) {
    A a;
    __builtin_memcpy(&a, &b, sizeof a);
    return a;
}
inline uint floatBitsToUint(float x) { return vk_bits<uint>(x); }
inline int floatBitsToInt(float x) { return vk_bits<int>(x); }
inline float uintBitsToFloat(uint x) { return vk_bits<float>(x); }
inline float intBitsToFloat(int x) { return vk_bits<float>(x); }
inline int add_dot(int sum, uint a, uint b) {
    for (int i = 0; i < 4; i++) sum += int((signed char)(a >> 8 * i)) * int((signed char)(b >> 8 * i));
    return sum;
}
inline int findLSB(uint x) { return x ? __builtin_ctz(x) : -1; }
inline void umulExtended(uint a, uint b, uint &high, uint &low) {
    unsigned long long product = (unsigned long long)a * b;
    high = uint(product >> 32), low = uint(product);
}

// Invocations take turns, so that an atomic is an access like any other.
inline uint atomicAdd(uint &x, uint y) { return x += y, x - y; }
inline uint atomicAnd(uint &x, uint y) { uint old = x; return x &= y, old; }
inline uint atomicMax(uint &x, uint y) { uint old = x; return x = max(x, y), old; }
inline uint atomicOr(uint &x, uint y) { uint old = x; return x |= y, old; }

// Barriers have the numbers that backends/host/kernels.py gave them.
#define barrier(n) vkrun_barrier(VK_HERE, n)
#define subgroupBarrier(n) vkrun_subgroup_barrier(VK_HERE, n)

#include "host_lanes.h"

inline uvec4 vk_ballot(bool value, vkrun_site site, int number) {
    vk_Brought<bool> brought = vk_bring(value, site, number);
    uvec4 found(0u);
    for (uint lane = 0; lane < brought.all->n; lane++)
        if (brought.has(lane) && brought.of(lane)) found[lane >> 5] |= 1u << (lane & 31u);
    return found;
}
#define subgroupShuffle(x, lane) vk_shuffle(x, lane, VK_HERE, __COUNTER__)
#define subgroupShuffleXor(x, mask) vk_shuffle(x, gl_SubgroupInvocationID ^ (mask), VK_HERE, __COUNTER__)
#define VK_REDUCE(x, expression) \
    vk_reduce(x, [](decltype(x) a, decltype(x) b) { return expression; }, VK_HERE, __COUNTER__)
#define subgroupAdd(x) VK_REDUCE(x, a + b)
#define subgroupMax(x) VK_REDUCE(x, max(a, b))
#define subgroupMin(x) VK_REDUCE(x, min(a, b))
#define subgroupBallot(x) vk_ballot(x, VK_HERE, __COUNTER__)
#define subgroupElect() vk_elect(VK_HERE, __COUNTER__)

template <class T> struct vk_Parts {
    typedef T type;
    static const uint n = 1u;
};
template <class T, int N> struct vk_Parts<vk_Vector<T, N>> {
    typedef T type;
    static const uint n = N;
};

template <class T> struct vk_Parts<const T> {
    typedef const typename vk_Parts<T>::type type;
    static const uint n = vk_Parts<T>::n;
};

template <class T> struct vk_Buffer {
    typedef typename vk_Parts<T>::type Part;
    enum : uint { n_parts = vk_Parts<T>::n };
    T *elements;
    unsigned long long n;
    vkrun_cell *cells;
    T &touch(uint i, int how, const char *name, vkrun_site site) const {
        static_assert(sizeof(Part) == 4, "elements are words of 32 bits");
        if (i >= n) vkrun_out_of_bounds(site, name, i, n);
        for (uint k = 0; cells && k < n_parts; k++) vkrun_touch_buffer(&cells[i * n_parts + k], how, name, i, site);
        return elements[i];
    }
    Part &touch_part(uint i, uint k, int how, const char *name, vkrun_site site) const {
        if (i >= n) vkrun_out_of_bounds(site, name, i, n);
        k = vkrun_checked(k, n_parts);
        if (cells) vkrun_touch_buffer(&cells[i * n_parts + k], how, name, i, site);
        return reinterpret_cast<Part *>(&elements[i])[k];
    }
};

template <class T, uint N> struct vk_Shared {
    typedef typename vk_Parts<T>::type Part;
    enum : uint { n_parts = vk_Parts<T>::n };
    T elements[N];
    vkrun_shared_cell cells[N * vk_Parts<T>::n];
    T &touch(uint i, int how, const char *name, vkrun_site site) {
        if (i >= N) vkrun_out_of_bounds(site, name, i, N);
        for (uint k = 0; k < n_parts; k++) vkrun_touch_shared(&cells[i * n_parts + k], how, name, i, site);
        return elements[i];
    }
    Part &touch_part(uint i, uint k, int how, const char *name, vkrun_site site) {
        if (i >= N) vkrun_out_of_bounds(site, name, i, N);
        vkrun_touch_shared(&cells[i * n_parts + vkrun_checked(k, n_parts)], how, name, i, site);
        return reinterpret_cast<Part *>(&elements[i])[k];
    }
};

#include "host_matrices.h"

#define VK_LOAD(x, i) vk_copy(x.touch(i, VKRUN_READ, #x, VK_HERE))
#define VK_STORE(x, i) x.touch(i, VKRUN_WRITE, #x, VK_HERE)
#define VK_CHANGE(x, i) x.touch(i, VKRUN_READ | VKRUN_WRITE, #x, VK_HERE)
#define VK_ATOMIC(x, i) x.touch(i, VKRUN_ATOMIC, #x, VK_HERE)
#define VK_LOAD_PART(x, i, k) vk_copy(x.touch_part(i, k, VKRUN_READ, #x, VK_HERE))
#define VK_STORE_PART(x, i, k) x.touch_part(i, k, VKRUN_WRITE, #x, VK_HERE)
#define VK_CHANGE_PART(x, i, k) x.touch_part(i, k, VKRUN_READ | VKRUN_WRITE, #x, VK_HERE)
template <class T> inline T vk_copy(const T &x) { return x; }

#define VK_SHARED(T, x, n) static vk_Shared<T, (n)> x;
#define VK_SHARED_MEMBER(T, x)
#define VK_SHARED_LOCAL(T, x, n)
#define VK_SHARED_BIND(x)
#define VK_BUFFER(T, x) vk_Buffer<T> x;
#define VK_BUILT_IN                                                              \
    uvec3 gl_WorkGroupID, gl_NumWorkGroups, gl_LocalInvocationID;                \
    uint gl_LocalInvocationIndex, gl_SubgroupInvocationID, gl_SubgroupID, gl_NumSubgroups, gl_SubgroupSize;
#define VK_SET_BUILT_IN                                                          \
    vk_kernel.gl_WorkGroupID = uvec3(vk_group[0], vk_group[1], vk_group[2]);     \
    vk_kernel.gl_NumWorkGroups = uvec3(vk_dispatch->grid[0], vk_dispatch->grid[1], vk_dispatch->grid[2]); \
    vk_kernel.gl_LocalInvocationID = uvec3(vkrun_lane, 0u, 0u);                  \
    vk_kernel.gl_LocalInvocationIndex = vkrun_lane;                              \
    vk_kernel.gl_SubgroupInvocationID = vkrun_lane % vkrun_subgroup;             \
    vk_kernel.gl_SubgroupID = vkrun_lane / vkrun_subgroup;                       \
    vk_kernel.gl_NumSubgroups = (VK_WORKGROUP + vkrun_subgroup - 1u) / vkrun_subgroup; \
    vk_kernel.gl_SubgroupSize = vkrun_subgroup;

#define VK_ENTRY_BEGIN enum { vk_n_buffers = 0
#define VK_ENTRY_BUFFER(i, T, x) + 1
#define VK_ENTRY_ARGUMENTS(i) }; enum { vk_arguments_nbytes = sizeof(vk_Arguments) }; \
    static void vk_main(const vkrun_dispatch *vk_dispatch, const unsigned *vk_group) { \
    vk_Arguments vk_arguments; __builtin_memcpy(&vk_arguments, vk_dispatch->arguments, sizeof vk_arguments);
#define VK_ENTRY_NO_ARGUMENTS }; enum { vk_arguments_nbytes = 0 }; \
    static void vk_main(const vkrun_dispatch *vk_dispatch, const unsigned *vk_group) {
#define VK_ENTRY_BODY
#define VK_ENTRY_BODY_LATE
#define await_inputs()
#define VK_BIND(i, T, x) \
    vk_kernel.x = vk_Buffer<T>{                                                  \
        static_cast<T *>(vk_dispatch->buffers[i]), vk_dispatch->nbytes[i] / sizeof(T), vk_dispatch->cells[i]};
#define VK_BIND_VIEW(i, T, x, first) VK_BIND(i, T, x)
#define VK_ENTRY_END                                                             \
    }                                                                            \
    }                                                                            \
    extern "C" int vkrun_kernel(const vkrun_dispatch *dispatch) {                \
        return vkrun_run(dispatch, vk_main, VK_WORKGROUP, VK_WAITS, vk_n_buffers, vk_arguments_nbytes); \
    }
