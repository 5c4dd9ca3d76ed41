/* Binning of events, see collect.c. An event is EVENT bytes without padding: t int64 (us), x, y uint16, p uint8. */
#pragma once

#include <stdint.h>
#include <string.h>

enum { EVENT = 13, PLIF_WRONG = -1 };
enum { FILTERED, PASSED, OUTSIDE }; /* what is said of an event in `passed`; the last lies outside the sensor */

/* Times beyond (73 thousand years) are corrupt; the difference of two below fits int64. */
#define T_LIMIT_US ((int64_t)1 << 61)

static inline int possible(int64_t t_us) { return -T_LIMIT_US < t_us && t_us < T_LIMIT_US; }

/* Counts and times of a structure that a caller keeps: far from where int64 ends, however many events come on top. */
static inline int sane(int64_t n) { return -((int64_t)1 << 60) < n && n < (int64_t)1 << 60; }

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline void event_put(uint8_t *to, int64_t t, uint16_t x, uint16_t y, uint8_t p) {
    memcpy(to, &t, 8);
    memcpy(to + 8, &x, 2);
    memcpy(to + 10, &y, 2);
    to[12] = p;
}

typedef struct {
    int64_t t;
    uint16_t x, y;
} Event;

static inline Event event_get(const uint8_t *from) {
    Event e;
    memcpy(&e.t, from, 8);
    memcpy(&e.x, from + 8, 2);
    memcpy(&e.y, from + 10, 2);
    return e;
}

/* Before filters: whether an event lies on the sensor, at a time that can be. */
static inline uint8_t plif_fate(const uint8_t *event, int64_t width, int64_t height) {
    const Event e = event_get(event);
    return e.x < width && e.y < height && possible(e.t) ? PASSED : OUTSIDE;
}

/* The frame to which events are added.
 *
 * width, height          of the sensor in pixels; cells: numbers in the frame
 * gap_us, span_us        the shortest gap; the duration of a frame; gap_us 0: the framing follows no clock
 * most_used, most_seen   the frame is full with so many events counted in it, or with so many that belong to it
 * has_clock, clock_us    the running maximum of t since the last gap; open_us: where the frame begins
 * used, seen             events counted in the frame; events that belong to it, also those that are cropped away
 * taken                  in one call: events that belong to the frame or are late; first_us, last_us: their times
 * filtered, late, invalid  in one call;  not_shown: of the filtered, those whose pixel the framing does not show */
typedef struct {
    int64_t width, height, cells;
    int64_t gap_us, span_us, most_used, most_seen;
    int64_t has_clock, clock_us, open_us;
    int64_t used, seen;
    int64_t taken, filtered, late, invalid;
    int64_t first_us, last_us, not_shown;
} Frame;

enum { ALL_TAKEN, BEYOND_FRAME, AT_GAP, FRAME_FULL };

int64_t plif_collect(const uint8_t *events, int64_t bytes, int64_t *at, Frame *frame, const int64_t *of_x,
                     int64_t columns, const int64_t *of_y, int64_t rows, const int64_t *of_p, const uint8_t *passed,
                     float *counts);
/* The same, with the view that follows in the second half of the counts; NULL: there is none. */
struct Follow;
int64_t plif_collect_both(const uint8_t *events, int64_t bytes, int64_t *at, Frame *frame, const int64_t *of_x,
                          int64_t columns, const int64_t *of_y, int64_t rows, const int64_t *of_p,
                          const uint8_t *passed, float *counts, const struct Follow *follow);
int plif_frame_fits(const Frame *f, int64_t columns, int64_t rows);
