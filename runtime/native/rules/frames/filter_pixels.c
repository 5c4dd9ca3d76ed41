/* The filters that remember something of every pixel: hot, refractory, background.
 *
 * No loop branches on whether an event passes: its number is written, and the place of the next moves on where it
 * does. What random events do to a processor's guesses would cost more than all the rest. */
#include "collect.h"
#include "filter.h"

#define RATE_US ((int64_t)50000) /* 20 events a second: one in so many us */
enum { TIMES = 10, EDGE = 1 };

/* A large sensor's numbers lie in memory that is slow: they are asked for so many events before they are needed. */
enum { AHEAD = 12 };
static inline int64_t place_of(const uint8_t *events, const uint16_t *left, int i, int n, int64_t row) {
    const Event e = event_get(events + left[i + AHEAD < n ? i + AHEAD : i] * EVENT);
    return e.y * row + e.x;
}

/* |then - now| <= us, and there was a then. */
static inline int is_within(uint64_t then, uint64_t now, uint64_t us) {
    const uint64_t first = now > us ? now - us : 1, last = now < UINT64_MAX - us ? now + us : UINT64_MAX;
    return then - first <= last - first;
}

/* --- hot: n >= 20 a second  and  n > 10 (m + 1), n the events of a pixel, m the median of its 8 neighbours --- */

/* Beyond the border: the one opposite. */
static int inside(int at, int size) { return at < 0 ? 1 : at >= size ? size - 2 : at; }

/* The fifth of the eight in order. */
static int64_t median_around(const Filter *f, const int64_t *counts, int x, int y) {
    int64_t sorted[8];
    int n = 0;
    if (f->width < 2 || f->height < 2) return 0; /* at most two are there */
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++) {
            if (!dx && !dy) continue;
            const int64_t count = counts[(int64_t)inside(y + dy, f->height) * f->width + inside(x + dx, f->width)];
            int at = n++;
            for (; at && sorted[at - 1] > count; at--) sorted[at] = sorted[at - 1];
            sorted[at] = count;
        }
    return sorted[4];
}

static void learn(Filter *f) {
    int64_t *counts = hot_counts(f);
    uint8_t *mask = hot_mask(f);
    const int64_t least = (f->us + RATE_US - 1) / RATE_US;
    for (int y = 0; y < f->height; y++)
        for (int x = 0; x < f->width; x++) {
            const int64_t at = (int64_t)y * f->width + x, n = counts[at];
            mask[at] = n >= least && (n - 1) / TIMES > median_around(f, counts, x, y);
        }
    memset(counts, 0, (size_t)pixels_of(f) * sizeof *counts);
    hot_of(f)->learns = 0;
    f->has_learnt = 1;
}

int plif_filter_hot(Filter *f, const uint8_t *events, uint16_t *left, int n) {
    Hot *hot = hot_of(f);
    int64_t *counts = hot_counts(f);
    const uint8_t *mask = hot_mask(f);
    int i = 0;
    for (; i < n && hot->learns; i++) { /* every event passes meanwhile */
        const Event e = event_get(events + left[i] * EVENT);
        const uint64_t t = time_kept(e.t);
        __builtin_prefetch(counts + place_of(events, left, i, n, f->width), 1);
        if (!hot->begin) hot->begin = t;
        if (!is_within(hot->begin, t, (uint64_t)f->us - 1)) {
            learn(f);
            break; /* this one is the first that the mask is for */
        }
        counts[(int64_t)e.y * f->width + e.x]++;
    }
    int still = i;
    for (; i < n; i++) {
        const Event e = event_get(events + left[i] * EVENT);
        left[still] = left[i];
        still += !mask[(int64_t)e.y * f->width + e.x];
    }
    return still;
}

/* --- refractory: |t - t_passed| >= time --- */

int plif_filter_refractory(Filter *f, const uint8_t *events, uint16_t *left, int n) {
    int still = 0;
    for (int i = 0; i < n; i++) {
        const Event e = event_get(events + left[i] * EVENT);
        const uint64_t t = time_kept(e.t);
        __builtin_prefetch(f->memory + place_of(events, left, i, n, f->width), 1);
        uint64_t *passed = f->memory + (int64_t)e.y * f->width + e.x;
        const int passes = !is_within(*passed, t, (uint64_t)f->us - 1);
        *passed = passes ? t : *passed;
        left[still] = left[i];
        still += passes;
    }
    return still;
}

/* --- background: |t - t_q| <= time for one of the 8 neighbours q --- */

int plif_filter_background(Filter *f, const uint8_t *events, uint16_t *left, int n) {
    const int64_t row = f->width + 2 * EDGE;
    const uint64_t us = (uint64_t)f->us;
    int still = 0;
    for (int i = 0; i < n; i++) {
        const Event e = event_get(events + left[i] * EVENT);
        const uint64_t t = time_kept(e.t);
        const uint64_t *next = f->memory + place_of(events, left, i, n, row);
        __builtin_prefetch(next);
        __builtin_prefetch(next + row, 1);
        __builtin_prefetch(next + 2 * row);
        uint64_t *at = f->memory + (e.y + EDGE) * row + e.x + EDGE;
        const uint64_t *above = at - row, *below = at + row;
        const int passes = is_within(above[-1], t, us) | is_within(above[0], t, us) | is_within(above[1], t, us) |
                           is_within(at[-1], t, us) | is_within(at[1], t, us) | is_within(below[-1], t, us) |
                           is_within(below[0], t, us) | is_within(below[1], t, us);
        *at = t;
        left[still] = left[i];
        still += passes;
    }
    return still;
}

/* --- what a snapshot may hold --- */

#define MOST_TIME ((uint64_t)1 << 61) /* runtime/core/events/array.py: T_LIMIT_US */

static int is_time(uint64_t t) { return !t || t - (((uint64_t)1 << 63) - MOST_TIME) <= 2 * MOST_TIME; }

static uint64_t number_at(const char *bytes, int64_t which) {
    uint64_t n;
    memcpy(&n, bytes + which * (int64_t)sizeof n, sizeof n);
    return n;
}

static int times_possible(const Filter *f, const char *bytes, int edge) {
    const int64_t width = f->width + 2 * edge, height = f->height + 2 * edge;
    for (int64_t i = 0, y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++, i++) {
            const int outside = edge && (!x || !y || x == width - 1 || y == height - 1);
            if (outside ? number_at(bytes, i) != 0 : !is_time(number_at(bytes, i))) return 0;
        }
    return 1;
}

static int hot_possible(const Filter *f, const char *bytes) {
    const int64_t pixels = pixels_of(f), counts = f->us ? pixels : 0;
    Hot hot;
    memcpy(&hot, bytes, sizeof hot);
    if (hot.learns < 0 || hot.learns > (f->us != 0) || !is_time(hot.begin)) return 0;
    const char *at = bytes + sizeof hot;
    for (int64_t i = 0; i < counts; i++) {
        const int64_t n = (int64_t)number_at(at, i);
        if (n < 0 || !sane(n) || (n && !hot.learns)) return 0;
    }
    at += counts * 8;
    for (int64_t i = 0; i < pixels; i++)
        if ((uint8_t)at[i] > 1) return 0;
    return 1;
}

int plif_filter_possible(const Filter *f, const char *bytes) {
    if (f->kind == FILTER_HOT) return hot_possible(f, bytes);
    return !f->bytes || times_possible(f, bytes, f->kind == FILTER_BACKGROUND ? EDGE : 0);
}
