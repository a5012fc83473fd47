// Metal Shading Language 2.4 and later: stands before the text, since newLibraryWithSource takes one source. The host
// asks for safe maths, and for pipelines whose simdgroups have 32 threads (Apple's own GPUs).
//
// The entry takes a pointer a binding in [[buffer(i)]], then the arguments as a constant struct in the next one.

#include <metal_stdlib>
#include <metal_simdgroup_matrix>
#pragma METAL fp math_mode(safe)
using namespace metal;

#define VK_FN inline
#define VK_CONSTANT constant constexpr
#define VK_TABLE(T, x) constant T x[]
#define VK_PRIVATE thread
#define VK_PRECISE volatile
#define VK_UNROLL _Pragma("clang loop unroll(full)")
#define VK_DONT_UNROLL _Pragma("clang loop unroll(disable)")
#define VK_REFERENCE(x) (&x)
#define VK_SWIZZLE(s) s

#define VK_VECTORS(prefix, T)    \
    typedef T##2 prefix##vec2;   \
    typedef T##3 prefix##vec3;   \
    typedef T##4 prefix##vec4;
VK_VECTORS(, float)
VK_VECTORS(i, int)
VK_VECTORS(u, uint)
VK_VECTORS(b, bool)

#define exp(x) precise::exp(x)
#define log(x) precise::log(x)
#define sqrt(x) precise::sqrt(x)
#define roundEven(x) rint(x)
#define mix(a, b, second) select(a, b, second)
#define lessThan(a, b) ((a) < (b))
#define equal(a, b) ((a) == (b))

#define VK_BITS(name, from, to)                                        \
    VK_FN to name(from x) { return as_type<to>(x); }                   \
    VK_FN to##2 name(from##2 x) { return as_type<to##2>(x); }          \
    VK_FN to##4 name(from##4 x) { return as_type<to##4>(x); }
VK_BITS(floatBitsToUint, float, uint)
VK_BITS(floatBitsToInt, float, int)
VK_BITS(uintBitsToFloat, uint, float)
VK_BITS(intBitsToFloat, int, float)

VK_FN int add_dot(int sum, uint a, uint b) {
    int4 products = int4(as_type<char4>(a)) * int4(as_type<char4>(b));
    return sum + products.x + products.y + products.z + products.w;
}
VK_FN int findLSB(uint x) { return x ? int(ctz(x)) : -1; }
VK_FN void umulExtended(uint a, uint b, thread uint &high, thread uint &low) { high = mulhi(a, b), low = a * b; }

#define VK_ATOMIC_FUNCTION(name, does, space)                                                    \
    VK_FN uint name(space uint &x, uint y) {                                                     \
        return does(reinterpret_cast<space atomic_uint *>(&x), y, memory_order_relaxed);         \
    }
#define VK_ATOMIC_FUNCTIONS(name, does)              \
    VK_ATOMIC_FUNCTION(name, does, device)           \
    VK_ATOMIC_FUNCTION(name, does, threadgroup)
VK_ATOMIC_FUNCTIONS(atomicAdd, atomic_fetch_add_explicit)
VK_ATOMIC_FUNCTIONS(atomicAnd, atomic_fetch_and_explicit)
VK_ATOMIC_FUNCTIONS(atomicMax, atomic_fetch_max_explicit)
VK_ATOMIC_FUNCTIONS(atomicOr, atomic_fetch_or_explicit)

#define barrier() threadgroup_barrier(mem_flags::mem_threadgroup)
#define subgroupBarrier() simdgroup_barrier(mem_flags::mem_threadgroup)
#define subgroupShuffle(x, lane) simd_shuffle(x, ushort(lane))
#define subgroupShuffleXor(x, bits) simd_shuffle_xor(x, ushort(bits))
#define subgroupAdd(x) simd_sum(x)
#define subgroupMax(x) simd_max(x)
#define subgroupMin(x) simd_min(x)
#define subgroupBallot(x) uvec4(uint(ulong(simd_ballot(x))), 0u, 0u, 0u)
#define subgroupElect() simd_is_first()

// A component by its own address: a vector that is written in part is read and written whole, and two threads may each
// write one of its components.
#define VK_PART(space, T, n) \
    VK_FN space T &vk_part(space T##n *x, uint k) { return reinterpret_cast<space T *>(x)[k]; }
#define VK_PARTS(T, n)               \
    VK_PART(device, T, n)            \
    VK_PART(device const, T, n)      \
    VK_PART(threadgroup, T, n)
VK_PARTS(float, 2)
VK_PARTS(float, 4)
VK_PARTS(int, 2)
VK_PARTS(int, 4)
VK_PARTS(uint, 2)
VK_PARTS(uint, 4)

#ifndef VK_AT  // which tests replace, to look at indices
#define VK_AT(x, i) x[i]
#endif
#define VK_LOAD(x, i) VK_AT(x, i)
#define VK_STORE(x, i) VK_AT(x, i)
#define VK_CHANGE(x, i) VK_AT(x, i)
#define VK_ATOMIC(x, i) VK_AT(x, i)
#define VK_LOAD_PART(x, i, k) vk_part(&VK_AT(x, i), k)
#define VK_STORE_PART(x, i, k) vk_part(&VK_AT(x, i), k)
#define VK_CHANGE_PART(x, i, k) vk_part(&VK_AT(x, i), k)

#define VK_SHARED(T, x, n)
#define VK_SHARED_MEMBER(T, x) threadgroup T *x;
#define VK_SHARED_LOCAL(T, x, n) threadgroup T x[n];
#define VK_SHARED_BIND(x) vk_kernel.x = x;
#define VK_BUFFER(T, x) device T *x;
#define VK_BUILT_IN                                                               \
    uvec3 gl_WorkGroupID, gl_NumWorkGroups, gl_LocalInvocationID;                 \
    uint gl_LocalInvocationIndex, gl_SubgroupInvocationID, gl_SubgroupID, gl_NumSubgroups, gl_SubgroupSize;
#define VK_SET_BUILT_IN                                                           \
    vk_kernel.gl_WorkGroupID = vk_group;                                          \
    vk_kernel.gl_NumWorkGroups = vk_grid;                                         \
    vk_kernel.gl_LocalInvocationID = uvec3(vk_thread, 0u, 0u);                    \
    vk_kernel.gl_LocalInvocationIndex = vk_thread;                                \
    vk_kernel.gl_SubgroupInvocationID = vk_lane;                                  \
    vk_kernel.gl_SubgroupID = vk_simdgroup;                                       \
    vk_kernel.gl_NumSubgroups = vk_simdgroups;                                    \
    vk_kernel.gl_SubgroupSize = vk_lanes;

#define VK_ENTRY_BEGIN [[max_total_threads_per_threadgroup(VK_WORKGROUP)]] kernel void vkrun_kernel(
#define VK_ENTRY_BUFFER(i, T, x) device T *x [[buffer(i)]],
#define VK_ENTRY_ARGUMENTS(i) constant vk_Arguments &vk_arguments [[buffer(i)]], VK_ENTRY_NO_ARGUMENTS
#define VK_ENTRY_NO_ARGUMENTS                                                     \
    uint3 vk_group [[threadgroup_position_in_grid]],                              \
    uint3 vk_grid [[threadgroups_per_grid]],                                      \
    uint vk_thread [[thread_index_in_threadgroup]],                               \
    uint vk_lane [[thread_index_in_simdgroup]],                                   \
    uint vk_lanes [[threads_per_simdgroup]],                                      \
    uint vk_simdgroup [[simdgroup_index_in_threadgroup]],                         \
    uint vk_simdgroups [[simdgroups_per_threadgroup]]) {
#define VK_ENTRY_BODY
#define VK_ENTRY_BODY_LATE
#define await_inputs()
#define VK_BIND(i, T, x) vk_kernel.x = x;
#define VK_BIND_VIEW(i, T, x, first) vk_kernel.x = (device T *)first;
#define VK_ENTRY_END }
