/* Decisions about a recording, one line for each frame: decide MODEL.plif RECORDING [DECIDE [FRAMING [RESET]]]
 *
 *     cc decide.c -o decide $(pkg-config --cflags --libs plif)
 *     ./decide digits.plif seven.bin */
#include <plif.h>
#include <stdio.h>

enum { ROOM = 4096 };

static int failed(const char *what) { return fprintf(stderr, "%s: %s\n", what, plif_error_text()), 1; }

/* Says whether it was the last one: an early exit (sum,exit=0.2) ends a recording. */
static int print(const plif_model *model, const plif_decision *d) {
    const char *label = plif_class_name(model, d->index);
    printf("%lld us  step %lld  %s  score %.6f  votes", (long long)d->t_us, (long long)d->step, label ? label : "-",
           d->score);
    for (int k = 0; k < plif_classes(model); k++) printf(" %.17g", d->votes[k]);
    printf("\n");
    return d->is_final != 0;
}

int main(int argc, char **argv) {
    static int64_t t[ROOM];
    static uint16_t x[ROOM], y[ROOM];
    static uint8_t p[ROOM];
    plif_options options = PLIF_OPTIONS;
    plif_decision d = PLIF_DECISION;
    int64_t n;
    int got = 0, last = 0;
    if (argc < 3) return fprintf(stderr, "usage: decide MODEL.plif RECORDING [DECIDE [FRAMING [RESET]]]\n"), 2;
    plif_model *model = plif_open(argv[1], 0);
    if (!model) return failed(argv[1]);
    plif_recording *recording = plif_recording_open(argv[2]);
    if (!recording || plif_recording_describe(recording, &options) < 0) return failed(argv[2]);
    options.decide = argc > 3 ? argv[3] : NULL;
    options.framing = argc > 4 ? argv[4] : NULL;
    options.reset = argc > 5 ? argv[5] : NULL;
    plif_session *session = plif_session_new(model, &options);
    if (!session) return failed(argv[0]);
    while (got >= 0 && !last && (n = plif_recording_read(recording, t, x, y, p, ROOM)) > 0)
        for (size_t used = 0, took = 0; got >= 0 && !last && used < (size_t)n; used += took)
            if ((got = plif_feed(session, t + used, x + used, y + used, p + used, (size_t)n - used, &took, &d)) > 0)
                last = print(model, &d) && !options.reset;
    while (got >= 0 && !last && (got = plif_finish(session, &d)) > 0) last = print(model, &d) && !options.reset;
    if (got < 0) return failed(argv[2]);
    plif_session_free(session);
    plif_recording_close(recording);
    plif_close(model);
    return 0;
}
