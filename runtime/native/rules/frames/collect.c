/* Binning: events to counts per pixel of the open frame, in one pass over memory.
 *
 * tests/specification says what it gives, event for event. An event is 13 bytes without padding, little-endian:
 * int64 t (us), uint16 x, uint16 y, uint8 p. Nothing here trusts its input: every array comes with its size (in
 * bytes, for events, so that an array of another type cannot be read past its end), every index is checked before
 * it is used, and numbers that would overflow are refused: the result is then PLIF_WRONG and nothing has been read
 * or written. */
#include "collect.h"
#include "../follow/follow.h"

/* |a - b|, which an int64 need not hold. */
static inline uint64_t apart(int64_t a, int64_t b) {
    return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;
}

/* Where an event lands, as an unsigned number: below zero is then past every end. */
static inline uint64_t cell_of(int64_t x, int64_t y, int64_t p) { return (uint64_t)x + (uint64_t)y + (uint64_t)p; }

enum { FEW = 128 };

/* The fast loop: counts events that lie inside the sensor, on time. Stops before the first other event; returns how
 * many it took. A few events go through two short loops, cells first and then counts, since in one loop the processor
 * waits before each count for the one that may have gone to the same cell. by_clock: whether frames follow the clock;
 * for those that do not, no times are read. some: not all pixels are shown; else it stops before one that is not. */
static inline __attribute__((always_inline)) int64_t plain(const uint8_t *e, int64_t most, Frame *f,
                                                           const int64_t *of_x, const int64_t *of_y,
                                                           const int64_t *of_p, float *counts, int by_clock, int some) {
    /* Where frames are shorter than gaps, an event inside the frame is also less than a gap away from the clock. */
    const uint64_t span = f->span_us <= f->gap_us ? (uint64_t)f->span_us : 0;
    const int64_t off = of_p[0], on = of_p[1];
    const uint64_t open = (uint64_t)f->open_us, cells = (uint64_t)f->cells;
    const uint64_t width = (uint64_t)f->width, height = (uint64_t)f->height;
    uint64_t latest = 0; /* after open */
    int64_t done = 0, used = 0, n;
    do {
        uint64_t cell[FEW];
        int64_t landed = 0; /* where some are shown */
        const uint8_t *at = e + done * EVENT;
        const int64_t few = least(most - done, FEW);
        for (n = 0; n < few; n++, at += EVENT) {
            const Event here = event_get(at);
            if (here.x >= width || here.y >= height) break;
            const uint64_t to = cell_of(of_x[here.x], of_y[here.y], at[12] ? on : off);
            if (!some && to >= cells) break; /* also those below zero */
            cell[some ? landed : n] = to;
            if (by_clock) {
                const uint64_t after = (uint64_t)here.t - open;
                if (after >= span) break;
                latest = after > latest ? after : latest;
            }
            landed += to < cells;
        }
        if (!some) landed = n;
        for (int64_t i = 0; i < landed; i++) counts[cell[i]] += 1.0f; /* stays at 2^24, as float32 does */
        done += n;
        used += landed;
    } while (n == FEW);
    if (done) {
        if (!f->taken) f->first_us = event_get(e).t;
        f->last_us = event_get(e + (done - 1) * EVENT).t;
        if (by_clock && (int64_t)(open + latest) > f->clock_us) f->clock_us = (int64_t)(open + latest);
        f->taken += done;
        f->seen += done;
        f->used += used;
        f->filtered += done - used;
        f->not_shown += done - used;
    }
    return done;
}

/* Whether all events lie inside the sensor and have a possible time, so that none has to be removed. */
int plif_all_usable(const uint8_t *events, int64_t bytes, int64_t width, int64_t height, int64_t limit_us) {
    const int64_t count = bytes / EVENT;
    int good = 1;
    if (bytes % EVENT || limit_us < 0) return 0;
    for (int64_t i = 0; i < count; i++, events += EVENT) {
        const Event e = event_get(events);
        good &= (e.x < width) & (e.y < height) & (e.t < limit_us) & (e.t > -limit_us);
    }
    return good;
}

/* Whether an open frame can be counted into, with tables of `columns` and `rows` elements. */
int plif_frame_fits(const Frame *f, int64_t columns, int64_t rows) {
    return f->width >= 0 && f->width <= columns && f->height >= 0 && f->height <= rows && f->cells >= 0 &&
           f->gap_us >= 0 && f->span_us >= 0 && f->most_used >= 0 && f->most_seen >= 0 && f->used >= 0 &&
           f->seen >= 0 && f->taken >= 0 && sane(f->used) && sane(f->seen) && sane(f->taken) && sane(f->filtered) &&
           sane(f->late) && sane(f->invalid) && sane(f->not_shown);
}

/* Adds the events from `at` on to `counts`, of as many floats as the frame has cells, until the frame ends. Returns
 * why it stopped; `at` is then the first event that was not taken. counts NULL: there is no open frame any more, so
 * every event inside the sensor is filtered. of_x and of_y have `columns` and `rows` elements, of_p two. passed
 * [events]: what a filter said of each; time goes on with those it took away, which land nowhere and whose
 * coordinates are not looked at. NULL: all pass. */
int64_t plif_collect(const uint8_t *events, int64_t bytes, int64_t *at, Frame *frame, const int64_t *of_x,
                     int64_t columns, const int64_t *of_y, int64_t rows, const int64_t *of_p, const uint8_t *passed,
                     float *counts) {
    return plif_collect_both(events, bytes, at, frame, of_x, columns, of_y, rows, of_p, passed, counts, NULL);
}

int64_t plif_collect_both(const uint8_t *events, int64_t bytes, int64_t *at, Frame *frame, const int64_t *of_x,
                          int64_t columns, const int64_t *of_y, int64_t rows, const int64_t *of_p,
                          const uint8_t *passed, float *counts, const struct Follow *follow) {
    Frame f = *frame;
    const int64_t count = bytes / EVENT;
    int64_t i = *at, why = ALL_TAKEN;
    int some = 0; /* one came whose pixel is not shown */
    if (bytes < 0 || bytes % EVENT || i < 0 || i > count || !plif_frame_fits(&f, columns, rows)) return PLIF_WRONG;
    for (; i < count; i++) {
        if (counts && !passed && !follow && (f.has_clock || !f.gap_us)) {
            const int64_t room = least(f.most_used - f.used, f.most_seen - f.seen);
            const uint8_t *from = events + i * EVENT;
            const int64_t most = least(count - i, room);
            if (some)
                i += f.gap_us ? plain(from, most, &f, of_x, of_y, of_p, counts, 1, 1)
                              : plain(from, most, &f, of_x, of_y, of_p, counts, 0, 1);
            else
                i += f.gap_us ? plain(from, most, &f, of_x, of_y, of_p, counts, 1, 0)
                              : plain(from, most, &f, of_x, of_y, of_p, counts, 0, 0);
            if (f.used >= f.most_used || f.seen >= f.most_seen) {
                why = FRAME_FULL;
                break;
            }
            if (i == count) break;
        }
        const uint8_t *at_event = events + i * EVENT;
        const Event e = event_get(at_event);
        const int64_t t = e.t;
        const int is_here = !passed || passed[i] == PASSED;
        if ((passed && passed[i] == OUTSIDE) || (is_here && (e.x >= f.width || e.y >= f.height)) ||
            (f.gap_us && !possible(t))) {
            f.invalid++;
            continue;
        }
        const uint64_t cell = is_here ? cell_of(of_x[e.x], of_y[e.y], of_p[at_event[12] != 0]) : UINT64_MAX;
        int lands = cell < (uint64_t)f.cells;     /* those below zero do not */
        if (!counts || (!is_here && !f.gap_us)) { /* where no clock counts, only those that pass belong to a frame */
            f.filtered++;
            f.not_shown += is_here && !lands;
            continue;
        }
        int late = 0;
        if (f.gap_us) { /* a framing that follows the clock */
            if (!f.has_clock) {
                f.has_clock = 1;
                f.clock_us = f.open_us = t;
            }
            if (apart(t, f.clock_us) > (uint64_t)f.gap_us) {
                why = AT_GAP;
                break;
            }
            if (t > f.clock_us) f.clock_us = t;
            if (t > f.open_us && apart(t, f.open_us) >= (uint64_t)f.span_us) {
                why = BEYOND_FRAME;
                break;
            }
            late = t < f.open_us;
        }
        if (!f.taken++) f.first_us = t;
        f.last_us = t;
        if (late) {
            f.late++;
            continue;
        }
        f.seen++;
        if (lands) counts[cell] += 1.0f;
        if (follow && is_here) lands |= plif_follow_add(follow, e.x, e.y, at_event[12] != 0, counts + f.cells);
        f.used += lands;
        f.filtered += !lands;
        f.not_shown += is_here && !lands;
        some |= !lands;
        if (f.used >= f.most_used || f.seen >= f.most_seen) {
            i++;
            why = FRAME_FULL;
            break;
        }
    }
    *frame = f;
    *at = i;
    return why;
}
