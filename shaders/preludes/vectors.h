// GLSL's vectors and functions in C++14, for every prelude, which defines beforehand:
//   VK_FN           before a function
//   VK_ALIGN(n)     how vectors of 8 and 16 bytes are aligned
//   VK_COMPONENT(i, n)   component i of n, checked or not
//   VK_MATH(f)      C's function f
// and afterwards halves and cooperative matrices: vk_halves, arithmetic of f16vec2, coopmat and what takes it.

typedef unsigned int uint;

template <class T, int N> struct vk_Vector;

#define VK_COMPONENTS(N)                                                      \
    VK_FN T &operator[](uint i) { return (&x)[VK_COMPONENT(i, N)]; }          \
    VK_FN const T &operator[](uint i) const { return (&x)[VK_COMPONENT(i, N)]; } \
    vk_Vector() = default;

template <class T> struct VK_ALIGN(2 * sizeof(T)) vk_Vector<T, 2> {
    T x, y;
    VK_COMPONENTS(2)
    template <class A> VK_FN explicit vk_Vector(A a) : x(T(a)), y(T(a)) {}
    template <class U> VK_FN explicit vk_Vector(vk_Vector<U, 2> a) : x(T(a.x)), y(T(a.y)) {}
    template <class A, class B> VK_FN vk_Vector(A a, B b) : x(T(a)), y(T(b)) {}
};

template <class T> struct vk_Vector<T, 3> {
    T x, y, z;
    VK_COMPONENTS(3)
    template <class A> VK_FN explicit vk_Vector(A a) : x(T(a)), y(T(a)), z(T(a)) {}
    template <class U> VK_FN explicit vk_Vector(vk_Vector<U, 3> a) : x(T(a.x)), y(T(a.y)), z(T(a.z)) {}
    template <class A, class B, class C> VK_FN vk_Vector(A a, B b, C c) : x(T(a)), y(T(b)), z(T(c)) {}
    template <class A> VK_FN vk_Vector(vk_Vector<T, 2> a, A b) : x(a.x), y(a.y), z(T(b)) {}
    VK_FN vk_Vector<T, 2> xy() const { return vk_Vector<T, 2>(x, y); }
};

template <class T> struct VK_ALIGN(4 * sizeof(T)) vk_Vector<T, 4> {
    T x, y, z, w;
    VK_COMPONENTS(4)
    template <class A> VK_FN explicit vk_Vector(A a) : x(T(a)), y(T(a)), z(T(a)), w(T(a)) {}
    template <class U> VK_FN explicit vk_Vector(vk_Vector<U, 4> a) : x(T(a.x)), y(T(a.y)), z(T(a.z)), w(T(a.w)) {}
    template <class A, class B, class C, class D>
    VK_FN vk_Vector(A a, B b, C c, D d) : x(T(a)), y(T(b)), z(T(c)), w(T(d)) {}
    template <class A> VK_FN vk_Vector(vk_Vector<T, 3> a, A b) : x(a.x), y(a.y), z(a.z), w(T(b)) {}
    VK_FN vk_Vector(vk_Vector<T, 2> a, vk_Vector<T, 2> b) : x(a.x), y(a.y), z(b.x), w(b.y) {}
    VK_FN vk_Vector<T, 2> xy() const { return vk_Vector<T, 2>(x, y); }
    VK_FN vk_Vector<T, 2> yz() const { return vk_Vector<T, 2>(y, z); }
    VK_FN vk_Vector<T, 2> zw() const { return vk_Vector<T, 2>(z, w); }
    VK_FN vk_Vector<T, 3> xyz() const { return vk_Vector<T, 3>(x, y, z); }
    VK_FN vk_Vector<T, 3> yzw() const { return vk_Vector<T, 3>(y, z, w); }
    VK_FN vk_Vector<T, 4> xzyw() const { return vk_Vector<T, 4>(x, z, y, w); }
};

#define VK_VECTORS(prefix, T)            \
    typedef vk_Vector<T, 2> prefix##vec2; \
    typedef vk_Vector<T, 3> prefix##vec3; \
    typedef vk_Vector<T, 4> prefix##vec4;
VK_VECTORS(, float)
VK_VECTORS(i, int)
VK_VECTORS(u, uint)
VK_VECTORS(b, bool)

template <class T> struct vk_Same {  // a number beside a vector takes the type of its components
    typedef T type;
};

#define VK_OPERATOR(op)                                                                                       \
    template <class T, int N> VK_FN vk_Vector<T, N> operator op(vk_Vector<T, N> a, vk_Vector<T, N> b) {        \
        for (int i = 0; i < N; i++) a[i] = a[i] op b[i];                                                      \
        return a;                                                                                             \
    }                                                                                                         \
    template <class T, int N> VK_FN vk_Vector<T, N> operator op(vk_Vector<T, N> a, typename vk_Same<T>::type b) { \
        for (int i = 0; i < N; i++) a[i] = a[i] op b;                                                         \
        return a;                                                                                             \
    }                                                                                                         \
    template <class T, int N> VK_FN vk_Vector<T, N> operator op(typename vk_Same<T>::type a, vk_Vector<T, N> b) { \
        for (int i = 0; i < N; i++) b[i] = a op b[i];                                                         \
        return b;                                                                                             \
    }                                                                                                         \
    template <class T, int N, class B> VK_FN vk_Vector<T, N> &operator op##=(vk_Vector<T, N> &a, B b) {        \
        return a = a op b;                                                                                    \
    }
VK_OPERATOR(+)
VK_OPERATOR(-)
VK_OPERATOR(*)
VK_OPERATOR(/)
VK_OPERATOR(&)
VK_OPERATOR(|)
VK_OPERATOR(^)
VK_OPERATOR(<<)
VK_OPERATOR(>>)

template <class T, int N> VK_FN vk_Vector<T, N> operator-(vk_Vector<T, N> a) {
    for (int i = 0; i < N; i++) a[i] = -a[i];
    return a;
}

template <class T, int N> VK_FN vk_Vector<bool, N> lessThan(vk_Vector<T, N> a, vk_Vector<T, N> b) {
    vk_Vector<bool, N> r;
    for (int i = 0; i < N; i++) r[i] = a[i] < b[i];
    return r;
}

template <class T, int N> VK_FN vk_Vector<bool, N> equal(vk_Vector<T, N> a, vk_Vector<T, N> b) {
    vk_Vector<bool, N> r;
    for (int i = 0; i < N; i++) r[i] = a[i] == b[i];
    return r;
}

template <class T, int N> VK_FN vk_Vector<T, N> mix(vk_Vector<T, N> a, vk_Vector<T, N> b, vk_Vector<bool, N> second) {
    for (int i = 0; i < N; i++) a[i] = second[i] ? b[i] : a[i];
    return a;
}

template <int N> VK_FN bool all(vk_Vector<bool, N> a) {
    bool r = true;
    for (int i = 0; i < N; i++) r = r && a[i];
    return r;
}

template <int N> VK_FN float dot(vk_Vector<float, N> a, vk_Vector<float, N> b) {
    float r = a[0] * b[0];
    for (int i = 1; i < N; i++) r += a[i] * b[i];
    return r;
}

#define VK_ORDERED(T)                                                           \
    VK_FN constexpr T min(T a, T b) { return b < a ? b : a; }                   \
    VK_FN constexpr T max(T a, T b) { return a < b ? b : a; }                   \
    VK_FN constexpr T clamp(T x, T low, T high) { return min(max(x, low), high); }
VK_ORDERED(int)
VK_ORDERED(uint)
VK_ORDERED(float)

VK_FN float abs(float x) { return VK_MATH(fabsf)(x); }
VK_FN float sqrt(float x) { return VK_MATH(sqrtf)(x); }
VK_FN float exp(float x) { return VK_MATH(expf)(x); }
VK_FN float log(float x) { return VK_MATH(logf)(x); }
VK_FN float floor(float x) { return VK_MATH(floorf)(x); }
VK_FN float roundEven(float x) { return VK_MATH(rintf)(x); }
VK_FN float sign(float x) { return float(x > 0.0f) - float(x < 0.0f); }
VK_FN float fma(float a, float b, float c) { return VK_MATH(fmaf)(a, b, c); }

#define VK_EACH(name)                                                  \
    template <int N> VK_FN vk_Vector<float, N> name(vk_Vector<float, N> a) { \
        for (int i = 0; i < N; i++) a[i] = name(a[i]);                 \
        return a;                                                      \
    }
VK_EACH(sqrt)
VK_EACH(exp)
VK_EACH(abs)
VK_EACH(sign)
VK_EACH(roundEven)

VK_FN uint floatBitsToUint(float x);
VK_FN float uintBitsToFloat(uint x);
template <int N> VK_FN vk_Vector<uint, N> floatBitsToUint(vk_Vector<float, N> a) {
    vk_Vector<uint, N> r;
    for (int i = 0; i < N; i++) r[i] = floatBitsToUint(a[i]);
    return r;
}
template <int N> VK_FN vk_Vector<float, N> uintBitsToFloat(vk_Vector<uint, N> a) {
    vk_Vector<float, N> r;
    for (int i = 0; i < N; i++) r[i] = uintBitsToFloat(a[i]);
    return r;
}

template <int N> VK_FN vk_Vector<float, N> fma(vk_Vector<float, N> a, vk_Vector<float, N> b, vk_Vector<float, N> c) {
    for (int i = 0; i < N; i++) a[i] = fma(a[i], b[i], c[i]);
    return a;
}

// Halves, two in a word, which are for arithmetic alone. A single one is a number in the source, kept as a float.
struct float16_t {
    float x;
    VK_FN constexpr explicit float16_t(float x_) : x(x_) {}
};

VK_FN uint vk_halves(float low, float high);  // rounded to the nearest

struct f16vec2 {
    uint bits;
    f16vec2() = default;
    VK_FN explicit f16vec2(float a) : bits(vk_halves(a, a)) {}
    VK_FN f16vec2(float16_t a) : bits(vk_halves(a.x, a.x)) {}
};

VK_FN uint packHalf2x16(vec2 a) { return vk_halves(a.x, a.y); }
VK_FN uint packFloat2x16(f16vec2 a) { return a.bits; }
VK_FN f16vec2 unpackFloat2x16(uint bits) {
    f16vec2 a;
    a.bits = bits;
    return a;
}

// Cooperative matrices, which each prelude makes of what it has.
enum vk_Use { gl_MatrixUseA, gl_MatrixUseB, gl_MatrixUseAccumulator };
enum vk_Order { gl_CooperativeMatrixLayoutRowMajor, gl_CooperativeMatrixLayoutColumnMajor };
template <class T, uint rows, uint columns, vk_Use use> struct coopmat;
