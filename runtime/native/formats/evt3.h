/* EVT 3.0, word by word; runtime/formats/evt says what the words mean. */
#pragma once

#include "decoding.h"

enum { PIXELS = 12 }; /* the most events that one word has */

/* Words that go straight into frames, see evt3_frames.c. */
typedef struct Evt3Reader {
    Decoding decoder;
    int64_t events, outside; /* looked at, and inside the sensor; outside it */
    int64_t held, next;      /* events of one word that wait for a frame, and the first of them that was not taken */
    uint8_t hold[PIXELS * EVENT];
} Evt3Reader;

enum { ADDR_Y = 0x0, ADDR_X = 0x2, VECT_BASE_X = 0x3, VECT_12 = 0x4, VECT_8 = 0x5, TIME_LOW = 0x6, TIME_HIGH = 0x8 };
enum { WORD = 2, X_LIMIT = 2048 };

/* The events of one word: all at one time, in one row and of one polarity. Bit k of `bits` is the pixel at x + k. */
typedef struct {
    uint32_t bits;
    int64_t x;
    uint8_t on;
} Pixels;

/* How many of 12 bits are set: the instruction for it is not on every processor, and what stands in for it is slow. */
static inline int64_t bits_of_12(uint32_t b) {
    b -= b >> 1 & 0x555;
    b = (b & 0x333) + (b >> 2 & 0x333);
    return (b & 0xF) + (b >> 4 & 0xF) + (b >> 8);
}

/* How many events a word may have. */
static inline int64_t evt3_most(uint32_t word) {
    const uint32_t kind = word >> 12;
    return bits_of_12(kind == VECT_12 ? word & 0xFFF : kind == VECT_8 ? word & 0xFF : kind == ADDR_X);
}

static inline int64_t evt3_time(const Decoding *s) { return s->high | s->low; }

/* Takes one word; gives its events that can be used, with a column from 0 to 2047 and the row s->row, and counts
 * the others. */
static inline Pixels evt3_word(Decoding *s, uint32_t word) {
    const uint32_t value = word & 0xFFF;
    const Pixels none = {0, 0, 0};
    Pixels found;
    switch (word >> 12) {
    case ADDR_Y: s->row = value & 0x7FF; return none;
    case TIME_LOW: s->low = value; return none;
    case TIME_HIGH: {
        const int64_t high = unwrap(s, (int64_t)value << 12, 24);
        if (high != s->high) s->low = 0;
        s->high = high;
        return none;
    }
    case VECT_BASE_X:
        s->base = value & 0x7FF;
        s->base_on = value >> 11;
        return none;
    case ADDR_X: found = (Pixels){1, value & 0x7FF, (uint8_t)(value >> 11)}; break;
    case VECT_12:
    case VECT_8: {
        const int64_t width = word >> 12 == VECT_12 ? 12 : 8;
        found = (Pixels){width == 12 ? value : value & 0xFF, s->base, s->base_on == 1};
        if (s->base >= 0) s->base += width;
        break;
    }
    case 0x7:
    case 0xA:
    case 0xE:
    case 0xF: /* continued vectors, triggers, words of the vendor */ return none;
    default: s->unknown++; return none;
    }
    if (s->high >= 0 && s->row >= 0 && found.x >= 0 && found.x <= X_LIMIT - 12) return found;
    const int64_t count = bits_of_12(found.bits);
    if (s->high < 0)
        s->untimed += count;
    else if (s->row < 0)
        s->unrowed += count;
    else if (found.x < 0)
        s->unbased += count;
    else { /* the columns from 2048 on are none */
        const uint32_t kept = found.x < X_LIMIT ? found.bits & ((1u << (X_LIMIT - found.x)) - 1) : 0;
        s->past_end += count - bits_of_12(kept);
        found.bits = kept;
        return found;
    }
    return none;
}

int64_t plif_evt3_collect(const uint16_t *words, int64_t bytes, int64_t *at, Evt3Reader *reader, Frame *frame,
                          const int64_t *of_x, int64_t columns, const int64_t *of_y, int64_t rows, const int64_t *of_p,
                          float *counts);
