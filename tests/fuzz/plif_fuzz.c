/* What libplif does with the bytes of others: for clang's libFuzzer, which tests/fuzz/libfuzzer.py builds, or (FUZZ_FILES) of files.
 *
 * FUZZ_PLIF       a .plif file; three bytes of its header that are zeros in good files say the kernels, the threads and whether its SHA-256 counts
 * FUZZ_SNAPSHOT   which session, then what moves in its snapshot and its arrays. FUZZ_MODEL in the environment names the file of the session
 * FUZZ_RECORDING  which suffix and filters, then a recording; or words for the decoder in any state
 * FUZZ_RULES      a network that runs elsewhere, the texts of framing, decisions, resets and filters, then calls: events, times, votes, words
 *
 * Every case must end quietly, and soon. */
#define _GNU_SOURCE
#include "formats/formats.h"
#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { EVENTS = 60, APART_US = 1997, MOST_BYTES = 1 << 22 };

#define MUST(holds) \
    do { \
        if (!(holds)) fprintf(stderr, "%d: %s: %s\n", __LINE__, #holds, plif_error_text()), abort(); \
    } while (0)

#if defined(FUZZ_PLIF) || defined(FUZZ_SNAPSHOT)
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
#else
/* What is drawn from the end of an input is zero. */
typedef struct {
    const uint8_t *at, *end;
} Bytes;

static uint8_t byte(Bytes *b) { return b->at < b->end ? *b->at++ : 0; }

static void take(Bytes *b, void *to, size_t size) {
    const size_t left = (size_t)(b->end - b->at), n = size < left ? size : left;
    memset(to, 0, size);
    memcpy(to, b->at, n);
    b->at += n;
}

/* A file of these bytes, which a path of /proc names. */
static int file_in_memory(const uint8_t *bytes, size_t size) {
    const int file = memfd_create("fuzz", 0);
    MUST(file >= 0 && write(file, bytes, size) == (ssize_t)size);
    return file;
}
#endif

#if defined(FUZZ_PLIF)
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const size_t free_at = offsetof(FileHeader, zeros);
    _Static_assert(offsetof(FileHeader, zeros) == PATH_AT, "libfuzzer.py writes the kernels there");
    const uint8_t *more = size >= sizeof(FileHeader) ? data + free_at : (const uint8_t[3]){0};
    plif_model *model = plif_open_for(data, (int64_t)size, more[2] & 1 ? 0 : PLIF_SKIP_DIGEST, more[0] % (FILE_PATHS + 1) - 1);
    if (!model) {
        MUST(*plif_error_text() && plif_error_code() < 0);
        return 0;
    }
    const Program *p = &model->program;
    plif_options o = PLIF_OPTIONS;
    o.threads = 1 + (more[1] & 1), o.total_events = EVENTS, o.last_us = EVENTS * APART_US;
    plif_session *session = p->arena_bytes < MOST_BYTES && p->x_floats < MOST_BYTES / 4 ? plif_session_new(model, &o) : NULL;
    if (session) {
        float *x = calloc((size_t)p->x_floats, sizeof *x), *y = calloc((size_t)p->y_floats, sizeof *y);
        for (int64_t i = 0; i < p->x_floats; i += 3) x[i] = (float)(i % 5);
        for (int step = 0; step < 2; step++) plif_step(session, x, y);
        plif_firing_rates(session);
        feed(session, 0);
        for (int i = 0, shape[3], lanes; i < plif_states(model); i++) {
            MUST(*plif_state_name(model, i) || 1);
            plif_membranes(session, i, shape, &lanes);
        }
        for (int i = 0; i < plif_classes(model); i++) MUST(strlen(plif_class_name(model, i)) < size);
        free(x);
        free(y);
    }
    plif_session_free(session);
    plif_close(model);
    return 0;
}

#elif defined(FUZZ_SNAPSHOT)
static const char *const options[][4] = {SESSIONS}; /* of libfuzzer.py: framing, decide, reset, filter */
enum { COUNT = sizeof options / sizeof *options };

static plif_session *fresh(const plif_model *model, int which) {
    plif_options o = PLIF_OPTIONS;
    o.framing = options[which][0], o.decide = options[which][1], o.reset = options[which][2], o.filter = options[which][3];
    o.total_events = EVENTS, o.last_us = EVENTS * APART_US;
    plif_session *s = plif_session_new(model, &o);
    MUST(s);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static plif_model *model;
    static plif_session *sessions[COUNT];
    if (!model) model = plif_open(getenv("FUZZ_MODEL"), 0);
    MUST(model);
    if (size < 2) return 0;
    plif_session **all = &sessions[data[0] % COUNT];
    if (!*all) *all = fresh(model, data[0] % COUNT);
    plif_session *s = *all;
    plif_reset(s);
    feed(s, 0);
    const size_t bytes = plif_snapshot_size(s), moves = sizeof(Moving) + (size_t)s->bytes + (size_t)(s->filters ? plif_filters_bytes(s->filters) : 0);
    char *kept = malloc(bytes);
    MUST(bytes == HEADER + moves && !plif_snapshot(s, kept, bytes)); /* HEADER: its bytes that say whose it is */
    memcpy(kept + HEADER, data + 1, moves < size - 1 ? moves : size - 1);
    if (!plif_restore(s, kept, bytes)) {
        plif_decision d = PLIF_DECISION;
        plif_account account = PLIF_ACCOUNT;
        float *x = calloc((size_t)model->program.x_floats, sizeof *x);
        char text[100];
        feed(s, 150000);
        plif_frame(s, x, 500000, 510000, 3, &d);
        for (int i = 0; i < 9 && plif_tick(s, 700000, &d) > 0; i++) {}
        feed(s, 600000);
        plif_reset_network(s);
        feed(s, 900000);
        plif_filter_note(s, 0, text, sizeof text);
        MUST(!plif_snapshot(s, kept, bytes));
        plif_restore(s, kept, bytes);
        for (int i = 0; i < 20 && plif_finish(s, &d) > 0; i++) {}
        MUST(!plif_account_of(s, &account));
        free(x);
    }
    free(kept);
    return 0;
}

#elif defined(FUZZ_RECORDING)
int plif_looks_like(int format, const uint8_t *head, int64_t bytes);

/* The decoder with words, a state and room that lie: it writes no more than there is room for, and reads whole words. */
static void decode(Bytes b) {
    const int format = byte(&b) % (FILE_FORMATS + 1);
    const size_t room = byte(&b) % 80;
    Decoding state = DECODING;
    int64_t used = -1;
    Packet packet;
    if (byte(&b) & 1) take(&b, &state, sizeof state);
    const int64_t left = b.end - b.at;
    uint8_t *words = malloc((size_t)left + !left), *out = malloc(room * EVENT + !room);
    memcpy(words, b.at, (size_t)left);
    const int64_t made = plif_decode(format, &state, words, left, out, (int64_t)room, &used), most = plif_decode_most(format, words, left);
    MUST(-1 <= made && made <= (int64_t)room && made <= most && (made < 0 || (0 <= used && used <= left)));
    plif_looks_like(format, words, left);
    plif_any_valid(words, left);
    if (left >= PACKET) plif_aedat31_packet(words, &packet);
    free(words);
    free(out);
}

int64_t plif_sample(const char *, const char *, const int32_t[3], int32_t, int32_t, float *, int64_t, int64_t, int64_t *);

/* A whole recording of 5-byte events at once, as data sets are read. */
static void sample(const uint8_t *data, size_t size) {
    static const char *const framings[] = {"count:T=3", "time:T=3", "duration:5ms,T=3", "duration:5ms,T=3,pad=zero",
                                          "duration:5ms,T=3,resize=nearest"};
    const int32_t shape[3] = {2, 5, 5};
    float frames[3 * 50];
    char path[40];
    int64_t facts[4];
    const int file = file_in_memory(data, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    for (int i = 0; i < 5; i++) {
        const int64_t got = plif_sample(path, framings[i], shape, 34, 34, frames, 50, 3, facts);
        MUST(got >= -1 && (got < 0 || (0 <= facts[0] && facts[0] <= got && 0 <= facts[1] && facts[1] <= got && facts[2] > 0 && 0 <= facts[3] && facts[3] <= got - facts[0])));
    }
    close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const suffixes[] = {".raw", ".bin", ".dat", ".aedat", ".bs2"};
    static const char *const filters[] = {NULL, "refractory:1ms", "background:5ms,down:2,flip:x", "roi:square,rotate:90,swap"};
    static int64_t t[1000];
    static uint16_t x[1000], y[1000];
    static uint8_t p[1000];
    if (!size) return 0;
    if (data[0] >= 200) return decode((Bytes){data + 1, data + size}), 0;
    if (data[0] % 5 == 1 && data[0] >= 100) sample(data + 1, size - 1);
    plif_recording *recording = plif_recording_open_buffer(data + 1, size - 1, suffixes[data[0] % 5]);
    if (recording) {
        plif_options o = PLIF_OPTIONS;
        int width, height;
        o.filter = filters[data[0] / 5 % 4];
        plif_recording_size(recording, &width, &height);
        plif_recording_describe(recording, &o);
        while (plif_recording_read(recording, t, x, y, p, 1000) > 0) {}
    }
    plif_recording_close(recording);
    return 0;
}

#elif defined(FUZZ_RULES)
enum { MOST_CALLS = 200, MOST_FRAMES = 100, ROOM = 256 };
int plif_frame_words(plif_session *, const uint16_t *, int64_t, int64_t *, Evt3Reader *, double, plif_input *);

/* Small, one that hurts, or any. */
static int64_t number(Bytes *b) {
    static const int64_t hurts[] = {0, 1, -1, 999999, 1000001, INT32_MAX, INT64_MAX, INT64_MIN, T_LIMIT_US, T_LIMIT_US - 1, -T_LIMIT_US + 1, (int64_t)1 << 60};
    const uint8_t how = byte(b);
    int64_t any;
    if (how < 200) return (int64_t)how * (how & 1 ? 1 : 1000);
    if (how < 240) return hurts[how % (sizeof hurts / sizeof *hurts)];
    take(b, &any, sizeof any);
    return any;
}

static float real(Bytes *b) {
    const uint8_t how = byte(b);
    float any;
    if (how < 200) return (float)how / 10;
    take(b, &any, sizeof any);
    return any;
}

/* A line of text; NULL where it is empty. "@" is the file of the bytes behind the lines. */
static const char *line(Bytes *b, char *to, const char *file) {
    size_t n = 0;
    for (int c; b->at < b->end && (c = *b->at++) != '\n';) {
        if (c == '@' && file && n + strlen(file) < ROOM)
            n += (size_t)sprintf(to + n, "%s", file);
        else if (n < ROOM - 1 && c)
            to[n++] = (char)c;
    }
    to[n] = 0;
    return n ? to : NULL;
}

/* Events, each a step of time and a place; `passed` of each. */
static void packet(Bytes *b, plif_session *s, int64_t *t, plif_input *frame) {
    static const int64_t steps[] = {0, 1, 500, 3000, 10007, -1, -3000, 999999, 1000001, -1000001};
    const int n = byte(b) % 64, how = byte(b);
    uint8_t *events = malloc((size_t)n * EVENT + 1), *passed = malloc((size_t)n + 1);
    for (int i = 0; i < n; i++) {
        const uint8_t step = byte(b), x = byte(b), y = byte(b);
        if (step == 255)
            *t = number(b);
        else
            *t = (int64_t)((uint64_t)*t + (uint64_t)steps[step % 10]);
        event_put(events + i * EVENT, *t, x == 255 ? 65535 : x, y == 255 ? 65535 : y, step >> 6 & 1);
        passed[i] = how & 1 ? step >> 5 & 3 : 1;
    }
    plif_packet all = PLIF_PACKET;
    all.events = events, all.count = (size_t)n, all.passed = how & 3 ? passed : NULL, all.came_s = how;
    for (int frames = 0; frames < MOST_FRAMES; frames++) {
        const int got = plif_frame_events(s, &all, frame);
        MUST(all.taken <= all.count);
        if (got != PLIF_FRAMED) break;
    }
    free(events);
    free(passed);
}

static void words(Bytes *b, plif_session *s, Evt3Reader *reader, plif_input *frame) {
    const size_t n = byte(b);
    uint16_t *all = malloc(2 * n + 1);
    int64_t at = 0;
    take(b, all, 2 * n);
    for (int frames = 0; frames < MOST_FRAMES; frames++) {
        const int got = plif_frame_words(s, all, (int64_t)n, &at, reader, 1, frame);
        MUST(0 <= at && at <= (int64_t)n);
        if (got != PLIF_FRAMED) break;
    }
    free(all);
}

static void calls(Bytes *b, plif_session *s, plif_input *frame, plif_input *other, int classes) {
    Evt3Reader reader = {.decoder = DECODING};
    plif_decision d = PLIF_DECISION;
    plif_account account = PLIF_ACCOUNT;
    plif_time time = PLIF_TIME;
    const size_t size = plif_snapshot_size(s), most = (size_t)plif_rows(s) * (size_t)classes;
    char *kept = calloc(1, size), text[60];
    double *keep = malloc(((size_t)plif_rows(s) + 1) * sizeof *keep);
    float *y = malloc((most + 1) * sizeof *y);
    int64_t t = 0;
    for (int i = 0; i < MOST_CALLS && b->at < b->end; i++) {
        const uint8_t what = byte(b);
        switch (what % 16) {
        case 0:
        case 1:
        case 2: packet(b, s, &t, frame); break;
        case 3: words(b, s, &reader, frame); break;
        case 4: reader.decoder = (Decoding)DECODING, reader.held = reader.next = 0; break;
        case 5: t = number(b); /* and so it is */
        case 6:
            for (int k = 0; k < MOST_FRAMES && plif_frame_tick(s, t, frame) > 0; k++) {}
            break;
        case 7:
            for (int k = 0; k < MOST_FRAMES && plif_frame_finish(s, frame) > 0; k++) {}
            break;
        case 8: plif_frame_restart(s, byte(b), frame); break;
        case 9: plif_resume(s, number(b)); break;
        case 10: what & 16 ? plif_reset(s) : plif_reset_network(s); break;
        case 11:
        case 12: {
            const int64_t start = number(b), lasts = number(b), events = number(b);
            if (plif_before(s, start, (int64_t)((uint64_t)start + (uint64_t)lasts), events, byte(b) & 7, keep) < 0) break;
            for (size_t k = 0; k < most; k++) y[k] = k < 64 ? real(b) : 0;
            plif_after(s, y, &d);
            break;
        }
        case 13: plif_join(s, frame, other); break;
        case 14: MUST(!plif_snapshot(s, kept, size)); break;
        case 15: plif_restore(s, kept, size); break;
        }
    }
    MUST(!plif_account_of(s, &account));
    plif_time_of(s, &time);
    for (int i = 0; i < 3; i++) plif_filter_note(s, i, text, sizeof text);
    free(kept);
    free(keep);
    free(y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"a", "other", "b", "c", "d", "e", "f"};
    static const int sides[][2] = {{5, 5}, {1, 8}, {9, 7}, {0, 0}, {3, -1}}, voters[] = {1, 10, INT32_MAX}, T[] = {1, 16, INT32_MAX};
    static const int sensors[][2] = {{0, 0}, {1, 1}, {9, 7}, {40, 30}, {300, 2}, {65536, 1}, {65536, 65536}, {-1, 5}};
    Bytes b = {data, data + size};
    plif_network n = {.size = sizeof n, .class_names = names};
    plif_options o = PLIF_OPTIONS;
    char texts[4][ROOM], path[40];
    const uint8_t shape = byte(&b), sensor = byte(&b), rest = byte(&b);
    n.channels = shape % 4, n.height = sides[shape / 4 % 5][0], n.width = sides[shape / 4 % 5][1];
    n.classes = rest % 8, n.voters = voters[rest / 8 % 3], n.T = T[rest / 24 % 3];
    o.sensor_width = sensors[sensor % 8][0], o.sensor_height = sensors[sensor % 8][1], o.upright = sensor / 8 % 4;
    if (sensor & 128) o.total_events = number(&b), o.first_us = number(&b), o.last_us = number(&b);
    const uint8_t *from = b.at, *end = memchr(b.at, 0, (size_t)(b.end - b.at)); /* of the lines and of the file behind them */
    for (int lines = 0; lines < 4 && from < b.end;) lines += *from++ == '\n';
    const int file = memchr(data, '@', size) && end >= from ? file_in_memory(from, (size_t)(end - from)) : -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    o.framing = line(&b, texts[0], NULL);
    o.decide = line(&b, texts[1], NULL);
    o.reset = line(&b, texts[2], NULL);
    o.filter = line(&b, texts[3], path);
    plif_session *s = plif_session_for(&n, &o);
    if (file >= 0) close(file);
    if (!s) {
        MUST(*plif_error_text() && plif_error_code() < 0);
        return 0;
    }
    const int64_t cells = n.channels > 0 && n.height > 0 && n.width > 0 ? (int64_t)n.channels * n.height * n.width : 0;
    const int64_t floats = cells * (strstr(texts[0], "follow=on") ? 2 : 1); /* then of two pictures */
    float *x = calloc(4 * (size_t)floats + 1, sizeof *x);
    plif_input frame = PLIF_INPUT, other = PLIF_INPUT;
    frame.x = x, frame.newest = x + floats, other.x = x + 2 * floats, other.newest = x + 3 * floats;
    if (end >= b.at) b.at = end + 1;
    calls(&b, s, &frame, &other, n.classes);
    free(x);
    plif_session_free(s);
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
