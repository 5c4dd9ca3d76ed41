/* A small pool of threads: workers spin for a few microseconds after a call, then sleep.
 *
 * A step of a small network takes tens of microseconds, so waking threads by the kernel for each operation would cost more
 * than it saves; spinning for ever would burn a core between the frames of a camera. Not OpenMP: its runtime is another
 * library to ship, and two copies of it in one process (PyTorch brings its own) get in each other's way.
 */
#ifndef PLIF_POOL_H
#define PLIF_POOL_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum { SPINS_BEFORE_YIELD = 2000, YIELDS_BEFORE_SLEEP = 20 };

static inline void pause_a_little(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

typedef struct {
    atomic_int arrived;
    atomic_uint round;
    int threads;
} Barrier;

static inline void barrier_init(Barrier *b, int threads) {
    atomic_store(&b->arrived, 0);
    atomic_store(&b->round, 0);
    b->threads = threads;
}

/* All wait for all; the last to come sets *next to 0 before it lets the others go. */
static inline void barrier_wait(Barrier *b, atomic_int *next) {
    if (b->threads == 1) {
        atomic_store(next, 0);
        return;
    }
    unsigned round = atomic_load(&b->round);
    if (atomic_fetch_add(&b->arrived, 1) + 1 == b->threads) {
        atomic_store(next, 0);
        atomic_store(&b->arrived, 0);
        atomic_store(&b->round, round + 1);
        return;
    }
    for (int spins = 0; atomic_load(&b->round) == round; spins++)
        if (spins < SPINS_BEFORE_YIELD)
            pause_a_little();
        else
            sched_yield();
}

typedef void pool_work(void *argument, int thread);

typedef struct Pool {
    int threads;                        /* with the caller's */
    pthread_t *workers;
    pthread_mutex_t busy, lock;
    pthread_cond_t wake;
    atomic_uint round;                  /* rises with each call */
    atomic_int done, stop;
    pool_work *work;
    void *argument;
    pid_t process;
} Pool;

typedef struct {
    Pool *pool;
    int thread;
    unsigned round;
} Worker;

static void *worker(void *argument) {
    Worker me = *(Worker *)argument;
    Pool *p = me.pool;
    free(argument);
    for (;;) {
        for (int spins = 0; atomic_load(&p->round) == me.round && !atomic_load(&p->stop);) {
            if (++spins < SPINS_BEFORE_YIELD) {
                pause_a_little();
            } else if (spins < SPINS_BEFORE_YIELD + YIELDS_BEFORE_SLEEP) {
                sched_yield();
            } else {
                pthread_mutex_lock(&p->lock);
                while (atomic_load(&p->round) == me.round && !atomic_load(&p->stop)) pthread_cond_wait(&p->wake, &p->lock);
                pthread_mutex_unlock(&p->lock);
            }
        }
        if (atomic_load(&p->stop)) return NULL;
        me.round++;
        p->work(p->argument, me.thread);
        atomic_fetch_add(&p->done, 1);
    }
}

static void pool_start(Pool *p, int threads) {
    pthread_mutex_init(&p->busy, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    atomic_store(&p->round, 0);
    atomic_store(&p->stop, 0);
    p->process = getpid();
    p->threads = 1;
    while (p->threads < threads) {
        Worker *me = malloc(sizeof *me);
        if (!me) break;
        *me = (Worker){p, p->threads, 0};
        if (pthread_create(&p->workers[p->threads], NULL, worker, me)) {
            free(me);                   /* with fewer threads the answer is the same, and later */
            break;
        }
        p->threads++;
    }
}

static Pool *pool_new(int threads) {
    Pool *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->workers = calloc((size_t)threads, sizeof *p->workers);
    if (!p->workers) {
        free(p);
        return NULL;
    }
    pool_start(p, threads);
    return p;
}

/* The child of a fork has no workers; it starts its own. */
static void pool_enter(Pool *p) {
    if (p->process != getpid()) pool_start(p, p->threads);
    pthread_mutex_lock(&p->busy);
}
static void pool_leave(Pool *p) { pthread_mutex_unlock(&p->busy); }
static int pool_threads(const Pool *p) { return p->threads; }

static void pool_run(Pool *p, pool_work *work, void *argument) {
    p->work = work;
    p->argument = argument;
    atomic_store(&p->done, 0);
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->round, 1);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    work(argument, 0);
    for (int spins = 0; atomic_load(&p->done) < p->threads - 1; spins++)
        if (spins < SPINS_BEFORE_YIELD)
            pause_a_little();
        else
            sched_yield();
}

static void pool_free(Pool *p) {
    if (!p) return;
    if (p->process == getpid()) {
        pthread_mutex_lock(&p->lock);
        atomic_store(&p->stop, 1);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
        for (int t = 1; t < p->threads; t++) pthread_join(p->workers[t], NULL);
    }
    free(p->workers);
    free(p);
}

#endif
