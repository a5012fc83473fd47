// Runs the workgroups of a dispatch one after the other on one thread. An invocation is a fiber where it can wait: at a
// barrier for its workgroup, at a subgroup operation for its subgroup; else a plain call.
//
// What a GPU would answer with anything at all is an error here, in a line: indices out of bounds, shared memory that
// nobody wrote, two invocations at one number (in shared memory between the same two barriers, in a buffer at any time of
// a dispatch) of which one writes, a barrier or a subgroup operation that some do not reach, shifts by 32 and more,
// division by zero.
//
// Each barrier is judged too: without it two invocations would meet at a number of shared memory where nothing but passes
// of this barrier stands between them. Operations of subgroups order no memory; their barriers do, within the subgroup.

#include "lanes.h"
#include <setjmp.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

namespace {

const unsigned MAX_LANES = 1024, MAX_SUBGROUP = 64, SEVERAL = 0xffffffff;
const unsigned short ANY_LANE = 0xffff;  // of a subgroup: another one than whatever is compared with it
const size_t STACK_NBYTES = 1 << 18;

enum State { NEW, READY, AT_BARRIER, AT_OPERATION, ENDED };

struct Fiber {
    State state;
    vkrun_site site;
    int number;  // of the barrier or operation in the kernel
    unsigned n_met;  // operations so far
    ucontext_t start;
    jmp_buf paused;
    char *stack;
};

Fiber fibers[MAX_LANES];
vkrun_exchange exchanges[MAX_LANES][2];  // of a subgroup, for odd and even operations: one may still be read
jmp_buf scheduler, failure;
const vkrun_dispatch *dispatch;
void (*kernel)(const vkrun_dispatch *, const unsigned *);
unsigned group[3], n_lanes;
unsigned tick, first_tick;  // barriers passed so far, of whatever kind; before this workgroup
unsigned n_dispatches;

struct Span {  // what a workgroup or a subgroup runs since its last barrier
    unsigned now;  // the tick of that barrier
    unsigned since;  // the first tick after which it passed barriers of that number only
    int number;
};

Span whole, own[MAX_LANES];

void start_span(Span &span) { span.now = span.since = tick, span.number = -1; }

void pass_span(Span &span, int number) {
    if (span.number != number) span.since = span.now;
    span.now = tick, span.number = number;
}

unsigned turn(unsigned i, unsigned n) { return dispatch->backwards ? n - 1 - i : i; }

void begin() {
    kernel(dispatch, group);
    fibers[vkrun_lane].state = ENDED;
    _longjmp(scheduler, 1);
}

void resume(unsigned lane) {
    Fiber &fiber = fibers[vkrun_lane = lane];
    if (_setjmp(scheduler)) return;
    bool is_new = fiber.state == NEW;
    fiber.state = READY;
    if (is_new) setcontext(&fiber.start);
    _longjmp(fiber.paused, 1);
}

void pause(State state, vkrun_site site, int number) {
    Fiber &fiber = fibers[vkrun_lane];
    fiber.state = state, fiber.site = site, fiber.number = number;
    if (!_setjmp(fiber.paused)) _longjmp(scheduler, 1);
}

void prepare(Fiber &fiber) {
    if (!fiber.stack) fiber.stack = static_cast<char *>(malloc(STACK_NBYTES));
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack;
    fiber.start.uc_stack.ss_size = STACK_NBYTES;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, begin, 0);
    fiber.state = NEW, fiber.n_met = 0;
}

[[noreturn]] void fail_at(unsigned lane, const char *why) {
    vkrun_lane = lane;
    vkrun_fail(fibers[lane].site, why);
}

// The operation at which lanes of a subgroup wait; false when none does. Those that do not must have ended.
bool meet(unsigned first, unsigned n) {
    unsigned long long active = 0;
    unsigned one = 0;
    bool others = false;
    for (unsigned k = 0; k < n; k++) {
        const Fiber &fiber = fibers[first + k];
        others = others || fiber.state == AT_BARRIER;
        if (fiber.state != AT_OPERATION) continue;
        if (active && fiber.number != fibers[one].number) fail_at(first + k, "lanes at different subgroup operations");
        active |= 1ull << k, one = first + k;
    }
    if (active && others) fail_at(one, "a subgroup operation while other lanes are at a barrier");
    if (!active) return false;
    vkrun_exchange &exchange = exchanges[first / vkrun_subgroup][fibers[one].n_met & 1];
    exchange.active = active, exchange.n = n;
    if (fibers[one].number < 0) tick++, pass_span(own[first / vkrun_subgroup], ~fibers[one].number);
    for (unsigned k = 0; k < n; k++)
        if (active >> k & 1) fibers[first + k].n_met++, fibers[first + k].state = READY;
    return true;
}

// Until every lane of the subgroup is at a barrier or has ended.
void run_subgroup(unsigned first) {
    unsigned n = n_lanes - first < vkrun_subgroup ? n_lanes - first : vkrun_subgroup;
    do {
        for (unsigned k = 0; k < n; k++) {
            unsigned lane = first + turn(k, n);
            if (fibers[lane].state == READY || fibers[lane].state == NEW) resume(lane);
        }
    } while (meet(first, n));
}

// Whether all wait at one barrier; false when all have ended.
bool pass_barrier() {
    unsigned n_waiting = 0, one = 0;
    for (unsigned lane = 0; lane < n_lanes; lane++) {
        if (fibers[lane].state != AT_BARRIER) continue;
        if (n_waiting && fibers[lane].number != fibers[one].number) fail_at(lane, "invocations at different barriers");
        n_waiting++, one = lane;
    }
    if (n_waiting && n_waiting < n_lanes) fail_at(one, "a barrier that some invocations do not reach");
    if (!n_waiting) return false;
    for (unsigned lane = 0; lane < n_lanes; lane++) fibers[lane].state = READY;
    tick++, pass_span(whole, fibers[one].number);
    for (unsigned i = 0; i < n_lanes; i += vkrun_subgroup) pass_span(own[i / vkrun_subgroup], fibers[one].number);
    return true;
}

void run_fibers() {
    for (unsigned lane = 0; lane < n_lanes; lane++) prepare(fibers[lane]);
    unsigned n_subgroups = (n_lanes + vkrun_subgroup - 1) / vkrun_subgroup;
    do {
        for (unsigned i = 0; i < n_subgroups; i++) run_subgroup(turn(i, n_subgroups) * vkrun_subgroup);
    } while (pass_barrier());
}

void run_calls() {
    for (unsigned i = 0; i < n_lanes; i++) {
        vkrun_lane = turn(i, n_lanes);
        kernel(dispatch, group);
    }
}

void run_groups(bool waits) {
    const unsigned *grid = dispatch->grid;
    unsigned long long n = 1ull * grid[0] * grid[1] * grid[2];
    for (unsigned long long i = 0; i < n; i++) {
        unsigned long long at = dispatch->backwards ? n - 1 - i : i;
        group[0] = at % grid[0], group[1] = at / grid[0] % grid[1], group[2] = at / grid[0] / grid[1];
        first_tick = ++tick, start_span(whole);
        for (unsigned k = 0; k < n_lanes; k += vkrun_subgroup) start_span(own[k / vkrun_subgroup]);
        waits ? run_fibers() : run_calls();
    }
}

// Whether nothing stands between what another lane touched and this one does; a barrier that alone does is needed.
bool meets(const vkrun_touch &other, const vkrun_touch &mine) {
    if (other.lane == mine.lane && mine.lane != ANY_LANE) return false;
    bool near = other.subgroup == mine.subgroup;
    const Span &span = near ? own[mine.subgroup] : whole;
    unsigned then = near ? other.own : other.whole;
    if (then >= span.since && then != span.now) dispatch->barriers[span.number] |= VKRUN_NEEDED;
    return then == span.now;
}

bool meets(const vkrun_touches &others, const vkrun_touch &mine) {
    if (others.last.whole < first_tick) return false;
    return meets(others.last, mine) | meets(others.near, mine) | meets(others.far, mine);
}

void add(vkrun_touches &all, const vkrun_touch &mine) {
    if (all.last.subgroup != mine.subgroup) {
        vkrun_touch before = all.far;
        bool is_near = before.subgroup == mine.subgroup && before.lane != mine.lane;
        all.far = all.last, all.near = is_near ? before : vkrun_touch();
    } else if (all.last.lane != mine.lane) {
        all.near = all.last;
    }
    all.last = mine;
}

bool collides(vkrun_shared_cell *cell, int how, bool by_any) {
    unsigned short subgroup = vkrun_lane / vkrun_subgroup, lane = by_any ? ANY_LANE : vkrun_lane;
    vkrun_touch mine = {whole.now, own[subgroup].now, lane, subgroup};
    bool found = meets(cell->written, mine);
    if (how != VKRUN_READ) found |= meets(cell->read, mine);
    if (!(how & VKRUN_ATOMIC)) found |= meets(cell->atomics, mine);
    if (how & VKRUN_READ) add(cell->read, mine);
    if (how & VKRUN_ATOMIC) add(cell->atomics, mine);
    if (how & VKRUN_WRITE) cell->written = mine;
    return found;
}

// Whether others touch what `me` touches at the time `now`, and one of them writes; atomics may meet.
bool collides(vkrun_cell *cell, int how, unsigned now, unsigned me) {
    bool atomic = how & VKRUN_ATOMIC, reads = how & VKRUN_READ, writes = atomic || how & VKRUN_WRITE;
    bool was_written = cell->written == now, was_read = cell->read == now;
    if (was_written && cell->writer != me && !(atomic && cell->by_atomics)) return true;
    if (writes && was_read && cell->reader != me) return true;
    if (reads) cell->reader = was_read && cell->reader != me ? SEVERAL : me, cell->read = now;
    if (writes) {
        cell->writer = was_written && cell->writer != me ? SEVERAL : me;
        cell->by_atomics = atomic && (!was_written || cell->by_atomics);
        cell->written = now;
    }
    return false;
}

[[noreturn]] void fail_element(vkrun_site site, const char *name, unsigned i, const char *fault) {
    char why[160];
    snprintf(why, sizeof why, "%s[%u] %s", name, i, fault);
    vkrun_fail(site, why);
}

[[noreturn]] void fail_undefined(const void *data, const char *why) {  // its data begin with file, line and column
    struct Where { const char *file; uint32_t line, column; };
    const Where *where = static_cast<const Where *>(data);
    vkrun_fail(vkrun_site{where->file, int(where->line)}, why);
}

}  // namespace

extern "C" {

unsigned vkrun_lane, vkrun_subgroup;

int vkrun_run(const vkrun_dispatch *work, void (*main)(const vkrun_dispatch *, const unsigned *), unsigned n, bool waits,
              unsigned n_buffers, unsigned arguments_nbytes) {
    dispatch = work, kernel = main, n_lanes = n, vkrun_subgroup = work->subgroup, vkrun_lane = 0, n_dispatches++;
    if (_setjmp(failure)) return 1;
    vkrun_site nowhere = {"the dispatch", 0};
    if (n > MAX_LANES || !work->subgroup || work->subgroup > MAX_SUBGROUP) vkrun_fail(nowhere, "too many lanes");
    if (n_buffers != work->n_buffers) vkrun_fail(nowhere, "another number of buffers than the kernel's");
    if (arguments_nbytes != work->arguments_nbytes) vkrun_fail(nowhere, "other arguments than the kernel's");
    run_groups(waits);
    return 0;
}

void vkrun_barrier(vkrun_site site, int number) {
    dispatch->barriers[number] |= VKRUN_MET;
    pause(AT_BARRIER, site, number);
}

// Met as an operation is, with a number that none of those has.
void vkrun_subgroup_barrier(vkrun_site site, int number) {
    dispatch->barriers[number] |= VKRUN_MET;
    pause(AT_OPERATION, site, ~number);
}

const vkrun_exchange *vkrun_meet(const void *value, unsigned nbytes, vkrun_site site, int number) {
    vkrun_exchange *exchange = &exchanges[vkrun_lane / vkrun_subgroup][fibers[vkrun_lane].n_met & 1];
    memcpy(exchange->slots[vkrun_lane % vkrun_subgroup], value, nbytes);
    pause(AT_OPERATION, site, number);
    return exchange;
}

void vkrun_touch_shared(vkrun_shared_cell *cell, int how, const char *name, unsigned i, vkrun_site site) {
    bool by_any = how & VKRUN_BY_ANY;
    how &= ~VKRUN_BY_ANY;
    bool is_unwritten = cell->written.whole < first_tick && cell->atomics.last.whole < first_tick;
    if (how != VKRUN_WRITE && is_unwritten) fail_element(site, name, i, "read before anyone wrote it");
    if (collides(cell, how, by_any))
        fail_element(site, name, i, "touched by two invocations without a barrier between");
}

void vkrun_touch_buffer(vkrun_cell *cell, int how, const char *name, unsigned i, vkrun_site site) {
    unsigned number = (group[2] * dispatch->grid[1] + group[1]) * dispatch->grid[0] + group[0];
    if (collides(cell, how, n_dispatches, number * MAX_LANES + vkrun_lane))
        fail_element(site, name, i, "touched by two invocations of one dispatch");
}

void vkrun_fail(vkrun_site site, const char *why) {
    snprintf(dispatch->why, dispatch->why_nbytes, "%s:%d: %s (workgroup %u %u %u, invocation %u)", site.file, site.line, why,
             group[0], group[1], group[2], vkrun_lane);
    _longjmp(failure, 1);
}

void vkrun_out_of_bounds(vkrun_site site, const char *name, unsigned long long i, unsigned long long n) {
    char why[160];
    snprintf(why, sizeof why, "%s[%llu], it has %llu", name, i, n);
    vkrun_fail(site, why);
}

// What compilers call under -fsanitize, in place of the library that usually comes with it.
void __ubsan_handle_out_of_bounds(void *data, uintptr_t) { fail_undefined(data, "an array's index is out of bounds"); }
void __ubsan_handle_shift_out_of_bounds(void *data, uintptr_t, uintptr_t) { fail_undefined(data, "a shift by too much"); }
void __ubsan_handle_divrem_overflow(void *data, uintptr_t, uintptr_t) { fail_undefined(data, "a division by zero"); }
}
