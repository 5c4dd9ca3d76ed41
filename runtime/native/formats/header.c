#include "formats.h"
#include "../error.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MOST_HEADER = 1 << 20, MOST_HEAD = 1 << 16, LINE = 4096 };
#define KNOWN "EVT 2.0, 2.1 and 3.0 (.raw), DAT, AEDAT 2.0 and 3.1, and 5-byte events (.bin, .bs2)"

/* Headers of older cameras name a model and not its size. */
static const struct {
    const char *word;
    int width, height;
} cameras[] = {{"genx320", 320, 320},  {"imx636", 1280, 720},  {"gen41", 1280, 720},  {"gen4", 1280, 720},
               {"gen31", 640, 480},    {"gen3", 640, 480},     {"ccam5", 640, 480},   {"dvs128", 128, 128},
               {"davis240", 240, 180}, {"davis346", 346, 260}, {"davis640", 640, 480}};

static int refuse(const char *path, const char *why) { return plif_fail(PLIF_BAD_FILE, "%.200s: %s", path, why); }

/* The number behind a word of a line, 0 where there is none; `rest` is what follows it. */
static int number_after(const char *line, const char *word, const char **rest) {
    const char *at = strstr(line, word);
    char *behind;
    if (!at) return 0;
    const long value = strtol(at + strlen(word), &behind, 10);
    *rest = behind;
    return value > 0 && value <= 65536 ? (int)value : 0;
}

/* The first of some cameras that a line names. */
static void name_camera(Header *h, const char *line, size_t from, size_t to) {
    while (from < to && !strstr(line, cameras[from].word)) from++;
    if (from < to) h->width = cameras[from].width, h->height = cameras[from].height;
}

/* What a line in lower case says of the sensor; `named` 2: its size in one piece, 1: a part of it. */
static void read_size(Header *h, const char *line, int *named) {
    const char *rest;
    const int across = number_after(line, "geometry", &rest);
    if (across && *rest == 'x') {
        h->width = across;
        h->height = number_after(rest, "x", &rest);
        *named = 2;
    }
    const char *const words[] = {"width=", "height=", "% width", "% height"}; /* of EVT, of DAT */
    for (int i = 0; i < 4 && *named < 2; i++) {
        const int value = number_after(line, words[i], &rest);
        if (value) *(i % 2 ? &h->height : &h->width) = value, *named = 1;
    }
    if (!*named && !h->width) name_camera(h, line, 0, 7);
}

/* "2.0", "2.1" or "3.0" as 20, 21, 30; 0 where the line names no version. */
static int version_of(const char *line) {
    const char *rest;
    int n = 0;
    if (sscanf(line, "%% evt %n", &n) >= 0 && n && isdigit((unsigned char)line[n]))
        return 10 * (line[n] - '0') +
               (line[n + 1] == '.' && isdigit((unsigned char)line[n + 2]) ? line[n + 2] - '0' : 0);
    const int digits = strstr(line, "% format") ? number_after(line, "evt", &rest) : 0;
    return digits >= 10 ? digits : 10 * digits;
}

/* Reads one line of a header, which starts with `mark`, in lower case; of a long one the beginning. 1, 0 where there is
 * none, or a code below zero. The header ends before it. */
static int next_line(Header *h, FILE *file, const char *path, char line[LINE], char mark) {
    h->begin = ftell(file);
    if (h->begin > MOST_HEADER) return refuse(path, "its header does not end: no recording, or damaged");
    if (!fgets(line, LINE, file) || line[0] != mark) return 0;
    for (int c = 0; !strchr(line, '\n') && c != '\n';)
        if ((c = fgetc(file)) == EOF) return refuse(path, "the file ends inside its header");
    for (char *c = line; *c; c++) *c = (char)tolower((unsigned char)*c);
    return 1;
}

/* The lines that start with '%', of EVT and DAT. */
static int read_percent(Header *h, FILE *file, const char *path) {
    char line[LINE];
    int named = 0, version = 0, lines = 0;
    for (;; lines++) {
        const int found = next_line(h, file, path, line, '%');
        if (found < 0) return found;
        if (!found || line[1] != ' ') break;
        if (version_of(line)) version = version_of(line);
        read_size(h, line, &named);
        if (strstr(line, "endianness=legacy"))
            return plif_fail(PLIF_UNSUPPORTED, "%.200s: EVT 2.1 with endianness=legacy; convert it first", path);
        if (!strncmp(line, "% end", 5)) {
            h->begin = ftell(file);
            break;
        }
    }
    if (!h->width || !h->height) h->width = h->height = 0;
    fseek(file, h->begin, SEEK_SET);
    if (version == 20 || version == 21 || version == 30) {
        h->format = version == 20 ? EVT2 : version == 21 ? EVT21 : EVT3;
        return 0;
    }
    if (version)
        return plif_fail(PLIF_UNSUPPORTED, "%.200s: EVT %d.%d; this library reads " KNOWN, path, version / 10,
                         version % 10);
    const int kind = fgetc(file), bytes = fgetc(file);
    if (!lines || (kind != 0 && kind != 12) || bytes != 8)
        return refuse(path, "no recording that this library reads: " KNOWN);
    h->format = DAT;
    h->begin += 2;
    return 0;
}

/* The lines that start with '#', of AEDAT 2.0, which has only the DVS128's addresses here, and of 3.1. */
static int read_sharp(Header *h, FILE *file, const char *path, int is_31) {
    char line[LINE];
    for (;;) {
        const int found = next_line(h, file, path, line, '#');
        if (found < 0) return found;
        if (!found && is_31)
            return refuse(path, "the AEDAT 3.1 header does not end with #!END-HEADER: the file is cut or damaged");
        if (!found) break;
        if (is_31 && !strcmp(line, "#!end-header\r\n")) {
            h->begin = ftell(file);
            break;
        }
        const char *chip = strstr(line, "aechip:"), *coding = strstr(line, "#format:"), *rest;
        if (!is_31 && chip && !strstr(chip, "dvs128") && !strstr(chip, "tmpdiff128"))
            return plif_fail(PLIF_UNSUPPORTED,
                             "%.200s: AEDAT 2.0 of another chip: only the DVS128's addresses are read", path);
        if (!is_31) continue;
        if (coding && !strstr(coding, "raw"))
            return plif_fail(PLIF_UNSUPPORTED, "%.200s: AEDAT 3.1 that is compressed; save it as RAW", path);
        if (!strncmp(line, "#source ", 8)) name_camera(h, line, 7, sizeof cameras / sizeof *cameras);
        const int width = number_after(line, "#sensor:", &rest),
                  height = width && *rest == 'x' ? number_after(rest, "x", &rest) : 0;
        if (height) h->width = width, h->height = height;
        static const char *const turns[] = {"identity", "rotate180", "flip_y", "rotate90", "rotate270"};
        for (int i = 0; i < 5 && !strncmp(line, "#upright:", 9); i++)
            if (strstr(line, turns[i])) h->upright = i;
    }
    h->format = is_31 ? AEDAT31 : AEDAT2;
    if (!is_31) h->width = h->height = 128, h->upright = 1;
    return 0;
}

static int ends_with(const char *path, const char *suffix) {
    const size_t n = strlen(path), m = strlen(suffix);
    return n >= m && !strcasecmp(path + n - m, suffix);
}

/* The beginning of a file, word by word: how many words there are, of known types, how many times, and how many of
 * these run forward. */
typedef struct {
    size_t words, known, highs, lows, forward, continued, begun;
    int64_t last;
} Look;

static void look_at_high(Look *l, int64_t high, int64_t wrap) {
    const int64_t step = l->highs ? high - l->last : 0;
    l->forward += step >= 0 || step < -wrap;
    l->highs++;
    l->last = high;
}

static int is_likely(const Look *l, double known) {
    return l->highs && (double)l->known / (double)l->words >= known && (double)l->forward / (double)l->highs >= 0.9;
}

static int is_evt3(const uint8_t *head, int64_t bytes) {
    Look l = {.words = (size_t)bytes / 2};
    for (size_t i = 0; i < l.words; i++) {
        const uint32_t word = little16(head + 2 * i), kind = word >> 12;
        l.known += 0xC5FD >> kind & 1;
        l.lows += kind == TIME_LOW;
        if (kind == TIME_HIGH) look_at_high(&l, word & 0xFFF, 2048);
    }
    return l.lows && is_likely(&l, 0.999);
}

/* What is continued has a beginning: 5-byte events of a long pause are mostly zeros and bytes F0, at every fifth
 * place. */
static int is_evt2(const uint8_t *head, int64_t bytes) {
    Look l = {.words = (size_t)bytes / 4};
    for (size_t i = 0; i < l.words; i++) {
        const uint32_t word = little(head + 4 * i), kind = word >> 28;
        l.known += 0xC503 >> kind & 1;
        l.continued += kind == 0xF;
        l.begun += kind == 0xA || kind == 0xE;
        if (kind == TIME_HIGH) look_at_high(&l, word & 0xFFFFFFF, INT64_MAX);
    }
    return l.words > 1 && l.continued <= 8 * (1 + l.begun) && is_likely(&l, 0.99);
}

/* Whether the words of a file without a header, of which these are the first, are of EVT 2.0 or EVT 3.0: (nearly) all
 * of known types, and with a clock that runs forward. */
int plif_looks_like(int format, const uint8_t *head, int64_t bytes) {
    return format == EVT3 ? is_evt3(head, bytes) : format == EVT2 && is_evt2(head, bytes);
}

/* By the first bytes; what has no magic number goes by its name. */
int plif_header_read(Header *h, FILE *file, const char *path, int64_t size) {
    uint8_t *head = calloc(1, MOST_HEAD);
    if (!head) return plif_fail(PLIF_NO_MEMORY, "no memory for a recording");
    const size_t bytes = fread(head, 1, MOST_HEAD, file);
    const int is_text = bytes > 1 && !memcmp(head, "% ", 2),
              is_aedat = bytes > 12 && !memcmp(head, "#!AER-DAT", 9) && head[10] == '.';
    const int is_raw = ends_with(path, ".raw"), is_five = ends_with(path, ".bin") || ends_with(path, ".bs2");
    const int aedat = is_aedat ? 10 * (head[9] - '0') + head[11] - '0' : 0;
    *h = (Header){.format = is_raw && !is_evt3(head, (int64_t)bytes) && is_evt2(head, (int64_t)bytes) ? EVT2
                            : is_raw                                                                  ? EVT3
                                                                                                      : FIVE_BYTES};
    free(head);
    fseek(file, 0, SEEK_SET);
    int failed = 0;
    if (is_text)
        failed = read_percent(h, file, path);
    else if (aedat == 20 || aedat == 31)
        failed = read_sharp(h, file, path, aedat == 31);
    else if (!is_raw && !is_five)
        return refuse(path, "no recording that this library reads: " KNOWN);
    if (!failed && size <= h->begin)
        return refuse(path, size ? "holds a header and no events" : "the file is empty (0 bytes)");
    return failed;
}
