/* Recordings: what a session has to know of one, and its events. */
#include "../error.h"
#include "header.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SENSORS = 8 };
enum { FEW = 1000, DOUBT = 50, FROM_ONE = 100 };        /* runtime/events/size.py */

struct plif_recording {
    FILE *file;
    Header header;
    Decoding state;
    int ended;
    int64_t from, count;                /* decoded and not given out yet */
    uint8_t events[(size_t)MOST_MADE * EVENT];
};

/* The usual sensors, of which a recording that says none gets the smallest that holds its events, and which of them each format tries. */
static const struct {
    int width, height;
} usual[SENSORS] = {{34, 34}, {128, 128}, {240, 180}, {304, 240}, {346, 260}, {320, 320}, {640, 480}, {1280, 720}};
static const unsigned tried[FILE_FORMATS] = {[FIVE_BYTES] = 0x0F, [EVT2] = 0xE8, [EVT21] = 0xE8, [EVT3] = 0xE8, [DAT] = 0xFF,
                                             [AEDAT2] = 0xFF,     [AEDAT31] = 0xFE};

static void begin(plif_recording *r) {
    fseek(r->file, r->header.begin, SEEK_SET);
    plif_format_begin(&r->state);
    r->from = r->count = r->ended = 0;
}

plif_recording *plif_recording_open(const char *path) {
    struct stat facts;
    plif_call_begins();
    if (!path || stat(path, &facts) || !S_ISREG(facts.st_mode)) {
        plif_fail(PLIF_NO_FILE, "%.200s: no such file", path ? path : "(no path)");
        return NULL;
    }
    plif_recording *r = calloc(1, sizeof *r);
    if (!r) {
        plif_fail(PLIF_NO_MEMORY, "no memory for a recording");
        return NULL;
    }
    r->file = fopen(path, "rb");
    if (!r->file) plif_fail(PLIF_NO_FILE, "%.200s: %s", path, strerror(errno));
    if (!r->file || plif_header_read(&r->header, r->file, path, (int64_t)facts.st_size)) {
        plif_recording_close(r);
        return NULL;
    }
    begin(r);
    return r;
}

void plif_recording_close(plif_recording *r) {
    if (!r) return;
    if (r->file) fclose(r->file);
    free(r);
}

void plif_recording_size(const plif_recording *r, int *width, int *height) {
    *width = r->header.width;
    *height = r->header.height;
}

/* --- events --- */

/* Decodes until there are events; 0, or a code. At the end of the file there are none. */
static int fill(plif_recording *r) {
    r->from = r->count = 0;
    while (!r->count && !r->ended) r->count = plif_format_read(r->header.format, &r->state, r->file, r->events, &r->ended);
    if (r->count >= 0) return 0;
    r->count = 0;
    return plif_fail(PLIF_BAD_FILE, "the recording has times that are none");
}

int64_t plif_recording_read(plif_recording *r, int64_t *t_us, uint16_t *x, uint16_t *y, uint8_t *p, size_t room) {
    size_t n = 0;
    plif_call_begins();
    while (n < room) {
        if (r->from == r->count) {
            const int failed = fill(r);
            if (failed) return failed;
            if (!r->count) break;
        }
        for (; n < room && r->from < r->count; n++, r->from++) {
            const uint8_t *e = r->events + r->from * EVENT;
            event_get(e, t_us + n, x + n, y + n);
            p[n] = e[12];
        }
    }
    return (int64_t)n;
}

/* How many events lie outside each usual sensor, and how far all reach; runtime/events/size.py decides by the same rule. */
typedef struct {
    int64_t total, outside[SENSORS];
    int width, height;
} Spread;

static int guess(plif_recording *r, const Spread *spread) {
    for (int i = 0; i < SENSORS; i++) {
        const int64_t out = spread->outside[i], few = spread->total / FEW > 1 ? spread->total / FEW : 1;
        if (!(tried[r->header.format] >> i & 1)) continue;
        if (!out || (spread->total >= FROM_ONE && out <= few)) {
            r->header.width = usual[i].width;
            r->header.height = usual[i].height;
            return 0;
        }
        if (spread->total >= FROM_ONE && out <= spread->total / DOUBT)
            return plif_fail(PLIF_BAD_FILE, "the recording does not say its sensor, and %lld of %lld events lie outside %dx%d: set sensor_width and sensor_height",
                             (long long)out, (long long)spread->total, usual[i].width, usual[i].height);
    }
    r->header.width = spread->width;
    r->header.height = spread->height;
    return 0;
}

/* Calls for each event of the recording, from its beginning. */
static int walk(plif_recording *r, void (*each)(plif_recording *, void *, int64_t, uint16_t, uint16_t), void *with) {
    int failed;
    for (begin(r); !(failed = fill(r)) && r->count;)
        for (; r->from < r->count; r->from++) {
            const uint8_t *e = r->events + r->from * EVENT;
            int64_t t;
            uint16_t x, y;
            event_get(e, &t, &x, &y);
            each(r, with, t, x, y);
        }
    begin(r);
    return failed;
}

static void spread_out(plif_recording *r, void *with, int64_t t, uint16_t x, uint16_t y) {
    Spread *s = with;
    (void)r, (void)t;
    s->total++;
    s->width = x >= s->width ? x + 1 : s->width;
    s->height = y >= s->height ? y + 1 : s->height;
    for (int i = 0; i < SENSORS; i++) s->outside[i] += x >= usual[i].width || y >= usual[i].height;
}

static void extend(plif_recording *r, void *with, int64_t t, uint16_t x, uint16_t y) {
    plif_options *o = with;
    if (x >= r->header.width || y >= r->header.height) return;
    if (!o->total_events++) o->first_us = t;
    o->last_us = t;
}

int plif_recording_describe(plif_recording *r, plif_options *options) {
    plif_call_begins();
    plif_options o = PLIF_OPTIONS;
    Spread spread = {.width = 1, .height = 1};
    if (!r || !options || options->size < offsetof(plif_options, filter)) return plif_fail(PLIF_BAD_ARGUMENT, "plif_recording_describe: options.size is not set: begin with PLIF_OPTIONS");
    int failed = r->header.width ? 0 : walk(r, spread_out, &spread);
    if (!failed && !r->header.width) failed = guess(r, &spread);
    o.total_events = 0;
    if (!failed) failed = walk(r, extend, &o);
    if (failed) return failed;
    options->sensor_width = r->header.width;
    options->sensor_height = r->header.height;
    options->upright = r->header.upright;
    options->total_events = o.total_events;
    options->first_us = o.first_us;
    options->last_us = o.last_us;
    return PLIF_OK;
}
