/* Memory runs out: no_memory NUMBER FOR_EVER MODEL.plif RECORDING THREADS FILTER DECIDE FRAMING RESET
 *
 * Allocation NUMBER of libplif, from 0 on, fails (-1: none), and where FOR_EVER is 1 each one after it. A recording is decided
 * about, half of it in a session, the rest in another one that continues with the first one's snapshot; all is freed again.
 * Linked with --wrap for the five functions below. The last line: how many allocations there were, and how many were not freed. */
#include <plif.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *memory, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void __real_free(void *memory);

static long first = -1;
static int for_ever, begun;
static atomic_long count, kept;

static int fails(void) {
    long number = begun ? atomic_fetch_add(&count, 1) : 0;
    return begun && first >= 0 && (number == first || (for_ever && number > first));
}

static void *given(void *memory) {
    atomic_fetch_add(&kept, memory != NULL);
    return memory;
}

void *__wrap_malloc(size_t bytes) { return fails() ? NULL : given(__real_malloc(bytes)); }
void *__wrap_calloc(size_t entries, size_t bytes) { return fails() ? NULL : given(__real_calloc(entries, bytes)); }
void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return fails() ? NULL : given(__real_aligned_alloc(alignment, bytes));
}
void *__wrap_realloc(void *memory, size_t bytes) {
    if (fails()) return NULL;
    void *moved = __real_realloc(memory, bytes);
    return memory ? moved : given(moved);
}
void __wrap_free(void *memory) {
    atomic_fetch_sub(&kept, memory != NULL);
    __real_free(memory);
}

enum { ROOM = 4096 };
static int64_t t[ROOM];
static uint16_t x[ROOM], y[ROOM];
static uint8_t p[ROOM];

static int print(const plif_model *model, const plif_decision *d) {
    printf("%lld %lld %d", (long long)d->t_us, (long long)d->step, (int)d->index);
    for (int k = 0; k < plif_classes(model); k++) printf(" %.17g", d->votes[k]);
    return printf("\n") < 0;
}

/* Gives `n` events to a session. */
static int feed(const plif_model *model, plif_session *session, size_t n) {
    plif_decision d = PLIF_DECISION;
    int got = 0;
    for (size_t used = 0, took = 0; got >= 0 && used < n; used += took)
        if ((got = plif_feed(session, t + used, x + used, y + used, p + used, n - used, &took, &d)) > 0)
            print(model, &d);
    return got;
}

/* The rest in a session that continues with the snapshot of another one. */
static int go_on(const plif_model *model, const plif_options *options, plif_recording *recording,
                 plif_session *before) {
    plif_session *session = plif_session_new(model, options);
    size_t bytes = plif_snapshot_size(before);
    void *snapshot = __real_malloc(bytes);
    plif_decision d = PLIF_DECISION;
    int64_t n;
    int got = session ? plif_snapshot(before, snapshot, bytes) : -1;
    if (got >= 0) got = plif_restore(session, snapshot, bytes);
    while (got >= 0 && (n = plif_recording_read(recording, t, x, y, p, ROOM)) > 0)
        got = feed(model, session, (size_t)n);
    while (got >= 0 && (got = plif_finish(session, &d)) > 0) print(model, &d);
    __real_free(snapshot);
    plif_session_free(session);
    return got;
}

int main(int argc, char **argv) {
    plif_options options = PLIF_OPTIONS;
    int64_t n = 0;
    if (argc != 10) return fprintf(stderr, "expected nine arguments\n"), 2;
    first = atol(argv[1]), for_ever = atoi(argv[2]), begun = 1;
    plif_model *model = plif_open(argv[3], 0);
    plif_recording *recording = model ? plif_recording_open(argv[4]) : NULL;
    int got = recording ? plif_recording_describe(recording, &options) : -1;
    options.threads = atoi(argv[5]), options.filter = argv[6][0] ? argv[6] : NULL;
    options.decide = argv[7], options.framing = argv[8], options.reset = argv[9];
    plif_session *session = got >= 0 ? plif_session_new(model, &options) : NULL;
    if (!session) got = -1;
    if (got >= 0 && (n = plif_recording_read(recording, t, x, y, p, ROOM / 2)) > 0)
        got = feed(model, session, (size_t)n);
    if (got >= 0) got = n < 0 ? (int)n : go_on(model, &options, recording, session);
    if (got < 0) fprintf(stderr, "%s\n", plif_error_text());
    plif_session_free(session);
    plif_recording_close(recording);
    plif_close(model);
    fprintf(stderr, "allocations %ld, kept %ld\n", atomic_load(&count), atomic_load(&kept));
    return got < 0;
}
