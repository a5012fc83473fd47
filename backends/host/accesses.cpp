// Kernels of which a compiler's instrumentation (-fsanitize=thread) tells each access to memory, in place of macros in
// their text: what belongs to a buffer or to shared memory is judged as in lanes.cpp, of which this is a part.

#include <dlfcn.h>

namespace {

struct Array {
    const char *begin;
    unsigned nbytes, grain;  // what two threads may touch apart: an element, or 4 bytes of it
    const char *name;
};

vkrun_arrays *shared_arrays;
Array arrays[64];
unsigned n_arrays;
const char *stack_top;  // of calls that are no fibers
bool are_fibers;
vkrun_site last_site;  // of the last index that was looked at
const char *last_name;

bool is_own(const char *at) {
    const char *frame = static_cast<const char *>(__builtin_frame_address(0));
    return at >= frame && at < (are_fibers ? fibers[vkrun_lane].stack + STACK_NBYTES : stack_top);
}

const Array *array_at(const char *at) {
    if (at < shared_arrays->begin || at >= shared_arrays->end) return nullptr;
    for (unsigned i = 0; i < n_arrays; i++)
        if (at >= arrays[i].begin && at < arrays[i].begin + arrays[i].nbytes) return &arrays[i];
    return nullptr;
}

int buffer_at(const char *at) {
    for (unsigned i = 0; i < dispatch->n_buffers; i++) {
        const char *begin = static_cast<const char *>(dispatch->buffers[i]);
        if (at >= begin && at < begin + dispatch->nbytes[i]) return int(i);
    }
    return -1;
}

template <class T> bool holds(const T &array, const char *at) {
    const char *begin = reinterpret_cast<const char *>(&array);
    return at >= begin && at < begin + sizeof array;
}

bool is_constant(const char *at) {  // in a loaded library, whose pages are remembered
    static uintptr_t pages[64];
    uintptr_t page = reinterpret_cast<uintptr_t>(at) >> 12;
    Dl_info found;
    if (pages[page % 64] == page) return true;
    if (!dladdr(at, &found)) return false;
    pages[page % 64] = page;
    return true;
}

bool is_harmless(const char *at) {  // arguments, what lanes exchange, constants; not what lies between arrays
    const char *arguments = static_cast<const char *>(dispatch->arguments);
    if (at >= arguments && at < arguments + dispatch->arguments_nbytes) return true;
    bool is_shared = at >= shared_arrays->begin && at < shared_arrays->end;
    return holds(exchanges, at) || (!is_shared && is_constant(at));
}

void touch(const char *at, unsigned nbytes, int how) {
    if (is_own(at)) return;
    if (const Array *array = array_at(at)) {
        unsigned grain = array->grain, n = array->nbytes / grain;
        unsigned first = (at - array->begin) / grain, end = (at - array->begin + nbytes + grain - 1) / grain;
        if (end > n) vkrun_out_of_bounds(last_site, array->name, end - 1, n);
        vkrun_shared_cell *cells = shared_arrays->cells + (array->begin - shared_arrays->begin);
        for (unsigned i = first; i < end; i++) vkrun_touch_shared(&cells[i], how, array->name, i, last_site);
        return;
    }
    int buffer = buffer_at(at);
    if (buffer < 0 && is_harmless(at)) return;
    if (buffer < 0) vkrun_fail(last_site, "memory that is no buffer's and no array's");
    unsigned long long offset = at - static_cast<const char *>(dispatch->buffers[buffer]), n = dispatch->nbytes[buffer];
    if (offset + nbytes > n) vkrun_out_of_bounds(last_site, "a buffer", (offset + nbytes) / 4, n / 4);
    if (!dispatch->cells[buffer]) return;
    how &= ~VKRUN_BY_ANY;
    for (unsigned long long i = offset / 4; i < (offset + nbytes + 3) / 4; i++)
        vkrun_touch_buffer(&dispatch->cells[buffer][i], how, last_name, i, last_site);
}

}  // namespace

extern "C" {

int vkrun_run_instrumented(const vkrun_dispatch *work, void (*main)(const vkrun_dispatch *, const unsigned *), unsigned most,
                           bool waits, unsigned n_buffers, unsigned arguments_nbytes, vkrun_arrays *memory) {
    size_t nbytes = memory->end - memory->begin;
    if (!memory->cells) memory->cells = static_cast<vkrun_shared_cell *>(calloc(nbytes + 1, sizeof(vkrun_shared_cell)));
    shared_arrays = memory, are_fibers = waits, n_arrays = 0, last_site = {"the kernel", 0}, last_name = "a buffer";
    stack_top = static_cast<const char *>(__builtin_frame_address(0));
    unsigned threads = work->threads ? work->threads : most;
    if (threads > most) threads = MAX_LANES + 1;  // refused there
    return vkrun_run(work, main, threads, waits, n_buffers, arguments_nbytes);
}

// Each thread says it at its start.
void vkrun_declare(const void *array, unsigned nbytes, unsigned each, const char *name) {
    for (unsigned i = 0; i < n_arrays; i++)
        if (arrays[i].begin == array) return;
    if (n_arrays < sizeof arrays / sizeof *arrays) {
        arrays[n_arrays++] = {static_cast<const char *>(array), nbytes, each < 4 ? each : 4, name};
    }
}

// Element i, of that many bytes, of what begins at `array`.
void vkrun_check_index(const void *array, unsigned long long i, unsigned nbytes, const char *name, vkrun_site site) {
    last_site = site, last_name = name;
    for (unsigned k = 0; k < n_arrays; k++)
        if (arrays[k].begin == array && i >= arrays[k].nbytes / nbytes)
            vkrun_out_of_bounds(site, name, i, arrays[k].nbytes / nbytes);
    for (unsigned k = 0; k < dispatch->n_buffers; k++)
        if (dispatch->buffers[k] == array && i >= dispatch->nbytes[k] / nbytes)
            vkrun_out_of_bounds(site, name, i, dispatch->nbytes[k] / nbytes);
}

void vkrun_access(const volatile void *address, unsigned nbytes, int how) { touch((const char *)address, nbytes, how); }

#define INSTRUMENTED(n)                                                                     \
    void __tsan_read##n(void *x) { touch(static_cast<char *>(x), n, VKRUN_READ); }           \
    void __tsan_write##n(void *x) { touch(static_cast<char *>(x), n, VKRUN_WRITE); }         \
    void __tsan_read_write##n(void *x) { touch(static_cast<char *>(x), n, VKRUN_READ | VKRUN_WRITE); } \
    void __tsan_unaligned_read_write##n(void *x) { touch(static_cast<char *>(x), n, VKRUN_READ | VKRUN_WRITE); } \
    void __tsan_unaligned_read##n(void *x) { touch(static_cast<char *>(x), n, VKRUN_READ); } \
    void __tsan_unaligned_write##n(void *x) { touch(static_cast<char *>(x), n, VKRUN_WRITE); }
INSTRUMENTED(1)
INSTRUMENTED(2)
INSTRUMENTED(4)
INSTRUMENTED(8)
INSTRUMENTED(16)
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void *__tsan_memcpy(void *to, const void *from, size_t n) {
    touch(static_cast<const char *>(from), n, VKRUN_READ), touch(static_cast<char *>(to), n, VKRUN_WRITE);
    return memcpy(to, from, n);
}
void *__tsan_memset(void *to, int value, size_t n) {
    touch(static_cast<char *>(to), n, VKRUN_WRITE);
    return memset(to, value, n);
}

// Halves, for processors that have none: what compilers call.
float __gnu_h2f_ieee(unsigned short bits) {
    unsigned size = bits & 0x7fffu;  // whose fraction and exponent a float has 13 bits further up, the latter 112 more
    unsigned further = size >= 0x7c00u ? 0x7f800000u | size << 13 : size << 13;
    float x;
    memcpy(&x, &further, 4);
    if (size < 0x7c00u) x *= 0x1p112f;
    return bits & 0x8000u ? -x : x;
}
unsigned short __gnu_f2h_ieee(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    unsigned sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    float small;
    memcpy(&small, &size, 4);
    if (size > 0x7f800000u) return sign | 0x7e00u;
    if (size >= 0x47800000u) return sign | 0x7c00u;
    if (size < 0x38800000u) return sign | unsigned(__builtin_rintf(small * 16777216.0f));  // of 2^-24
    return sign | (((size + 0xfffu + (size >> 13 & 1u)) >> 13) - (112u << 10));
}
}
