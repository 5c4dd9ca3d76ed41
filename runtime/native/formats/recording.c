/* Recordings: what a session has to know of one, and its events. */
#include "../error.h"
#include "../portable.h"
#include "../rules/frames/filter.h"
#include "../rules/frames/framer.h"
#include "formats.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

enum { SENSORS = 8 };
enum { FEW = 1000, DOUBT = 50, FROM_ONE = 100 }; /* runtime/core/events/size.py */
enum { PIECE_BYTES = 1 << 15, ROOM = 1 << 13 };  /* read at a time; events decoded at a time */
_Static_assert(ROOM >= (int)MOST_A_WORD, "each word has to fit");

struct plif_recording {
    FILE *file;
    Header header;
    Decoding state;
    int64_t left;        /* words that are not read yet: of the packet, of AEDAT 3.1 */
    long next;           /* where the next packet begins; -1: here */
    int64_t at, found;   /* bytes of the piece: decoded, read */
    int64_t from, count; /* events: given out, decoded */
    uint8_t piece[PIECE_BYTES], events[ROOM * EVENT], fate[ROOM];
};

/* The usual sensors, of which a recording that says none gets the smallest that holds its events, and which of them
 * each format tries. */
static const struct {
    int width, height;
} usual[SENSORS] = {{34, 34}, {128, 128}, {240, 180}, {304, 240}, {346, 260}, {320, 320}, {640, 480}, {1280, 720}};
static const unsigned tried[FILE_FORMATS] = {[FIVE_BYTES] = 0x0F, [EVT2] = 0xE8,   [EVT21] = 0xE8,  [EVT3] = 0xE8,
                                             [DAT] = 0xFF,        [AEDAT2] = 0xFF, [AEDAT31] = 0xFE};

static void begin(plif_recording *r) {
    fseek(r->file, r->header.begin, SEEK_SET);
    r->state = (Decoding)DECODING;
    r->left = r->header.format == AEDAT31 ? 0 : INT64_MAX;
    r->next = -1;
    r->at = r->found = r->from = r->count = 0;
}

/* Takes the file, NULL where errno says why there is none. */
static plif_recording *opened(FILE *file, const char *name, int64_t bytes) {
    if (!file) return plif_fail(PLIF_NO_FILE, "%.200s: %s", name, strerror(errno)), NULL;
    plif_recording *r = calloc(1, sizeof *r);
    if (!r) {
        fclose(file);
        plif_fail(PLIF_NO_MEMORY, "no memory for a recording");
        return NULL;
    }
    r->file = file;
    if (plif_header_read(&r->header, file, name, bytes)) {
        plif_recording_close(r);
        return NULL;
    }
    begin(r);
    return r;
}

plif_recording *plif_recording_open(const char *path) {
    struct stat facts;
    plif_call_begins();
    if (!path || stat(path, &facts) || !S_ISREG(facts.st_mode))
        return plif_fail(PLIF_NO_FILE, "%.200s: no such file", path ? path : "(no path)"), NULL;
    return opened(fopen(path, "rb"), path, (int64_t)facts.st_size);
}

plif_recording *plif_recording_open_buffer(const void *data, size_t bytes, const char *name) {
    plif_call_begins();
    if (!data || !name) {
        name = name ? name : "plif_recording_open_buffer";
        return plif_fail(PLIF_BAD_ARGUMENT, "%.200s: bytes and a name are needed", name), NULL;
    }
    if (!bytes) return plif_fail(PLIF_BAD_FILE, "%.200s: the file is empty (0 bytes)", name), NULL;
    return opened(file_of(data, bytes), name, (int64_t)bytes);
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

/* Goes to the next packet of an AEDAT 3.1 file that holds change events; 0 at the end, or where the file is damaged. */
static int next_packet(plif_recording *r) {
    uint8_t header[PACKET], event[8];
    Packet p;
    for (;;) {
        if (r->next >= 0 && fseek(r->file, r->next, SEEK_SET)) return 0;
        if (fread(header, 1, PACKET, r->file) != PACKET || !plif_aedat31_packet(header, &p)) return 0;
        const long body = ftell(r->file);
        const int64_t next = body + p.capacity * p.event_bytes;
        r->next = next < LONG_MAX ? (long)next : LONG_MAX; /* a long has 32 bits in places */
        if (p.kind != POLARITY || !p.number) continue;
        r->left = p.number;
        r->state.overflow = p.overflow;
        r->state.believed = p.valid == p.number;
        for (int64_t i = 0; r->state.believed && i < p.number && fread(event, sizeof event, 1, r->file) == 1; i++)
            r->state.believed = !plif_any_valid(event, sizeof event);
        return !fseek(r->file, body, SEEK_SET);
    }
}

/* Reads the next words, if there are any. */
static int next_piece(plif_recording *r) {
    const size_t word = (size_t)plif_word_bytes(r->header.format), room = PIECE_BYTES / word;
    if (!r->left && !next_packet(r)) return 0;
    const size_t words = fread(r->piece, word, r->left < (int64_t)room ? (size_t)r->left : room, r->file);
    r->left -= (int64_t)words;
    r->at = 0;
    r->found = (int64_t)(words * word);
    return words > 0;
}

/* Decodes until there are events; at the end of the file there are none. */
static void fill(plif_recording *r) {
    int64_t used;
    r->from = r->count = 0;
    while (!r->count && (r->at < r->found || next_piece(r))) {
        r->count = plif_decode(r->header.format, &r->state, r->piece + r->at, r->found - r->at, r->events, ROOM, &used);
        r->at += used;
    }
}

int64_t plif_recording_read(plif_recording *r, int64_t *t_us, uint16_t *x, uint16_t *y, uint8_t *p, size_t room) {
    size_t n = 0;
    plif_call_begins();
    while (n < room) {
        if (r->from == r->count) fill(r);
        if (!r->count) break;
        for (; n < room && r->from < r->count; n++, r->from++) {
            const uint8_t *at = r->events + r->from * EVENT;
            const Event e = event_get(at);
            t_us[n] = e.t, x[n] = e.x, y[n] = e.y, p[n] = at[12];
        }
    }
    return (int64_t)n;
}

/* How many events lie outside each usual sensor, and how far all reach; runtime/core/events/size.py decides by the same
 * rule. */
typedef struct {
    int64_t total, outside[SENSORS];
    int width, height;
} Spread;

static int guess(plif_recording *r, const Spread *spread) {
    for (int i = 0; i < SENSORS; i++) {
        const int64_t out = spread->outside[i], few = spread->total / FEW > 1 ? spread->total / FEW : 1;
        if (!(tried[r->header.format] >> i & 1)) continue;
        if (!out || (spread->total >= FROM_ONE && out <= few)) {
            r->header.width = usual[i].width, r->header.height = usual[i].height;
            return 0;
        }
        if (spread->total >= FROM_ONE && out <= spread->total / DOUBT)
            return plif_fail(
                PLIF_BAD_FILE,
                "the recording does not say its sensor, and %lld of %lld events lie outside %dx%d: set sensor_width and sensor_height",
                (long long)out, (long long)spread->total, usual[i].width, usual[i].height);
    }
    r->header.width = spread->width, r->header.height = spread->height;
    return 0;
}

static Spread spread_of(plif_recording *r) {
    Spread s = {.width = 1, .height = 1};
    for (begin(r), fill(r); r->count; fill(r))
        for (; r->from < r->count; r->from++) {
            const Event e = event_get(r->events + r->from * EVENT);
            s.total++;
            s.width = e.x >= s.width ? e.x + 1 : s.width;
            s.height = e.y >= s.height ? e.y + 1 : s.height;
            for (int i = 0; i < SENSORS; i++) s.outside[i] += e.x >= usual[i].width || e.y >= usual[i].height;
        }
    return s;
}

/* Of the events on the sensor that the filters let pass: how many, and the times of the first and the last. */
static Extent extent_of(plif_recording *r, Filters *filters) {
    Extent e = {0};
    for (begin(r), fill(r); r->count; fill(r)) {
        for (int64_t i = 0; i < r->count; i++)
            r->fate[i] = plif_fate(r->events + i * EVENT, r->header.width, r->header.height);
        if (filters) plif_filters_apply(filters, r->events, r->count, r->fate);
        for (int64_t i = 0; i < r->count; i++) {
            if (r->fate[i] != PASSED) continue;
            e.last_us = event_get(r->events + i * EVENT).t;
            if (!e.total++) e.first_us = e.last_us;
        }
    }
    return e;
}

int plif_recording_describe(plif_recording *r, plif_options *options) {
    plif_call_begins();
    Filters *filters = NULL;
    if (!r || !options || options->size < offsetof(plif_options, filter))
        return plif_fail(PLIF_BAD_ARGUMENT,
                         "plif_recording_describe: options.size is not set: begin with PLIF_OPTIONS");
    if (!r->header.width) {
        const Spread spread = spread_of(r);
        const int failed = guess(r, &spread);
        begin(r);
        if (failed) return failed;
    }
    const char *filter = options->size >= sizeof *options ? options->filter : NULL;
    if (filter) TRY(plif_filters_make(filter, r->header.width, r->header.height, &filters));
    const Extent extent = extent_of(r, filters);
    plif_filters_free(filters);
    begin(r);
    options->sensor_width = r->header.width;
    options->sensor_height = r->header.height;
    options->upright = r->header.upright;
    options->total_events = extent.total;
    options->first_us = extent.first_us;
    options->last_us = extent.last_us;
    return PLIF_OK;
}
