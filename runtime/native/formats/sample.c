/* A whole recording of 5-byte events (runtime/core/events/formats/nmnist.py) to frames: reading, decoding and framing in
 * one call without Python, so that threads of one program read at the same time.
 *
 * It takes only what nobody can doubt: whole words, all events on the sensor, a clock that never steps back and
 * never jumps. Such a file is no other format, loses no event and has no remark. All else, errors too, is
 * SAMPLE_OTHER, and Python's readers say what it is. */
#include "decoding.h"
#include "../rules/frames/framer.h"
#include "../portable.h"

enum { SAMPLE_OTHER = -1, FIVE = 5, LOOKED_AT = 2000, JUMP_US = 1000000 };
#define MOST_BYTES ((int64_t)1 << 26)

/* The bytes of a regular file, and room for `more` bytes for each word of it; NULL where it is none, or too large. */
static uint8_t *read_whole(const char *path, int64_t more, int64_t *bytes) {
    struct stat facts;
    uint8_t *data = NULL;
    const int file = open(path, READ_ONLY);
    if (file < 0) return NULL;
    if (!fstat(file, &facts) && S_ISREG(facts.st_mode) && facts.st_size > 0 && facts.st_size <= MOST_BYTES &&
        facts.st_size % FIVE == 0)
        data = malloc((size_t)(facts.st_size + facts.st_size / FIVE * more));
    int64_t done = 0;
    while (data && done < facts.st_size) {
        const ssize_t got = read(file, data + done, (size_t)(facts.st_size - done));
        if (got <= 0) {
            free(data);
            data = NULL;
            break;
        }
        done += got;
    }
    close(file);
    *bytes = done;
    return data;
}

/* Words -> packed events (rules/frames/collect.h), and how many are ON; 0 where they leave a question. */
static int decode(const uint8_t *word, int64_t count, int32_t width, int32_t height, uint8_t *events, Extent *extent,
                  int64_t *on) {
    Decoding decoder = DECODING;
    int64_t last = 0, late = 0;
    const int64_t looked_at = count < LOOKED_AT ? count : LOOKED_AT;
    for (int64_t i = 0; i < count; i++, word += FIVE, events += EVENT) {
        if (five_bytes(&decoder, word, events) == events) return 0; /* it is no event */
        const Event e = event_get(events);
        if (!i) last = extent->first_us = e.t;
        if (e.x >= width || e.y >= height || e.t < last || e.t - last >= JUMP_US) return 0;
        if (i < looked_at) late = e.t;
        last = e.t;
        *on += events[12];
    }
    extent->total = count;
    extent->last_us = last;
    return late > extent->first_us; /* one time for all is no clock */
}

/* All frames of the events; adds to `used` how many of these are in them. 0 where there are fewer or more frames than
 * `room`. */
static int frame_all(Framer *f, const uint8_t *events, int64_t count, float *out, int64_t stride, int64_t room,
                     int64_t *used) {
    Batch batch = {.from = events, .count = count};
    plif_input frame = {.x = out};
    int64_t made = 0;
    for (; made < room && plif_framer_feed(f, &batch, &frame) == 1; made++, frame.x += stride) *used += frame.events;
    if (made == room && plif_framer_feed(f, &batch, &frame)) return 0; /* what is beyond them makes none */
    for (; made < room && plif_framer_close(f, &frame) == 1; made++, frame.x += stride) *used += frame.events;
    return made == room;
}

/* Reads `path`, a whole recording of 5-byte events of a sensor of width x height, and writes `room` frames of
 * [c][h][w] floats, as many as the framing's T says, each `stride` floats behind the one before. Gives the number
 * of events, and in `facts` how many of them are in the frames, how many are ON, the microseconds from the first to the
 * last, and how many the framing does not show; or SAMPLE_OTHER: nothing is known, read it in another way. */
int64_t plif_sample(const char *path, const char *framing, const int32_t shape[3], int32_t width, int32_t height,
                    float *out, int64_t stride, int64_t room, int64_t facts[4]) {
    Framing parsed;
    Extent extent = {0};
    FramerState state = {0};
    Framer framer;
    int64_t bytes, given = SAMPLE_OTHER;
    facts[0] = facts[1] = 0;
    if (plif_framing_parse(framing, &parsed) || !parsed.T || parsed.T != room) return SAMPLE_OTHER;
    uint8_t *data = read_whole(path, EVENT, &bytes);
    uint8_t *events = data ? data + bytes : NULL;
    if (data && decode(data, bytes / FIVE, width, height, events, &extent, facts + 1) &&
        !plif_framer_init(&framer, &parsed, shape, width, height, 0, extent)) {
        float *memory = malloc((size_t)plif_framer_floats(&framer) * sizeof *memory);
        state.open.width = width;
        state.open.height = height;
        if (memory && stride >= framer.cells) {
            plif_framer_begin(&framer, &state, memory);
            if (frame_all(&framer, events, extent.total, out, stride, room, facts)) given = extent.total;
            facts[2] = extent.last_us - extent.first_us;
            facts[3] = state.not_shown;
        }
        free(memory);
        plif_framer_free(&framer);
    }
    free(data);
    return given;
}
