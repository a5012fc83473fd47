// CUDA C++, for NVRTC and nvcc, without any header. A subgroup is a warp. All lanes of a warp take part in what they do
// together, as the kernels promise; a workgroup of less than a warp is a power of two.
//
// The entry takes a pointer a binding, then the arguments as a struct by value. With VK_BRANCH defined it first takes
// `which` and a side, and does nothing in runs that take the other side.

#define VK_FN __device__ __forceinline__
#define VK_CONSTANT constexpr
#define VK_TABLE(T, x) __device__ const T x[]
#define VK_PRIVATE
#define VK_PRECISE volatile
#define VK_UNROLL _Pragma("unroll")
#define VK_DONT_UNROLL _Pragma("unroll 1")
#define VK_ALIGN(n) alignas(n)
#define VK_MATH(f) ::f
#define VK_COMPONENT(i, n) i
#define VK_REFERENCE(x) (&x)
#define VK_SWIZZLE(s) s()

namespace vk {
#include "vectors.h"

VK_FN uint floatBitsToUint(float x) { return __float_as_uint(x); }
VK_FN int floatBitsToInt(float x) { return __float_as_int(x); }
VK_FN float uintBitsToFloat(uint x) { return __uint_as_float(x); }
VK_FN float intBitsToFloat(int x) { return __int_as_float(x); }
VK_FN int add_dot(int sum, uint a, uint b) { return __dp4a(int(a), int(b), sum); }
VK_FN int findLSB(uint x) { return __ffs(int(x)) - 1; }
VK_FN void umulExtended(uint a, uint b, uint &high, uint &low) { high = __umulhi(a, b), low = a * b; }
VK_FN vec2 unpackHalf2x16(uint bits) {
    vec2 r;
    asm("{ .reg .f16 a, b; mov.b32 {a, b}, %2; cvt.f32.f16 %0, a; cvt.f32.f16 %1, b; }" : "=f"(r.x), "=f"(r.y) : "r"(bits));
    return r;
}
VK_FN uint atomicAdd(uint &x, uint y) { return ::atomicAdd(&x, y); }
VK_FN uint atomicAnd(uint &x, uint y) { return ::atomicAnd(&x, y); }
VK_FN uint atomicMax(uint &x, uint y) { return ::atomicMax(&x, y); }
VK_FN uint atomicOr(uint &x, uint y) { return ::atomicOr(&x, y); }

#define barrier() __syncthreads()
#define subgroupBarrier() __syncwarp(VK_MASK)

#define VK_LANES (VK_WORKGROUP < 32u ? VK_WORKGROUP : 32u)
#define VK_MASK (VK_WORKGROUP < 32u ? (1u << (VK_WORKGROUP & 31u)) - 1u : 0xffffffffu)

template <class T> VK_FN T vk_shuffle(uint mask, T x, uint lane) { return __shfl_sync(mask, x, int(lane)); }
template <class T> VK_FN T vk_shuffle_xor(uint mask, T x, uint bits) { return __shfl_xor_sync(mask, x, int(bits)); }
template <class T, int N> VK_FN vk_Vector<T, N> vk_shuffle(uint mask, vk_Vector<T, N> x, uint lane) {
    VK_UNROLL for (int i = 0; i < N; i++) x[i] = vk_shuffle(mask, x[i], lane);
    return x;
}
template <class T, int N> VK_FN vk_Vector<T, N> vk_shuffle_xor(uint mask, vk_Vector<T, N> x, uint bits) {
    VK_UNROLL for (int i = 0; i < N; i++) x[i] = vk_shuffle_xor(mask, x[i], bits);
    return x;
}
#define VK_REDUCE(name, both)                                                     \
    template <class T> VK_FN T name(uint mask, uint lanes, T x) {                 \
        VK_UNROLL for (uint bits = 1u; bits < lanes; bits *= 2u) {                \
            T other = vk_shuffle_xor(mask, x, bits);                              \
            x = both;                                                             \
        }                                                                         \
        return x;                                                                 \
    }
VK_REDUCE(vk_add, x + other)
VK_REDUCE(vk_max, max(x, other))
VK_REDUCE(vk_min, min(x, other))
#if __CUDA_ARCH__ >= 800  // one instruction for integers of a whole warp
#define VK_REDUCE_WHOLE(name, intrinsic)                                          \
    VK_FN uint name(uint mask, uint, uint x) { return intrinsic(mask, x); }       \
    VK_FN int name(uint mask, uint, int x) { return intrinsic(mask, x); }
VK_REDUCE_WHOLE(vk_add, __reduce_add_sync)
VK_REDUCE_WHOLE(vk_max, __reduce_max_sync)
VK_REDUCE_WHOLE(vk_min, __reduce_min_sync)
#endif
#define subgroupShuffle(x, lane) vk_shuffle(VK_MASK, x, lane)
#define subgroupShuffleXor(x, bits) vk_shuffle_xor(VK_MASK, x, bits)
#define subgroupAdd(x) vk_add(VK_MASK, VK_LANES, x)
#define subgroupMax(x) vk_max(VK_MASK, VK_LANES, x)
#define subgroupMin(x) vk_min(VK_MASK, VK_LANES, x)
#define subgroupBallot(x) uvec4(__ballot_sync(VK_MASK, x), 0u, 0u, 0u)
#define subgroupElect() (gl_SubgroupInvocationID == 0u)

#if __CUDA_ARCH__ >= 750
#include "cuda_matrices.h"
#endif

#define VK_LOAD(x, i) x[i]
#define VK_STORE(x, i) x[i]
#define VK_CHANGE(x, i) x[i]
#define VK_ATOMIC(x, i) x[i]
#define VK_LOAD_PART(x, i, k) x[i][k]
#define VK_STORE_PART(x, i, k) x[i][k]
#define VK_CHANGE_PART(x, i, k) x[i][k]

#if defined(VK_DYNAMIC)  // bytes of the one array that a launch grants: as many as wanted, and aligned for wgmma
extern __shared__ __align__(1024) uvec4 vk_dynamic[];
#define VK_SHARED(T, x, n)                                                        \
    constexpr bool vk_granted_##x = sizeof(T) * (n) == VK_DYNAMIC;                \
    static_assert(vk_granted_##x || sizeof(T) * (n) <= 8192u, "not what is granted, and more than a table"); \
    __shared__ T vk_own_##x[vk_granted_##x ? 1u : (n)];
#define VK_SHARED_MEMBER(T, x) T *x;
#define VK_SHARED_BIND(x)                                                         \
    vk_kernel.x = vk_granted_##x ? reinterpret_cast<decltype(vk_kernel.x)>(vk_dynamic) : vk_own_##x;
#else
#define VK_SHARED(T, x, n) __shared__ T x[n];
#define VK_SHARED_MEMBER(T, x)
#define VK_SHARED_BIND(x)
#endif
#define VK_SHARED_LOCAL(T, x, n)
#define VK_BUFFER(T, x) T *x;
#define VK_BUILT_IN                                                               \
    uvec3 gl_WorkGroupID, gl_NumWorkGroups, gl_LocalInvocationID;                 \
    uint gl_LocalInvocationIndex, gl_SubgroupInvocationID, gl_SubgroupID, gl_NumSubgroups, gl_SubgroupSize;
#define VK_SET_BUILT_IN                                                           \
    vk_kernel.gl_WorkGroupID = uvec3(blockIdx.x, blockIdx.y, blockIdx.z);         \
    vk_kernel.gl_NumWorkGroups = uvec3(gridDim.x, gridDim.y, gridDim.z);          \
    vk_kernel.gl_LocalInvocationID = uvec3(threadIdx.x, 0u, 0u);                  \
    vk_kernel.gl_LocalInvocationIndex = threadIdx.x;                              \
    vk_kernel.gl_SubgroupInvocationID = threadIdx.x & 31u;                        \
    vk_kernel.gl_SubgroupID = threadIdx.x >> 5;                                   \
    vk_kernel.gl_NumSubgroups = (VK_WORKGROUP + 31u) >> 5;                        \
    vk_kernel.gl_SubgroupSize = 32u;

#ifdef VK_BRANCH
#define VK_BRANCH_PARAMETERS const int *vk_which, int vk_side,
#define VK_LEAVE if ((*vk_which != 0) != (vk_side != 0)) return;
#else
#define VK_BRANCH_PARAMETERS
#define VK_LEAVE
#endif

// A kernel may be started before the one that it depends on has ended; here it waits until all that was written is seen.
#if __CUDA_ARCH__ >= 900
#define VK_WAIT asm volatile("griddepcontrol.wait;" ::: "memory");
#else
#define VK_WAIT
#endif

// A kernel that waits late reads weights before; one of a branch has to wait for what decides it.
#ifdef VK_BRANCH
#define VK_ENTRY_BODY_LATE VK_ENTRY_BODY
#define await_inputs()
#else
#define VK_ENTRY_BODY_LATE
#define await_inputs() VK_WAIT
#endif

#define VK_ENTRY_BEGIN extern "C" __global__ void __launch_bounds__(VK_WORKGROUP VK_RESIDENT) vkrun_kernel(VK_BRANCH_PARAMETERS
#define VK_ENTRY_BUFFER(i, T, x) T *x,
#define VK_ENTRY_ARGUMENTS(i) vk_Arguments vk_arguments) {
#define VK_ENTRY_NO_ARGUMENTS int) {
#define VK_ENTRY_BODY VK_WAIT VK_LEAVE
#define VK_BIND(i, T, x) vk_kernel.x = x;
#define VK_BIND_VIEW(i, T, x, first) vk_kernel.x = reinterpret_cast<T *>(first);
#define VK_ENTRY_END } }
