/* What the words of a file have set so far, for every format of formats.h. runtime/native/interface.py has it field
 * by field. */
#pragma once

#include "../rules/frames/collect.h"

/* Times in us. -1: not set yet. */
typedef struct {
    int64_t last, offset; /* a clock that starts again at zero: as it came last, and what is added to it */
    int64_t high;         /* EVT: the time base, without these starts */
    /* EVT 3.0: the rest of t, the row; x of the next vector's first pixel, and its polarity */
    int64_t low, row, base, base_on;
    /* AEDAT 3.1, of the packet: upper bits of t; whether events without a valid bit are taken */
    int64_t overflow, believed;
    /* events lost, by reason: runtime/core/events/formats/words.py */
    int64_t untimed, unrowed, unbased, past_end, no_pixel, marked;
    int64_t unknown; /* words of a type that the format does not have */
} Decoding;

#define DECODING {.last = -1, .high = -1, .row = -1, .base = -1}
#define LATEST_US T_LIMIT_US /* a later time is none, so the offset need not grow beyond */

/* Whether no number of it is near the ends of int64, however many words come on top. */
static inline int decoding_sane(const Decoding *d) {
    int64_t n[sizeof *d / sizeof(int64_t)];
    int good = 1;
    memcpy(n, d, sizeof n);
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) good &= -2 * LATEST_US < n[i] && n[i] < 2 * LATEST_US;
    return good;
}

/* A counter of `bits` bits -> without its starts at zero. Only a step back by more than half the range is one: a
 * smaller one is jitter of the clock, and stays. A reader that counts every step back turns 8.8 ms into 53.9 ms on
 * a real file of a gen4.1. */
static inline int64_t unwrap(Decoding *d, int64_t raw_us, int bits) {
    if (d->last >= 0 && raw_us - d->last < -((int64_t)1 << (bits - 1)) && d->offset < LATEST_US)
        d->offset += (int64_t)1 << bits;
    d->last = raw_us;
    return raw_us + d->offset;
}

static inline uint32_t little16(const uint8_t *b) { return (uint32_t)b[0] | (uint32_t)b[1] << 8; }
static inline uint32_t little(const uint8_t *b) { return little16(b) | little16(b + 2) << 16; }
static inline uint32_t big(const uint8_t *b) {
    return (uint32_t)b[3] | (uint32_t)b[2] << 8 | (uint32_t)b[1] << 16 | (uint32_t)b[0] << 24;
}

static inline uint8_t *put(uint8_t *to, int64_t t, uint32_t x, uint32_t y, int on) {
    event_put(to, t, (uint16_t)x, (uint16_t)y, (uint8_t)on);
    return to + EVENT;
}

enum { OVERFLOW_ROW = 240, OVERFLOW_US = 1 << 13 };

/* One word of 5 bytes -> its event, if it has one; gives where the next goes. Here, since sample.c needs it in a
 * loop of its own, too. */
static inline uint8_t *five_bytes(Decoding *d, const uint8_t *b, uint8_t *to) {
    if (b[1] == OVERFLOW_ROW) {
        d->offset += OVERFLOW_US;
        return to;
    }
    return put(to, d->offset + ((int64_t)(b[2] & 0x7F) << 16 | b[3] << 8 | b[4]), b[0], b[1], b[2] >> 7);
}
