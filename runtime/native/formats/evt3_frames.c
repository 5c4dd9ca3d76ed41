/* EVT 3.0 words straight into the open frame, in one pass: no array of events is written between them.
 *
 * The result is that of plif_decode, of leaving out what lies outside the sensor, and of plif_collect, one after
 * the other; tests compare the two. A word whose events all belong to the open frame is counted here. Any other
 * word is decoded into the few events that it can have, and plif_collect says what becomes of them: the rules of
 * when a frame ends are there and nowhere else. */

#include "formats.h"

/* Counts the events of whole words while they are in the sensor, in time, and do not fill the frame. Returns the
 * word after; `stop` has the events of the word before it, where they need a closer look. */
static int64_t plain(const uint16_t *words, int64_t i, int64_t count, Decoding *state, Frame *f, const int64_t *of_x,
                     const int64_t *of_y, const int64_t *of_p, float *counts, Pixels *stop) {
    /* Where frames are shorter than gaps, an event inside the frame is also less than a gap away from the clock. */
    const int follows = counts && f->gap_us && f->has_clock && f->span_us <= f->gap_us;
    const uint64_t open = (uint64_t)f->open_us, span = follows ? (uint64_t)f->span_us : 0, cells = (uint64_t)f->cells;
    const int64_t room = least(f->most_used - f->used, f->most_seen - f->seen) - PIXELS;
    Decoding s = *state;
    int64_t seen = 0, hidden = 0, first_us = 0, last_us = 0;
    uint64_t latest = 0; /* after open */
    stop->bits = 0;
    while (i < count) {
        Pixels pixels = evt3_word(&s, words[i++]);
        if (!pixels.bits) continue;
        const int64_t end = pixels.x + 32 - __builtin_clz(pixels.bits);
        const uint64_t after = (uint64_t)evt3_time(&s) - open;
        if (after >= span || s.row >= f->height || end > f->width || seen >= room) {
            *stop = pixels;
            break;
        }
        first_us = seen ? first_us : evt3_time(&s);
        last_us = evt3_time(&s);
        latest = after > latest ? after : latest;
        const uint64_t at = (uint64_t)of_y[s.row] + (uint64_t)of_p[pixels.on];
        const int64_t *columns = of_x + pixels.x;
        do {
            const uint64_t cell = (uint64_t)columns[__builtin_ctz(pixels.bits)] + at;
            pixels.bits &= pixels.bits - 1;
            seen++;
            if (cell < cells) /* also those below zero are not */
                counts[cell] += 1.0f;
            else
                hidden++;
        } while (pixels.bits);
    }
    *state = s;
    if (seen) {
        if (!f->taken) f->first_us = first_us;
        f->last_us = last_us;
        if ((int64_t)(open + latest) > f->clock_us) f->clock_us = (int64_t)(open + latest);
        f->taken += seen;
        f->seen += seen;
        f->used += seen - hidden;
        f->filtered += hidden;
        f->not_shown += hidden;
    }
    return i;
}

/* The events of one word that are inside the sensor, as events. */
static void hold(Evt3Reader *r, Pixels pixels, const Frame *f) {
    r->held = r->next = 0;
    for (; pixels.bits; pixels.bits &= pixels.bits - 1) {
        const int64_t x = pixels.x + __builtin_ctz(pixels.bits);
        if (x < f->width && r->decoder.row < f->height)
            event_put(r->hold + r->held++ * EVENT, evt3_time(&r->decoder), (uint16_t)x, (uint16_t)r->decoder.row,
                      pixels.on);
        else
            r->outside++;
    }
}

/* Adds the events of the words from `at` on to the open frame until it ends; all but the words as in plif_collect.
 * Returns why it stopped; `at` is then the first word that was not looked at, and the reader keeps what is left of
 * the word before it. */
int64_t plif_evt3_collect(const uint16_t *words, int64_t bytes, int64_t *at, Evt3Reader *reader, Frame *frame,
                          const int64_t *of_x, int64_t columns, const int64_t *of_y, int64_t rows, const int64_t *of_p,
                          float *counts) {
    const int64_t count = bytes / WORD;
    Evt3Reader *r = reader;
    if (bytes < 0 || *at < 0 || *at > count || !decoding_sane(&r->decoder) || !sane(r->outside) || !sane(r->events) ||
        r->next < 0 || r->next > r->held || r->held > PIXELS || !plif_frame_fits(frame, columns, rows))
        return PLIF_WRONG;
    for (;;) {
        const int64_t before = r->next;
        const int64_t why =
            plif_collect(r->hold, r->held * EVENT, &r->next, frame, of_x, columns, of_y, rows, of_p, NULL, counts);
        r->events += r->next - before;
        if (why != ALL_TAKEN || *at == count) return why;
        Pixels stop;
        const int64_t taken = frame->taken;
        *at = plain(words, *at, count, &r->decoder, frame, of_x, of_y, of_p, counts, &stop);
        r->events += frame->taken - taken;
        hold(r, stop, frame);
    }
}

/* Sizes of the structures, so that Python can refuse a library whose layout is another than its own. */
int plif_packets_layout(void) { return (int)(sizeof(Evt3Reader) * 1000 + sizeof(Packet)); }
