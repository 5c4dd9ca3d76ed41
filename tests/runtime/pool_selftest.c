/* The pool of threads: every piece once and in its round, and a call that ends although a worker gets no processor. */
#include "../../runtime/native/engine/pool.h"

#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sched.h>

enum { ROUNDS = 100, MOST = 40, CALLS = 4 };

typedef struct {
    int round;                          /* plain memory: the thread sanitizer sees whether rounds are told of each other */
    int pieces[ROUNDS];
    int done[ROUNDS][MOST];
    int missing;                        /* pieces that a later round did not see */
} Job;

static int next_round(void *work, int thread) {
    Job *job = work;
    (void)thread;
    for (int i = 0; job->round >= 0 && i < job->pieces[job->round]; i++) job->missing += job->done[job->round][i] != 1;
    return ++job->round < ROUNDS ? job->pieces[job->round] : 0;
}

static void piece(Pool *pool, void *work, int thread, int item) {
    Job *job = work;
    for (volatile int i = 0; i < (thread * 7 + item) % 5 * 400; i++) {}  /* a yield would give a busy machine a whole turn */
    job->done[job->round][item]++;
    pool_done(pool, thread);
}

static int call(Pool *pool, int seed) {
    static Job job;
    memset(&job, 0, sizeof job);
    job.round = -1;
    for (int r = 0; r < ROUNDS; r++) job.pieces[r] = 1 + (r * 31 + seed * 17) % MOST;
    if (!pool_enter(pool)) return 1;
    pool_run(pool, piece, next_round, &job, 0);
    pool_leave(pool);
    return job.missing || job.round != ROUNDS;
}

static sem_t held, released;
static void hold(int signal) {
    (void)signal;
    sem_post(&held);
    while (sem_wait(&released)) {}
}

int main(void) {
    int failed = 0;
    for (int threads = 1; threads <= 5; threads++) {
        Pool *pool = pool_new(threads);
        for (int i = 0; i < CALLS; i++) failed |= call(pool, i);
        pool_free(pool);
    }
    printf("every piece once and in its round: %s\n", failed ? "FAILED" : "ok");

    /* A worker that has no processor: it sits in a signal handler. It sleeps when the signal comes, so it holds no lock. */
    Pool *pool = pool_new(3);
    sem_init(&held, 0, 0), sem_init(&released, 0, 0);
    signal(SIGUSR1, hold);
    for (int asleep = 0; !asleep;) {
        pthread_mutex_lock(&pool->lock);
        asleep = atomic_load(&pool->sleepers) == 2;
        pthread_mutex_unlock(&pool->lock);
        sched_yield();
    }
    pthread_kill(pool->workers[1], SIGUSR1);
    while (sem_wait(&held)) {}
    for (int i = 0; i < CALLS; i++) failed |= call(pool, i);
    printf("without one of its workers: %s\n", failed ? "FAILED" : "ok");
    sem_post(&released);
    pool_free(pool);
    return failed;
}
