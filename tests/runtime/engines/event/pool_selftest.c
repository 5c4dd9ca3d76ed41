/* The pool of threads: every piece once and in its round, and a call that ends although a worker gets no processor; and what chooses how
 * many threads a call takes, asked and told by several threads at once. */
#include "../../../../runtime/native/engine/pool.h"
#include "../../../../runtime/native/engine/threads.c"

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

Pool *plif_pool_new(int threads) { return pool_new(threads); }
void plif_pool_free(Pool *pool) { pool_free(pool); }
void plif_run(const Program *program, Pool *pool, const Call *work, char **arenas, float **accs) {
    (void)program, (void)pool, (void)work, (void)arenas, (void)accs;
}

enum { STEPS = 20000 };

/* Three threads take 1000 ns a step, one takes 500; how many took one. */
static int steps(Threads *threads) {
    int ones = 0;
    for (int i = 0; i < STEPS; i++) {
        const int place = plif_threads_next(threads); /* of three threads and of one */
        ones += place == 1;
        plif_threads_took(threads, place, place == 1 ? 500 : 1000);
    }
    return ones;
}

static void *beside(void *threads) {
    steps(threads);
    return NULL;
}

static int shared_choice(void) {
    Pools *pools = plif_pools_new(3, 0);
    Threads *threads = plif_threads_new(pools, 0.1);
    pthread_t others[3];
    for (int i = 0; i < 3; i++) pthread_create(&others[i], NULL, beside, threads);
    steps(threads);
    for (int i = 0; i < 3; i++) pthread_join(others[i], NULL);
    const int ones = steps(threads);
    plif_threads_free(threads);
    plif_pools_free(pools);
    return ones < STEPS * 99 / 100;
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

    failed |= shared_choice();
    printf("a choice that threads share: %s\n", failed ? "FAILED" : "ok");
    return failed;
}
