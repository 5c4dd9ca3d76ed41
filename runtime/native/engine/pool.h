/* A small pool of threads that share the work of one call, round by round.
 *
 * A round is a number of pieces. A thread takes a piece by taking a ticket, and whoever finishes the last piece of
 * a round opens the next one. So nobody waits for a thread that has no processor at the moment (other programs have
 * theirs, too), except where it has a piece in hand. With barriers everybody would wait for everybody after each
 * round: beside two busy processes on two processors, two threads then take three times as long as one.
 *
 * Who finds no piece looks for the next round for SPIN_NS, then sleeps. A step of a small network takes tens of
 * microseconds, and waking a thread costs some; spinning for longer would burn a core between the frames of a
 * camera, and take it from the very thread that the others wait for. Not OpenMP: its runtime is another library to
 * ship, and two copies of it in one process (PyTorch brings its own) get in each other's way. */
#pragma once

#include "../portable.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

enum { SPIN_NS = 65000 };

typedef struct Pool Pool; /* as in event.h */
/* Does one piece, then calls pool_done. */
typedef void pool_piece(Pool *pool, void *work, int thread, int item);
/* Goes on to the next round; returns how many pieces it has, 0 when there is none. One thread at a time is in here. */
typedef int pool_next(void *work, int thread);

/* What threads write while others read has a cache line of its own. */
struct Pool {
    int threads; /* with the caller's */
    pthread_t *workers;
    pid_t process;
    pthread_mutex_t busy, lock;
    pthread_cond_t wake;
    pool_piece *piece; /* of this call, as the next two */
    pool_next *next;
    void *work;
    uint32_t round;                            /* never the same twice, so that who comes late finds nothing to take */
    _Alignas(64) atomic_uint_fast64_t tickets; /* the round, and in the lower half how many pieces nobody has taken */
    _Alignas(64) atomic_int undone;            /* pieces of this round */
    _Alignas(64) atomic_uint bell;             /* rises when a round opens, a call is over, or the pool ends */
    atomic_int sleepers, over, stop;
};

static inline void pause_a_little(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* A sleeper is counted before it looks at the bell for the last time, and the bell rises before sleepers are
 * counted here: one of the two sees the other. */
static void pool_ring(Pool *p) {
    atomic_fetch_add(&p->bell, 1);
    if (!atomic_load(&p->sleepers)) return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

/* Until the bell is another than was heard. */
static void pool_wait(Pool *p, unsigned heard) {
    const int64_t end = now_ns() + SPIN_NS;
    do {
        if (atomic_load_explicit(&p->bell, memory_order_acquire) != heard) return;
        pause_a_little();
    } while (now_ns() < end);
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->bell) == heard) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

/* Opens a round, or ends the call where that has no pieces; then `work` may be gone. */
static void pool_open(Pool *p, int pieces) {
    if (pieces) {
        atomic_store(&p->undone, pieces);
        atomic_store(&p->tickets, (uint64_t)++p->round << 32 | (uint32_t)pieces);
    } else {
        atomic_store(&p->over, 1);
    }
    pool_ring(p);
}

/* After each piece. What the pieces of a round wrote, the next round sees. */
static void pool_done(Pool *p, int thread) {
    if (atomic_fetch_sub(&p->undone, 1) == 1) pool_open(p, p->next(p->work, thread));
}

/* Takes a piece and does it; false where none is left. */
static int pool_take(Pool *p, int thread) {
    uint64_t t = atomic_load(&p->tickets);
    while ((uint32_t)t)
        if (atomic_compare_exchange_weak(&p->tickets, &t, t - 1)) {
            p->piece(p, p->work, thread, (int)((uint32_t)t - 1));
            return 1;
        }
    return 0;
}

static void pool_join_in(Pool *p, int thread, atomic_int *until) {
    while (!atomic_load(until)) {
        const unsigned heard = atomic_load(&p->bell);
        if (!pool_take(p, thread) && !atomic_load(until)) pool_wait(p, heard);
    }
}

typedef struct {
    Pool *pool;
    int thread;
} Worker;

static void *worker(void *argument) {
    const Worker me = *(Worker *)argument;
    free(argument);
    pool_join_in(me.pool, me.thread, &me.pool->stop);
    return NULL;
}

static void pool_start(Pool *p, int threads) {
    pthread_mutex_init(&p->busy, NULL);
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    atomic_store(&p->tickets, 0);
    atomic_store(&p->sleepers, 0);
    atomic_store(&p->stop, 0);
    p->process = getpid();
    p->threads = 1;
    while (p->threads < threads) {
        Worker *me = malloc(sizeof *me);
        if (!me) break;
        *me = (Worker){p, p->threads};
        if (pthread_create(&p->workers[p->threads], NULL, worker, me)) {
            free(me); /* with fewer threads the answer is the same, and later */
            break;
        }
        p->threads++;
    }
}

static Pool *pool_new(int threads) {
    Pool *p = aligned_alloc(_Alignof(Pool), sizeof *p);
    if (!p) return NULL;
    memset(p, 0, sizeof *p);
    p->workers = calloc((size_t)threads, sizeof *p->workers);
    if (!p->workers) {
        aligned_free(p);
        return NULL;
    }
    pool_start(p, threads);
    return p;
}

/* False while another call has the pool. The child of a fork has no workers; it starts its own. */
static int pool_enter(Pool *p) {
    if (p->process != getpid()) pool_start(p, p->threads);
    return !pthread_mutex_trylock(&p->busy);
}
static void pool_leave(Pool *p) { pthread_mutex_unlock(&p->busy); }

/* All rounds of one call, by the workers and the calling thread, which is number 0. first: pieces of a round before
 * those that `next` names, 0 for none. */
static void pool_run(Pool *p, pool_piece *piece, pool_next *next, void *work, int first) {
    p->piece = piece;
    p->next = next;
    p->work = work;
    atomic_store(&p->over, 0);
    pool_open(p, first ? first : next(work, 0));
    pool_join_in(p, 0, &p->over);
}

static void pool_free(Pool *p) {
    if (!p) return;
    if (p->process == getpid()) {
        atomic_store(&p->stop, 1);
        pool_ring(p);
        for (int t = 1; t < p->threads; t++) pthread_join(p->workers[t], NULL);
    }
    free(p->workers);
    aligned_free(p);
}
