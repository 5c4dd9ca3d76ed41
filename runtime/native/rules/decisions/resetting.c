#include "resetting.h"
#include "../../error.h"
#include "../../text.h"

#include <math.h>
#include <stdlib.h>

#define MOST_SILENCE ((int64_t)1 << 61)

/* A number from 1 on without leading zeros, of at most `digits` digits; -1 where it is none. */
static int64_t counting(Text t, int digits) { return t.n && t.at[0] == '0' ? -1 : plif_whole(t, digits); }

int plif_reset_parse(const char *text, ResetPolicy *policy) {
    ResetPolicy p = {.rows = 1};
    int colon, slash, known = plif_is_word(text_of(text), "never") || plif_is_word(text_of(text), "recording");
    Text rest = text_of(text);
    const Text name = plif_cut(&rest, ':', &colon);
    if (plif_is_word(name, "every")) {
        p.kind = RESET_EVERY;
        p.every = counting(plif_cut(&rest, '/', &slash), 9);
        p.rows = slash ? (int)counting(rest, 2) : 1;
        known = p.every > 0 && p.rows > 0;
        const int most = p.every < MOST_ROWS ? (int)p.every : MOST_ROWS;
        if (known && p.rows > most)
            return plif_fail(PLIF_BAD_ARGUMENT,
                             "--reset %.80s: %d rows; expected 1 to %d, no more than there are steps", text, p.rows,
                             most);
    } else if (plif_is_word(name, "silence")) {
        if (rest.n > 2 && !memcmp(rest.at + rest.n - 2, "ms", 2)) rest.n -= 2;
        p.kind = RESET_SILENCE;
        p.silence_us = 1000 * counting(rest, 9);
        known = p.silence_us > 0;
    } else if (plif_is_word(name, "decay")) {
        p.kind = RESET_DECAY;
        p.tau_us = plif_text_us(rest);
        known = p.tau_us > 0;
        if (!known)
            return plif_fail(PLIF_BAD_ARGUMENT, "--reset %.80s: the time constant, '%.*s', " NO_TIME, text,
                             SHORT(rest));
    }
    if (!known)
        return plif_fail(PLIF_BAD_ARGUMENT,
                         "--reset %.80s: expected never, recording, every:T[/K] (steps), silence:MS (milliseconds) "
                         "or decay:TAU",
                         text);
    *policy = p;
    return 0;
}

ResetState plif_reset_of_row(const ResetPolicy *p, int row) {
    return (ResetState){.steps = p->every - p->every * (row + 1) / p->rows};
}

double plif_reset_before(const ResetPolicy *p, ResetState *s, int64_t events, int64_t dt_us, int discontinuity,
                         int64_t gap_us) {
    int64_t silent = s->silent_us + (!events || discontinuity ? llabs(dt_us) : 0);
    if (silent > MOST_SILENCE) silent = MOST_SILENCE;
    const int due = (p->kind == RESET_EVERY && s->steps >= p->every) ||
                    (p->kind == RESET_SILENCE && silent >= p->silence_us && (events || discontinuity));
    s->silent_us = events ? 0 : silent;
    s->steps = due ? 1 : s->steps + 1;
    if (due) return 0;
    return p->kind == RESET_DECAY && discontinuity ? exp(-(double)llabs(gap_us) / (double)p->tau_us) : 1;
}
