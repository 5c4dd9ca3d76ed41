/* What libplif does with the bytes of others: for clang's libFuzzer, which tests/fuzz/libfuzzer.py builds, or (FUZZ_FILES) of files.
 *
 * FUZZ_PLIF: a .plif file. FUZZ_SNAPSHOT: which session, then what moves in its snapshot. FUZZ_RECORDING: which suffix, then a recording.
 * FUZZ_MODEL in the environment names a good file for the snapshots. Every case must end quietly, and soon. */
#include "session/file.h"

const Program *plif_model_program(const plif_model *m); /* of model.c; else only Python calls it */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS = 60, APART_US = 1997, MOST_BYTES = 1 << 22 };

#if !defined(FUZZ_RECORDING)
/* Some frames' worth of events, from `first_us` on. */
static void feed(plif_session *session, int64_t first_us) {
    int64_t t[EVENTS];
    uint16_t x[EVENTS], y[EVENTS];
    uint8_t p[EVENTS];
    plif_decision d = PLIF_DECISION;
    int got = 1;
    for (int i = 0; i < EVENTS; i++) t[i] = first_us + i * APART_US, x[i] = (uint16_t)(i % 40), y[i] = (uint16_t)(i % 37), p[i] = i & 1;
    for (size_t used = 0, took = 0, calls = 0; got >= 0 && used < EVENTS && calls < 30; used += took, calls++)
        got = plif_feed(session, t + used, x + used, y + used, p + used, EVENTS - used, &took, &d);
}

#endif

#if defined(FUZZ_PLIF)
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    plif_model *model = plif_open_buffer(data, size, PLIF_SKIP_DIGEST);
    if (!model) {
        if (!*plif_error_text() || plif_error_code() >= 0) abort();
        return 0;
    }
    const Program *p = plif_model_program(model);
    plif_session *session = p->arena_bytes < MOST_BYTES && p->x_floats < MOST_BYTES / 4 ? plif_session_new(model, NULL) : NULL;
    if (session) {
        float *x = calloc((size_t)p->x_floats, sizeof *x), *y = calloc((size_t)p->y_floats, sizeof *y);
        for (int64_t i = 0; i < p->x_floats; i += 3) x[i] = (float)(i % 5);
        for (int step = 0; step < 2; step++) plif_step(session, x, y);
        feed(session, 0);
        free(x);
        free(y);
    }
    plif_session_free(session);
    plif_close(model);
    return 0;
}

#elif defined(FUZZ_SNAPSHOT)
enum { SESSIONS = 8, HEADER = 280 };    /* HEADER: of snapshot.c, which names the file and the options */
static const char *const options[SESSIONS][3] = {
    {"duration:20ms", "sum", "never"},          {"duration:40ms,every=10ms", "kofn:2/6,margin=0.02", "every:9"},
    {"count:T=7", "sum,exit=0.05", "every:9"},  {"events:n=50,max=5ms", "own:50ms,margin=0.01,idle=auto", "every:20/3"},
    {"time:T=16", "leak:50ms", "never"},        {"duration:30ms,T=9,pad=zero", "leak:50ms,idle=2k", "silence:30"},
    {"duration:30ms,T=50", "own:40ms", "decay:20ms"}, {"duration:7ms,orientation=sj,resize=crop,value=binary", "sum", "every:8/8"}};

static plif_session *fresh(const plif_model *model, int which) {
    plif_options o = PLIF_OPTIONS;
    o.framing = options[which][0], o.decide = options[which][1], o.reset = options[which][2];
    o.total_events = EVENTS, o.last_us = EVENTS * APART_US;
    plif_session *s = plif_session_new(model, &o);
    return s ? s : (fprintf(stderr, "%s\n", plif_error_text()), abort(), NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static plif_model *model;
    static plif_session *sessions[SESSIONS];
    if (!model) model = plif_open(getenv("FUZZ_MODEL"), 0);
    if (!model || size < 2) return model ? 0 : (fprintf(stderr, "%s\n", plif_error_text()), abort(), 0);
    plif_session **s = &sessions[data[0] % SESSIONS];
    if (!*s) *s = fresh(model, data[0] % SESSIONS);
    plif_reset(*s);
    feed(*s, 0);
    const size_t bytes = plif_snapshot_size(*s), most = bytes - HEADER < size - 1 ? bytes - HEADER : size - 1;
    char *kept = malloc(bytes);
    plif_snapshot(*s, kept, bytes);
    memcpy(kept + HEADER, data + 1, most);
    if (!plif_restore(*s, kept, bytes)) {
        plif_decision d = PLIF_DECISION;
        plif_account account = PLIF_ACCOUNT;
        float *x = calloc((size_t)plif_model_program(model)->x_floats, sizeof *x);
        feed(*s, 150000);
        plif_frame(*s, x, 500000, 510000, 3, &d);
        for (int i = 0; i < 9 && plif_tick(*s, 700000, &d) > 0; i++) {}
        feed(*s, 600000);
        plif_reset_network(*s);
        feed(*s, 900000);
        plif_snapshot(*s, kept, bytes);
        plif_restore(*s, kept, bytes);
        for (int i = 0; i < 20 && plif_finish(*s, &d) > 0; i++) {}
        plif_account_of(*s, &account);
        free(x);
    }
    free(kept);
    return 0;
}

#else
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const suffixes[] = {".raw", ".bin", ".dat", ".aedat", ".bs2"};
    static int64_t t[1000];
    static uint16_t x[1000], y[1000];
    static uint8_t p[1000];
    if (!size) return 0;
    plif_recording *recording = plif_recording_open_buffer(data + 1, size - 1, suffixes[data[0] % 5]);
    if (recording) {
        plif_options o = PLIF_OPTIONS;
        int width, height;
        plif_recording_size(recording, &width, &height);
        plif_recording_describe(recording, &o);
        while (plif_recording_read(recording, t, x, y, p, 1000) > 0) {}
    }
    plif_recording_close(recording);
    return 0;
}
#endif

#if defined(FUZZ_FILES)
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        static uint8_t bytes[MOST_BYTES];
        FILE *file = fopen(argv[i], "rb");
        const size_t size = file ? fread(bytes, 1, sizeof bytes, file) : 0;
        uint8_t *data = malloc(size + !size); /* as long as the file, so that a read past it is seen */
        if (!file || !data) return 2;
        memcpy(data, bytes, size);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
        fclose(file);
    }
    printf("%d cases\n", argc - 1);
    return 0;
}
#endif
