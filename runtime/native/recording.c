/* Recordings that need no library to read: Prophesee EVT 3.0 (.raw), and the 5-byte events of N-MNIST (.bin) and DVS128 Gesture
 * clips (.bs2). runtime/events/formats/evt.py, evt3.py and nmnist.py give the same events. */
#include "error.h"
#include "packets.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { WORDS = 4096, MOST_HEADER = 1 << 20, LINE = 4096, MOST_A_WORD = 12, FIVE = 5, OVERFLOW_ROW = 240, OVERFLOW_US = 1 << 13 };

struct plif_recording {
    FILE *file;
    int width, height;                  /* 0: the file does not say */
    int five;                           /* bytes an event; else EVT 3.0 */
    int64_t offset_us;                  /* five: what the overflow markers added */
    Evt3 state;
    uint8_t events[WORDS * MOST_A_WORD * EVENT];        /* decoded and not given out yet */
    int64_t from, count;
};

/* Headers of older cameras name a model and not its size. */
static const struct {
    const char *word;
    int width, height;
} cameras[] = {{"genx320", 320, 320}, {"imx636", 1280, 720}, {"gen41", 1280, 720}, {"gen4", 1280, 720},
               {"gen31", 640, 480},   {"gen3", 640, 480},    {"ccam5", 640, 480}};

static int number_after(const char *text, const char *word, int *end) {
    const char *at = strstr(text, word);
    if (!at) return 0;
    const char *digits = at + strlen(word);
    while (*digits == ' ') digits++;
    char *behind;
    const long value = strtol(digits, &behind, 10);
    *end = (int)(behind - text);
    return behind != digits && value > 0 && value <= 65536 ? (int)value : 0;
}

static void read_line(plif_recording *r, char *line, int *named) {
    int end = 0, other;
    for (char *c = line; *c; c++) *c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
    const int geometry = number_after(line, "geometry", &end);
    if (geometry && line[end] == 'x') {
        r->height = number_after(line + end, "x", &other);
        r->width = geometry;
        *named = 2;
    }
    const int width = number_after(line, "width=", &other), height = number_after(line, "height=", &other);
    if (*named < 2 && width) r->width = width, *named = 1;
    if (*named < 2 && height) r->height = height, *named = 1;
    for (size_t i = 0; !*named && !r->width && i < sizeof cameras / sizeof *cameras; i++)
        if (strstr(line, cameras[i].word)) r->width = cameras[i].width, r->height = cameras[i].height;
}

/* The lines that start with "% ", up to the line "% end". */
static int read_header(plif_recording *r, const char *path) {
    char line[LINE];
    int named = 0;
    for (long at = 0;; at = ftell(r->file)) {
        if (at < 0 || at > MOST_HEADER) return plif_fail(PLIF_BAD_FILE, "%.200s: its header does not end: not a recording", path);
        if (!fgets(line, sizeof line, r->file) || strncmp(line, "% ", 2)) {
            fseek(r->file, at, SEEK_SET);
            return 0;
        }
        if ((strstr(line, "evt 2") && !strstr(line, "evt 3")) || strstr(line, "EVT2"))
            return plif_fail(PLIF_UNSUPPORTED, "%.200s: EVT 2; this library reads EVT 3.0: convert it", path);
        read_line(r, line, &named);
        if (!strncmp(line, "% end", 5)) return 0;
    }
}

static int ends_with(const char *path, const char *suffix) {
    const size_t n = strlen(path), m = strlen(suffix);
    return n >= m && !strcasecmp(path + n - m, suffix);
}

plif_recording *plif_recording_open(const char *path) {
    struct stat facts;
    if (!path || stat(path, &facts) || !S_ISREG(facts.st_mode)) {
        plif_fail(PLIF_NO_FILE, "%.200s: no such file", path ? path : "(no path)");
        return NULL;
    }
    plif_recording *r = calloc(1, sizeof *r);
    if (!r) {
        plif_fail(PLIF_NO_MEMORY, "no memory for a recording");
        return NULL;
    }
    r->state = (Evt3){.high = -1, .row = -1, .base = -1, .raw_high = -1};
    r->five = ends_with(path, ".bin") || ends_with(path, ".bs2");
    r->file = fopen(path, "rb");
    if (!r->file) plif_fail(PLIF_NO_FILE, "%.200s: %s", path, strerror(errno));
    if (!r->file || (!r->five && read_header(r, path))) {
        plif_recording_close(r);
        return NULL;
    }
    return r;
}

void plif_recording_close(plif_recording *r) {
    if (!r) return;
    if (r->file) fclose(r->file);
    free(r);
}

void plif_recording_size(const plif_recording *r, int *width, int *height) {
    *width = r->width;
    *height = r->height;
}

static int64_t decode_five(plif_recording *r) {
    uint8_t bytes[WORDS * FIVE], *to = r->events;
    const size_t words = fread(bytes, FIVE, WORDS, r->file);
    int64_t made = 0;
    for (size_t i = 0; i < words; i++) {
        const uint8_t *b = bytes + FIVE * i;
        if (b[1] == OVERFLOW_ROW) {
            r->offset_us += OVERFLOW_US;
            continue;
        }
        const int64_t t = r->offset_us + ((int64_t)(b[2] & 0x7F) << 16 | b[3] << 8 | b[4]);
        const uint16_t x = b[0], y = b[1];
        memcpy(to, &t, 8);
        memcpy(to + 8, &x, 2);
        memcpy(to + 10, &y, 2);
        to[12] = b[2] >> 7;
        to += EVENT;
        made++;
    }
    return made;
}

/* The events of the next words; 0 at the end of the file. */
static int64_t decode(plif_recording *r) {
    int64_t made = 0;
    while (!made && !feof(r->file) && !ferror(r->file)) {
        if (r->five) {
            made = decode_five(r);
        } else {
            uint16_t words[WORDS];
            const size_t n = fread(words, 2, WORDS, r->file);
            made = plif_evt3(words, (int64_t)n * 2, &r->state, r->events, sizeof r->events);
            r->state.untimed = r->state.unrowed = r->state.unbased = r->state.past_end = r->state.unknown = 0;
        }
    }
    return made;
}

int64_t plif_recording_read(plif_recording *r, int64_t *t_us, uint16_t *x, uint16_t *y, uint8_t *p, size_t room) {
    size_t n = 0;
    while (n < room) {
        if (r->from == r->count) {
            r->from = 0;
            r->count = decode(r);
            if (r->count < 0) return plif_fail(PLIF_BAD_FILE, "the recording has times that are none");
            if (!r->count) break;
        }
        for (; n < room && r->from < r->count; n++, r->from++) {
            const uint8_t *e = r->events + r->from * EVENT;
            memcpy(t_us + n, e, 8);
            memcpy(x + n, e + 8, 2);
            memcpy(y + n, e + 10, 2);
            p[n] = e[12];
        }
    }
    return (int64_t)n;
}
