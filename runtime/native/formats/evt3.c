/* EVT 3.0 words -> events, in one pass over memory. Nothing here trusts its input, as in rules/collect.c. */
#include "evt3.h"

/* An upper bound for the number of events in these words. */
int64_t plif_evt3_most(const uint16_t *words, int64_t bytes)
{
    const int64_t count = bytes / WORD;
    int64_t most = 0;
    for (int64_t i = 0; i < count; i++) {
        const uint32_t kind = words[i] >> 12;
        const uint32_t bits = kind == VECT_12 ? words[i] & 0xFFFu : kind == VECT_8 ? words[i] & 0xFFu : kind == ADDR_X;
        most += bits_of_12(bits);
    }
    return most;
}

/* Decodes words into events in `out`; returns how many there are. Stops early only where its room is used up. */
int64_t plif_evt3(const uint16_t *words, int64_t bytes, Evt3 *state, uint8_t *out, int64_t out_bytes)
{
    const int64_t count = bytes / WORD, room = out_bytes / EVENT;
    Evt3 s = *state;
    int64_t made = 0;
    if (bytes < 0 || out_bytes < 0 || !evt3_sane(&s))
        return PLIF_WRONG;
    for (int64_t i = 0; i < count; i++) {
        Pixels pixels = evt3_word(&s, words[i]);
        for (; pixels.bits; pixels.bits &= pixels.bits - 1) {
            if (made >= room)
                goto full;
            event_put(out + made++ * EVENT, evt3_time(&s), (uint16_t)(pixels.x + __builtin_ctz(pixels.bits)), (uint16_t)s.row, pixels.on);
        }
    }
full:
    *state = s;
    return made;
}

/* The size of the structure, so that Python can refuse a library whose layout is another than its own. */
int plif_packets_layout(void) { return (int)sizeof(Evt3Reader); }
