/* From a camera's bytes to counts per pixel: EVT 3.0 decoding, and binning. Each is one pass over memory.
 *
 * Both give the same result, event for event, as the NumPy code in runtime/events/formats/evt3.py and
 * runtime/events/collect.py, so that either may run; tests compare the two. An event is 13 bytes without padding, little-endian:
 * int64 t (us), uint16 x, uint16 y, uint8 p. Nothing here trusts its input: every array comes with its size (in bytes, for
 * words and events, so that an array of another type cannot be read past its end), every index is checked before it is used,
 * and numbers that would overflow are refused: the result is then PLIF_WRONG and nothing has been read or written.
 */

#include "packets.h"

#include <string.h>

enum { WORD = 2 };

/* Counts and times of a structure that a caller keeps: far from where int64 ends, however many events come on top. */
static int sane(int64_t n) { return -((int64_t)1 << 60) < n && n < (int64_t)1 << 60; }

/* --- EVT 3.0 --------------------------------------------------------------------------------------------------------- */

enum { ADDR_Y = 0x0, ADDR_X = 0x2, VECT_BASE_X = 0x3, VECT_12 = 0x4, VECT_8 = 0x5, TIME_LOW = 0x6, TIME_HIGH = 0x8 };
enum { X_LIMIT = 2048, PERIOD = 4096 };

/* An upper bound for the number of events in these words. */
int64_t plif_evt3_most(const uint16_t *words, int64_t bytes)
{
    const int64_t count = bytes / WORD;
    int64_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t kind = words[i] >> 12;
        const uint32_t bits = kind == VECT_12 ? words[i] & 0xFFFu : kind == VECT_8 ? words[i] & 0xFFu : kind == ADDR_X;
        most += __builtin_popcount(bits);
    }
    return most;
}

/* Decodes words into events in `out`; returns how many there are. Stops early only where its room is used up. */
int64_t plif_evt3(const uint16_t *words, int64_t bytes, Evt3 *state, uint8_t *out, int64_t out_bytes)
{
    const int64_t count = bytes / WORD, room = out_bytes / EVENT;
    Evt3 s = *state;
    int64_t made = 0;
    if (bytes < 0 || out_bytes < 0 || !sane(s.high) || !sane(s.low) || !sane(s.base) || !sane(s.raw_high) || !sane(s.offset) ||
        !sane(s.untimed) || !sane(s.unrowed) || !sane(s.unbased) || !sane(s.past_end) || !sane(s.unknown))
        return PLIF_WRONG;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t value = words[i] & 0xFFF;
        uint32_t bits;
        int64_t x, on, width = 0;
        switch (words[i] >> 12) {
        case ADDR_Y:
            s.row = value & 0x7FF;
            continue;
        case TIME_LOW:
            s.low = value;
            continue;
        case TIME_HIGH: {
            if (s.raw_high >= 0 && (int64_t)value - s.raw_high < -(PERIOD / 2))
                s.offset += PERIOD; /* a small step back is jitter and stays one */
            s.raw_high = value;
            const int64_t high = s.offset + value;
            if (high != s.high)
                s.low = 0;
            s.high = high;
            continue;
        }
        case VECT_BASE_X:
            s.base = value & 0x7FF;
            s.base_on = value >> 11;
            continue;
        case ADDR_X:
            bits = 1;
            x = value & 0x7FF;
            on = value >> 11;
            break;
        case VECT_12:
        case VECT_8:
            width = words[i] >> 12 == VECT_12 ? 12 : 8;
            bits = width == 12 ? value : value & 0xFF;
            x = s.base;
            on = s.base_on;
            break;
        case 0x7: case 0xA: case 0xE: case 0xF: /* continued vectors, triggers, words of the vendor */
            continue;
        default:
            s.unknown++;
            continue;
        }
        const int64_t t = (int64_t)((uint64_t)s.high << 12 | (uint64_t)s.low);
        const int64_t found = __builtin_popcount(bits);
        if (s.high < 0)
            s.untimed += found;
        else if (s.row < 0)
            s.unrowed += found;
        else if (x < 0)
            s.unbased += found;
        else {
            for (; bits; bits &= bits - 1) {
                const int64_t column = x + __builtin_ctz(bits);
                if (column >= X_LIMIT) {
                    s.past_end++;
                    continue;
                }
                if (made >= room)
                    goto full;
                event_put(out + made++ * EVENT, t, (uint16_t)column, (uint16_t)s.row, on == 1);
            }
        }
        if (width && s.base >= 0)
            s.base += width;
    }
full:
    *state = s;
    return made;
}

/* --- events -> counts of the open frame ------------------------------------------------------------------------------- */

static inline uint64_t apart(int64_t a, int64_t b) /* |a - b|, which an int64 need not hold */
{
    return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;
}

/* Where an event lands, as an unsigned number: below zero is then past every end. */
static inline uint64_t cell_of(int64_t x, int64_t y, int64_t p) { return (uint64_t)x + (uint64_t)y + (uint64_t)p; }

/* The fast loop: counts events that lie inside the sensor and the frame, on time and not cropped. Stops before the first other
 * event; returns how many it counted. */
static int64_t plain(const uint8_t *e, int64_t most, Frame *f, const int64_t *of_x, const int64_t *of_y, const int64_t *of_p,
                     float *counts)
{
    /* Where frames are shorter than gaps, an event inside the frame is also less than a gap away from the clock. */
    const uint64_t span = !f->gap_us ? UINT64_MAX : f->span_us <= f->gap_us ? (uint64_t)f->span_us : 0;
    const uint64_t open = f->gap_us ? (uint64_t)f->open_us : 0, cells = (uint64_t)f->cells;
    const uint64_t width = (uint64_t)f->width, height = (uint64_t)f->height;
    int64_t done = 0, t = 0, first = 0, clock = f->clock_us;
    for (; done < most; done++, e += EVENT) {
        int64_t now;
        uint16_t x, y;
        event_get(e, &now, &x, &y);
        if (x >= width || y >= height || (uint64_t)now - open >= span)
            break;
        const uint64_t cell = cell_of(of_x[x], of_y[y], of_p[e[12] != 0]);
        if (cell >= cells) /* also those below zero */
            break;
        counts[cell] += 1.0f; /* stays at 2^24, as float32 does */
        t = now;
        first = done ? first : now;
        clock = now > clock ? now : clock;
    }
    if (done) {
        if (!f->taken)
            f->first_us = first;
        f->last_us = t;
        f->clock_us = clock;
        f->taken += done;
        f->seen += done;
        f->used += done;
    }
    return done;
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Whether all events lie inside the sensor and have a possible time, so that none has to be removed. */
int plif_all_usable(const uint8_t *events, int64_t bytes, int64_t width, int64_t height, int64_t limit_us)
{
    const int64_t count = bytes / EVENT;
    int good = 1;
    if (bytes % EVENT || limit_us < 0)
        return 0;
    for (int64_t i = 0; i < count; i++, events += EVENT) {
        int64_t t;
        uint16_t x, y;
        memcpy(&t, events, 8);
        memcpy(&x, events + 8, 2);
        memcpy(&y, events + 10, 2);
        good &= (x < width) & (y < height) & (t < limit_us) & (t > -limit_us);
    }
    return good;
}

/* Adds the events from `at` on to `counts`, of as many floats as the frame has cells, until the frame ends. Returns why it
 * stopped; `at` is then the first event that was not taken. counts NULL: there is no open frame any more, so every event inside
 * the sensor is filtered. of_x and of_y have `columns` and `rows` elements, of_p two. */
int64_t plif_collect(const uint8_t *events, int64_t bytes, int64_t *at, Frame *frame, const int64_t *of_x, int64_t columns,
                     const int64_t *of_y, int64_t rows, const int64_t *of_p, float *counts)
{
    Frame f = *frame;
    const int64_t count = bytes / EVENT;
    int64_t i = *at, why = ALL_TAKEN;
    if (bytes < 0 || bytes % EVENT || i < 0 || i > count || f.width < 0 || f.width > columns || f.height < 0 || f.height > rows ||
        f.cells < 0 || f.gap_us < 0 || f.span_us < 0 || f.most_used < 0 || f.most_seen < 0 || f.used < 0 || f.seen < 0 ||
        f.taken < 0 || !sane(f.used) || !sane(f.seen) || !sane(f.taken) || !sane(f.filtered) || !sane(f.late) || !sane(f.invalid))
        return PLIF_WRONG;
    for (; i < count; i++) {
        if (counts && (f.has_clock || !f.gap_us)) {
            const int64_t room = least(f.most_used - f.used, f.most_seen - f.seen);
            i += plain(events + i * EVENT, least(count - i, room), &f, of_x, of_y, of_p, counts);
            if (f.used >= f.most_used || f.seen >= f.most_seen) {
                why = FRAME_FULL;
                break;
            }
            if (i == count)
                break;
        }
        const uint8_t *e = events + i * EVENT;
        int64_t t;
        uint16_t x, y;
        event_get(e, &t, &x, &y);
        if (x >= f.width || y >= f.height) {
            f.invalid++;
            continue;
        }
        if (!counts) {
            f.filtered++;
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
            if (t > f.clock_us)
                f.clock_us = t;
            if (t > f.open_us && apart(t, f.open_us) >= (uint64_t)f.span_us) {
                f.next_us = t;
                why = BEYOND_FRAME;
                break;
            }
            late = t < f.open_us;
        }
        if (!f.taken++)
            f.first_us = t;
        f.last_us = t;
        if (late) {
            f.late++;
            continue;
        }
        f.seen++;
        const uint64_t cell = cell_of(of_x[x], of_y[y], of_p[e[12] != 0]);
        if (cell >= (uint64_t)f.cells) /* also those below zero */
            f.filtered++;
        else {
            counts[cell] += 1.0f;
            f.used++;
        }
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

/* Sizes of the two structures, so that Python can refuse a library whose layout is another than its own. */
int plif_packets_layout(void) { return (int)(sizeof(Evt3) * 1000 + sizeof(Frame)); }
