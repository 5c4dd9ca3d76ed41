/* Threads for the kernels: PyTorch's own.

   PyTorch's threads wait for their next operation by spinning, some milliseconds long, so a thread of ours would share its core
   with one of them. GOMP_parallel is what a compiler makes of `#pragma omp parallel`; Python hands over that of the OpenMP
   library that PyTorch has loaded (__init__.py). */

#include <stdatomic.h>
#include <stdint.h>

typedef void kernel(const void *job, int64_t from, int64_t to);
typedef void parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags);

struct shared {
    kernel *run;
    const void *job;
    int64_t count, part;
    _Atomic int64_t next;
};

static void take_parts(void *data) {
    struct shared *all = data;
    int64_t from;
    while ((from = atomic_fetch_add(&all->next, all->part)) < all->count)
        all->run(all->job, from, all->count - from < all->part ? all->count : from + all->part);
}

/* Runs a job on 0..count in parts of `part`, each taken by the next free thread. */
void plif_share(parallel *in_threads, kernel *run, const void *job, int64_t count, int64_t part, int32_t threads) {
    struct shared all = {run, job, count, part, 0};
    in_threads(take_parts, &all, (unsigned)threads, 0);
}
