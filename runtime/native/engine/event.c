/* Runs programs: which kernels this processor has, the threads, and the loop over rows of the batch, steps and
 * operations.
 *
 * Threads. No two pieces of work write to the same place, and the order of the additions within a piece is fixed,
 * so any number of threads gives the same bits. While there are at least as many rows as threads, each thread takes
 * whole rows; for the rows that remain, all threads share the pieces of each operation. The pool serves one call at
 * a time; a call that comes meanwhile runs in its own thread alone. */
#include "event.h"
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <xmmintrin.h>
#endif
#if defined(PLIF_HAS_AMX)
#include <sys/syscall.h>
#endif

void plif_amx_begin(void);
void plif_amx_end(void);

#if defined(PLIF_HAS_AMX)
/* The processor has it, and the kernel lets this process use it. Linux saves tiles only for processes that ask. */
static int amx_allowed(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 3) == 3 &&
           !syscall(SYS_arch_prctl, REQUEST, TILE_DATA);
}
#endif

#if defined(__x86_64__)
static int all(unsigned found, unsigned bits) { return (found & bits) == bits; }

/* Paths whose instructions the processor has, and whose registers the system saves. CPUID is read here: what
 * compilers offer for it, __builtin_cpu_supports, says "none" where their run-time library does not come with it,
 * as with zig cc. */
static int x86_paths(void) {
    enum { FMA = 1 << 12, POPCNT = 1 << 23, OSXSAVE = 1 << 27, LZCNT = 1 << 5 }; /* leaf 1, ecx; 0x80000001, ecx */
    enum { BMI = 1 << 3, AVX2 = 1 << 5, BMI2 = 1 << 8 };                         /* leaf 7, ebx */
    enum { AVX512F = 1 << 16, DQ = 1 << 17, BW = 1 << 30 };                      /* the same, with VL */
    enum { VBMI2 = 1 << 6, VNNI = 1 << 11, YMM = 0x06, ZMM = 0xE6 };             /* leaf 7, ecx; XCR0 */
    const unsigned VL = 1u << 31;
    unsigned a, b, c, d, saved;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !all(c, FMA | POPCNT | OSXSAVE)) return 0;
    __asm__ volatile("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
    if (!all(saved, YMM) || !__get_cpuid(0x80000001, &a, &b, &c, &d) || !all(c, LZCNT)) return 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !all(b, BMI | AVX2 | BMI2)) return 0;
    return 1 << PATH_AVX2 | (all(saved, ZMM) && all(b, AVX512F | DQ | BW | VL) && all(c, VBMI2 | VNNI)) << PATH_AVX512;
}
#endif

/* As event.h says. amx: look for that one, too, which asks the system. */
int plif_paths(int amx) {
    (void)amx;
    int found = 1 << PATH_SCALAR;
#if defined(__x86_64__)
    found |= x86_paths();
#if defined(PLIF_HAS_AMX)
    if (found >> PATH_AVX512 & 1 && amx && amx_allowed()) found |= 1 << PATH_AMX;
#endif
#elif defined(__aarch64__)
    found |= 1 << PATH_NEON;
#endif
    return found;
}

static run_item *kernels(int path) {
    switch (path) {
#if defined(__x86_64__)
    case PATH_AVX2: return plif_item_avx2;
    case PATH_AVX512:
    case PATH_AMX: return plif_item_avx512; /* which multiply rows of bytes in tiles where Context says so */
#elif defined(__aarch64__)
    case PATH_NEON: return plif_item_neon;
#endif
    default: return plif_item_scalar;
    }
}

/* The register that says whether this thread makes subnormals zero. Decay without input halves a membrane until it is
 * 1e-40, and arithmetic on such numbers is many times slower on some processors. */
#if defined(__x86_64__)
#define FLUSH 0x8040u
static uint64_t control(void) { return _mm_getcsr(); }
static void set_control(uint64_t value) { _mm_setcsr((unsigned)value); }
#elif defined(__aarch64__)
#define FLUSH (1ull << 24)
static uint64_t control(void) {
    uint64_t value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value));
    return value;
}
static void set_control(uint64_t value) { __asm__ volatile("msr fpcr, %0" : : "r"(value)); }
#else
#define FLUSH 0u
static uint64_t control(void) { return 0; }
static void set_control(uint64_t value) { (void)value; }
#endif

uint64_t plif_flush(int on) {
    const uint64_t before = control();
    set_control(on ? before | FLUSH : before & ~(uint64_t)FLUSH);
    return before;
}
void plif_unflush(uint64_t before) { set_control(before); }

/* What a thread needs before it runs a kernel, and what it puts back after. */
static uint64_t begin(const Program *p) {
    if (p->path == PATH_AMX) plif_amx_begin();
    return plif_flush(p->flush);
}

static void end(int path, uint64_t before) {
    if (path == PATH_AMX) plif_amx_end();
    plif_unflush(before);
}

typedef struct {
    const Program *program;
    const Call *call;
    char **arenas; /* one for each thread; the first is shared when threads share a row */
    float **accs;
    run_item *run;
    int row, step, op; /* of this round; op -1: its pieces are the rows before `row`, all steps of each */
} Job;

static Context context_of(const Job *job, int row, int step, int arena, int thread) {
    const Call *c = job->call;
    return (Context){c->x + row * c->x_row + step * c->x_step,
                     c->y + row * c->y_row + (int64_t)step * c->rows * c->y_row,
                     step ? (const float *const *)c->v_next : c->v,
                     c->v_next,
                     c->rates,
                     c->owed,
                     c->v_stride,
                     row,
                     step * c->rows + row,
                     job->arenas[arena],
                     job->accs[thread],
                     job->program->path == PATH_AMX};
}

static void whole_op(const Job *job, const Op *op, const Context *ctx) {
    for (int item = 0; item < op->items; item++) job->run(op, ctx, item);
}

static void whole_row(const Job *job, int thread, int row) {
    for (int step = 0; step < job->call->steps; step++) {
        const Context ctx = context_of(job, row, step, thread, thread);
        for (int i = 0; i < job->program->count; i++) whole_op(job, &job->program->ops[i], &ctx);
    }
}

/* To the next operation that is worth sharing; those before it are done here. */
static int next_round(void *work, int thread) {
    Job *job = work;
    for (;;) {
        if (++job->op == job->program->count) {
            job->op = 0;
            if (++job->step == job->call->steps) job->step = 0, job->row++;
        }
        if (job->row == job->call->rows) return 0;
        const Op *op = &job->program->ops[job->op];
        if (op->parallel) return op->items;
        const Context ctx = context_of(job, job->row, job->step, 0, thread);
        whole_op(job, op, &ctx);
    }
}

static void piece(Pool *pool, void *work, int thread, int item) {
    const Job *job = work;
    const int path = job->program->path;
    const uint64_t before = begin(job->program);
    if (job->op < 0) {
        whole_row(job, thread, item);
    } else {
        const Context ctx = context_of(job, job->row, job->step, 0, thread);
        job->run(&job->program->ops[job->op], &ctx, item);
    }
    pool_done(pool, thread); /* the call may be over after this, and `job` gone */
    end(path, before);
}

/* One call. pool NULL: in the calling thread. arenas and accs: one for each thread of the pool. */
void plif_run(const Program *program, Pool *pool, const Call *call, char **arenas, float **accs) {
    Job job = {program, call, arenas, accs, kernels(program->path), 0, 0, -1};
    const uint64_t before = begin(program);
    if (pool && pool_enter(pool)) {
        job.row = call->rows - call->rows % pool->threads;
        pool_run(pool, piece, next_round, &job, job.row);
        pool_leave(pool);
    } else {
        for (int row = 0; row < call->rows; row++) whole_row(&job, 0, row);
    }
    end(program->path, before);
}

/* As event.h says. */
void plif_settle(const Program *program, const Call *call) {
    run_item *run = kernels(program->path);
    const uint64_t before = begin(program);
    for (int row = 0; row < call->rows; row++) {
        const Context ctx = {.v_next = call->v_next, .owed = call->owed, .v_stride = call->v_stride, .row = row};
        for (int i = 0; i < program->count; i++) {
            Op op = program->ops[i];
            if (op.kind != OP_CONV || op.state < 0 || op.charge == CHARGE_PROGRAM) continue;
            op.kind = OP_SETTLE;
            for (int y = 0; y < op.oh; y++) run(&op, &ctx, y);
        }
    }
    end(program->path, before);
}

Pool *plif_pool_new(int threads) { return pool_new(threads); }
void plif_pool_free(Pool *pool) { pool_free(pool); }

/* Sizes as compiled, so that the Python side can refuse a library that is not its own. */
int plif_layout(void) {
    return (int)(sizeof(Op) * 1000000 + sizeof(Program) * 1000 + sizeof(Call) + sizeof(CallSizes));
}
