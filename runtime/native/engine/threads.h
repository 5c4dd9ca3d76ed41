/* How many threads a step takes: the rule of runtime/base/tuner.py, within the call, since it depends on what else the machine does.
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
#pragma once

#include "event.h"

enum { LOOK = 16, APART = 200, REST = 10 * LOOK, MOST_COUNTS = 9 }; /* 256 threads, 128, .. 1 */
#define SLOWER 1.3

/* A pool for each count that is worth a try, the most threads first. */
typedef struct {
    int n, threads[MOST_COUNTS];
    Pool *pool[MOST_COUNTS]; /* NULL: the calling thread alone */
} Pools;
Pools *plif_pools_new(int most, int exactly); /* 1 to 256 threads; exactly: no fewer. NULL where there is no memory */
void plif_pools_free(Pools *pools);

/* What is known of calls of one kind, such as those of so many rows, which may come from several threads at once: a
 * call that meets another one in here is not counted. */
typedef struct Threads Threads;
Threads *plif_threads_new(const Pools *pools, double margin); /* as in tuner.py; NULL where there is no memory */
void plif_threads_free(Threads *threads);
int plif_threads_next(Threads *threads);                         /* the place in `pools` of what the next call takes, */
void plif_threads_took(Threads *threads, int place, int64_t ns); /* and how long one took with that */
int64_t plif_threads_last_ns(const Threads *threads); /* the last one; 0 where there is one count, and no clock */

/* As plif_run, with as many threads as are chosen, of those pools. */
void plif_run_timed(const Program *program, Threads *threads, const Call *call, char **arenas, float **accs);
