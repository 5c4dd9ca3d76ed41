/* How many threads a step takes: the rule of runtime/engines/tuner, within the call, since it depends on what else the machine does.
 *
 *     candidates  the most threads, half of them, and so on to one; exactly one count where that was asked for, taken without a look
 *     measured    by steps that are taken anyway: every count takes LOOK of them in a row, and their mean counts
 *     kept        here, for calls of one kind
 *     doubted     when LOOK more steps than not took more than SLOWER times that mean, REST steps after the last look or later;
 *                 and as soon as 1 step in APART is one of the next look's slower counts (p99 does not see looks)
 *
 * In a row, and the mean: beside other programs a count is only as fast as its threads are given processors, which the system
 * evens out over some ten milliseconds. Counts that take turns get the processors of each other, and a median sees either the
 * steps that were interrupted or those that were not. More threads get more of a busy machine, so they stand first.
 *
 * Any count gives the same bits, so it may change between two steps of a stream. */
#include "../portable.h"
#include "event.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { LOOK = 16, APART = 200, REST = 10 * LOOK, MOST_COUNTS = 9 }; /* 256 threads, 128, .. 1 */
#define SLOWER 1.3

/* A pool for each count that is worth a try, the most threads first. */
typedef struct {
    int n, threads[MOST_COUNTS];
    Pool *pool[MOST_COUNTS]; /* NULL: the calling thread alone */
} Pools;
/* What is known of calls of one kind, such as those of so many rows, which may come from several threads at once: a
 * call that meets another one in here is not counted. */
typedef struct {
    const Pools *pools;
    double margin;
    atomic_int busy; /* a thread is in here; nobody waits for it, also where a fork has left it behind */
    atomic_int now;  /* which count was taken last; threads that find it busy take the same */
    int looks;
    int steps_of[MOST_COUNTS]; /* of this look, for each count */
    double ns_of[MOST_COUNTS]; /* their sum */
    double expected_ns;        /* of a step, as of the last look */
    int64_t steps, slow;       /* since then; slow steps more than others */
} Threads;

/* 1 to 256 threads; exactly: no fewer. NULL where there is no memory. */
Pools *plif_pools_new(int most, int exactly) {
    Pools *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    for (; most && p->n < (exactly ? 1 : MOST_COUNTS); most /= 2) {
        p->threads[p->n] = most;
        p->pool[p->n++] = most > 1 ? plif_pool_new(most) : NULL; /* without memory: one thread, and the same bits */
    }
    return p;
}

void plif_pools_free(Pools *p) {
    for (int i = 0; p && i < p->n; i++) plif_pool_free(p->pool[i]);
    free(p);
}

static void look(Threads *t) {
    t->looks = t->pools->n > 1;
    for (int i = 0; i < t->pools->n; i++) t->steps_of[i] = 0, t->ns_of[i] = 0;
}

/* margin: as in the tuner. NULL where there is no memory. */
Threads *plif_threads_new(const Pools *pools, double margin) {
    Threads *t = pools ? calloc(1, sizeof *t) : NULL;
    if (!t) return NULL;
    t->pools = pools, t->margin = margin;
    look(t);
    return t;
}

void plif_threads_free(Threads *t) { free(t); }

static double mean(const Threads *t, int i) { return t->ns_of[i] / t->steps_of[i]; }

static void decide(Threads *t) {
    int best = 0;
    for (int i = 1; i < t->pools->n; i++)
        if (mean(t, i) < (1 - t->margin) * mean(t, best)) best = i;
    atomic_store(&t->now, best);
    t->expected_ns = mean(t, best);
    t->steps = t->slow = t->looks = 0;
}

/* The place in `pools` of what the next call takes. */
int plif_threads_next(Threads *t) {
    int i = atomic_load(&t->now);
    if (t->pools->n < 2 || atomic_exchange(&t->busy, 1)) return i;
    for (int k = t->pools->n; t->looks && k--;)
        if (t->steps_of[k] < LOOK) i = k;
    atomic_store(&t->busy, 0);
    return i;
}

/* How long one took with that. */
void plif_threads_took(Threads *t, int i, int64_t ns) {
    if (t->pools->n < 2 || atomic_exchange(&t->busy, 1)) return;
    if (t->looks) {
        t->steps_of[i]++;
        t->ns_of[i] += (double)ns;
        int tried = 0;
        while (tried < t->pools->n && t->steps_of[tried] >= LOOK) tried++;
        if (tried == t->pools->n) decide(t);
    } else {
        t->steps++;
        t->slow += (double)ns > SLOWER * t->expected_ns ? 1 : -(t->slow > 0);
        if (t->steps >= (int64_t)APART * LOOK * (t->pools->n - 1) || (t->slow >= LOOK && t->steps >= REST)) look(t);
    }
    atomic_store(&t->busy, 0);
}

/* As plif_run, with as many threads as are chosen, of those pools. */
void plif_run_timed(const Program *program, Threads *t, const Call *call, char **arenas, float **accs) {
    if (!t || t->pools->n < 2) {
        plif_run(program, t ? t->pools->pool[0] : NULL, call, arenas, accs);
        return;
    }
    const int i = plif_threads_next(t);
    const int64_t began = now_ns();
    plif_run(program, t->pools->pool[i], call, arenas, accs);
    plif_threads_took(t, i, now_ns() - began);
}
