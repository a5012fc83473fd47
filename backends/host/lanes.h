// What a kernel of host C++ and the runner of its invocations know of each other.

#pragma once

struct vkrun_site {  // where in the GLSL
    const char *file;
    int line;
};

struct vkrun_cell {  // who touched 32 bits of a buffer last, and in which dispatch
    unsigned written, read;
    unsigned writer, reader;
    unsigned by_atomics;
};

struct vkrun_touch {  // one of shared memory: after which barrier of the workgroup, and after which that its subgroup met
    unsigned whole, own;
    unsigned short lane, subgroup;
};

struct vkrun_touches {  // the last one, the last by another lane of that subgroup, and the last by another subgroup
    vkrun_touch last, near, far;
};

struct vkrun_shared_cell {  // who touched 32 bits of shared memory, and when
    vkrun_touch written;
    vkrun_touches read, atomics;
};

struct vkrun_dispatch {  // as the Python side fills it in
    void *const *buffers;
    const unsigned long long *nbytes;  // of each buffer
    vkrun_cell *const *cells;  // of each buffer's 32-bit words, or null where the dispatch only reads it
    const void *arguments;
    unsigned n_buffers, arguments_nbytes;
    unsigned grid[3];
    unsigned subgroup;  // lanes of one
    unsigned backwards;  // the last invocation goes first
    unsigned char *barriers;  // VKRUN_MET and VKRUN_NEEDED are added for each of the kernel
    char *why;  // receives what went wrong
    unsigned why_nbytes;
    unsigned threads;  // of a workgroup, where it is not the kernel that says so
};

struct vkrun_arrays {  // where all shared memory of a kernel stands, and who touched it
    char *begin, *end;
    vkrun_shared_cell *cells;  // as many as bytes: of what stands in a grain of its own, from its array's first on
};

struct vkrun_exchange {  // what lanes bring to a subgroup operation: those of `active`, of n
    unsigned char slots[64][64];
    unsigned long long active;
    unsigned n;
};

// shared memory: BY_ANY is added where the subgroup does it together, by whichever lane
enum { VKRUN_READ = 1, VKRUN_WRITE = 2, VKRUN_ATOMIC = 4, VKRUN_BY_ANY = 8 };
enum { VKRUN_MET = 1, VKRUN_NEEDED = 2 };

extern "C" {
extern unsigned vkrun_lane, vkrun_subgroup;

int vkrun_run(const vkrun_dispatch *, void (*main)(const vkrun_dispatch *, const unsigned *group), unsigned n_lanes,
              bool waits, unsigned n_buffers, unsigned arguments_nbytes);
void vkrun_barrier(vkrun_site, int number);
void vkrun_subgroup_barrier(vkrun_site, int number);
const vkrun_exchange *vkrun_meet(const void *value, unsigned nbytes, vkrun_site, int number);
void vkrun_touch_shared(vkrun_shared_cell *, int how, const char *name, unsigned i, vkrun_site);
void vkrun_touch_buffer(vkrun_cell *, int how, const char *name, unsigned i, vkrun_site);
// Of kernels that are instrumented, see accesses.cpp: `most` threads, all their arrays in one piece of memory.
int vkrun_run_instrumented(const vkrun_dispatch *, void (*main)(const vkrun_dispatch *, const unsigned *group), unsigned most,
                           bool waits, unsigned n_buffers, unsigned arguments_nbytes, vkrun_arrays *);
void vkrun_declare(const void *array, unsigned nbytes, unsigned each, const char *name);
void vkrun_check_index(const void *array, unsigned long long i, unsigned nbytes, const char *name, vkrun_site);
void vkrun_access(const volatile void *address, unsigned nbytes, int how);
[[noreturn]] void vkrun_fail(vkrun_site, const char *why);
[[noreturn]] void vkrun_out_of_bounds(vkrun_site, const char *name, unsigned long long i, unsigned long long n);
}
