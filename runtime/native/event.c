/* Runs programs: which kernels this processor has, the threads, and the loop over rows of the batch, steps and operations.
 *
 * Threads. No two pieces of work write to the same place, and the order of the additions within a piece is fixed, so any
 * number of threads gives the same bits. While there are at least as many rows as threads, each thread takes whole rows; for
 * the rows that remain, all threads share the pieces of each operation. The pool serves one call at a time.
 */
#include "event.h"
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define PLIF_HAS_AMX 1
#include <cpuid.h>
#include <sys/syscall.h>
#endif

void plif_amx_begin(void);
void plif_amx_end(void);

#if defined(PLIF_HAS_AMX)
/* The processor has it, and the kernel lets this process use it. Linux saves tiles only for processes that ask. */
static int amx_allowed(void) {
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 3) == 3 && !syscall(SYS_arch_prctl, REQUEST, TILE_DATA);
}
#endif

/* As event.h says. amx: look for that one, too, which asks the system. */
int plif_paths(int amx) {
    (void)amx;
    int found = 1 << PATH_SCALAR;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2"))
        found |= 1 << PATH_AVX2;
    if (found >> PATH_AVX2 & 1 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi2") &&
        __builtin_cpu_supports("avx512vnni"))
        found |= 1 << PATH_AVX512;
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
    case PATH_AVX512: return plif_item_avx512;
#if defined(PLIF_HAS_AMX)
    case PATH_AMX: return plif_item_amx;
#endif
#elif defined(__aarch64__)
    case PATH_NEON: return plif_item_neon;
#endif
    default: return plif_item_scalar;
    }
}

/* Subnormals to zero in this thread; gives back what to restore. Decay without input halves a membrane until it is 1e-40,
 * and arithmetic on such numbers is many times slower on some processors. */
static uint64_t flush_subnormals(int flush) {
    uint64_t before = 0;
#if defined(__x86_64__)
    before = _mm_getcsr();
    _mm_setcsr(flush ? (unsigned)before | 0x8040 : (unsigned)before & ~0x8040u);
#elif defined(__aarch64__)
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    uint64_t now = flush ? before | 1ull << 24 : before & ~(1ull << 24);
    __asm__ volatile("msr fpcr, %0" : : "r"(now));
#else
    (void)flush;
#endif
    return before;
}

static void restore_subnormals(uint64_t before) {
#if defined(__x86_64__)
    _mm_setcsr((unsigned)before);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
    (void)before;
#endif
}

typedef struct {
    const Program *program;
    const Call *call;
    char **arenas;                      /* one for each thread; the first is shared when threads share a row */
    float **accs;
    run_item *run;
    atomic_int next;                    /* the next piece of work, or the next row */
    Barrier barrier;
    int threads;
} Job;

static Context context_of(const Job *job, int row, int step, int arena, int thread) {
    const Call *c = job->call;
    Context ctx = {
        c->x + row * c->x_row + step * c->x_step,
        c->y + row * c->y_row + (int64_t)step * c->rows * c->y_row,
        step ? (const float *const *)c->v_next : c->v,
        c->v_next,
        c->rates,
        c->v_stride,
        row,
        step * c->rows + row,
        job->arenas[arena],
        job->accs[thread],
    };
    return ctx;
}

static void whole_rows(Job *job, int thread, int rows) {
    const Program *p = job->program;
    for (int row; (row = atomic_fetch_add(&job->next, 1)) < rows;)
        for (int step = 0; step < job->call->steps; step++) {
            const Context ctx = context_of(job, row, step, thread, thread);
            for (int i = 0; i < p->count; i++)
                for (int item = 0; item < p->ops[i].items; item++) job->run(&p->ops[i], &ctx, item);
        }
}

static void shared_rows(Job *job, int thread, int first) {
    const Program *p = job->program;
    for (int row = first; row < job->call->rows; row++)
        for (int step = 0; step < job->call->steps; step++) {
            const Context ctx = context_of(job, row, step, 0, thread);
            for (int i = 0; i < p->count; i++) {
                const Op *op = &p->ops[i];
                if (op->parallel)
                    for (int item; (item = atomic_fetch_add(&job->next, 1)) < op->items;) job->run(op, &ctx, item);
                else if (thread == 0)
                    for (int item = 0; item < op->items; item++) job->run(op, &ctx, item);
                /* the first thread runs small operations one after the other, and the others wait behind the last one */
                if (op->parallel || i + 1 == p->count || p->ops[i + 1].parallel) barrier_wait(&job->barrier, &job->next);
            }
        }
}

#if defined(PLIF_HAS_AMX)
#define AMX(job) ((job)->program->path == PATH_AMX)
#else
#define AMX(job) 0
#endif

static void work(void *argument, int thread) {
    Job *job = argument;
    const uint64_t before = flush_subnormals(job->program->flush);
    if (AMX(job)) plif_amx_begin();
    const int whole = job->call->rows - job->call->rows % job->threads;
    if (whole) whole_rows(job, thread, whole);
    if (whole && whole < job->call->rows) barrier_wait(&job->barrier, &job->next);
    shared_rows(job, thread, whole);
    if (AMX(job)) plif_amx_end();
    restore_subnormals(before);
}

/* One call. pool NULL: in the calling thread. arenas and accs: one for each thread of the pool. */
void plif_run(const Program *program, Pool *pool, const Call *call, char **arenas, float **accs) {
    Job job = {program, call, arenas, accs, kernels(program->path), 0, {0}, 1};
    if (pool) {
        pool_enter(pool);
        job.threads = pool_threads(pool);
    }
    barrier_init(&job.barrier, job.threads);
    if (job.threads == 1)
        work(&job, 0);
    else
        pool_run(pool, work, &job);
    if (pool) pool_leave(pool);
}

Pool *plif_pool_new(int threads) { return pool_new(threads); }
void plif_pool_free(Pool *pool) { pool_free(pool); }

/* Sizes as compiled, so that the Python side can refuse a library that is not its own. */
int plif_layout(void) { return (int)(sizeof(Op) * 1000000 + sizeof(Program) * 1000 + sizeof(Call) + sizeof(CallSizes)); }
