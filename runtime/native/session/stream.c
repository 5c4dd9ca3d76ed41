/* Events and frames to decisions. */
#include "../error.h"
#include "session.h"

#include <string.h>

/* What is to be done with the membranes of one row: v = initial + (v - initial) * factor */
static void fade(plif_session *s, int row, double factor) {
    const plif_model *m = s->model;
    if (factor == 1) return;
    if (factor == 0) {
        plif_session_afresh(s, row);
        return;
    }
    plif_session_settle(s);
    for (int i = 0; i < m->header->states; i++) {
        const float initial = m->states[i].initial, f = (float)factor;
        float *v = s->v[row * m->header->states + i];
        for (int64_t k = 0; k < m->v_floats[i]; k++) v[k] = initial + (v[k] - initial) * f;
    }
}

int plif_session_decide(plif_session *s, const plif_input *frame, plif_decision *decision) {
    Moving *m = &s->moving;
    plif_decider_before(&s->decider, frame, m->was_reset != 0, 0, s->keep);
    for (int row = 0; row < s->rows; row++) {
        const int64_t picture = s->framing.follow ? row * s->model->program.x_floats : 0;
        if (!m->was_reset) fade(s, row, s->keep[row]); /* else they are afresh already */
        plif_session_step(s, row, frame->x + picture, s->y + (int64_t)row * s->decider.classes);
    }
    m->was_reset = 0;
    m->framer.used += frame->events;
    plif_decider_after(&s->decider, s->y, decision);
    return PLIF_DECIDED;
}

static void filter(plif_session *s, Batch *b) {
    Held *h = s->holding;
    const int64_t left = b->count - b->at, n = left < CHUNK ? left : CHUNK;
    memcpy(h->events, (const uint8_t *)b->from + b->at * EVENT, (size_t)n * EVENT);
    for (int64_t i = 0; i < n; i++) {
        const int taken = b->passed && b->passed[b->at + i] != PASSED;
        h->passed[i] = taken ? FILTERED : plif_fate(h->events + i * EVENT, s->width, s->height);
    }
    plif_filters_apply(s->filters, h->events, n, h->passed);
    s->moving.held = n;
    s->moving.taken = 0;
}

static int filter_and_feed(plif_session *s, Batch *b, plif_input *frame) {
    Moving *m = &s->moving;
    if (!s->filters) return plif_framer_feed(&s->framer, b, frame);
    for (;;) {
        if (m->taken == m->held && b->at < b->count) filter(s, b);
        const int64_t given = m->held - m->taken < b->count - b->at ? m->held : m->taken + b->count - b->at;
        Batch held = {.from = s->holding->events,
                      .count = given,
                      .at = m->taken,
                      .passed = s->holding->passed,
                      .came_s = b->came_s};
        const int got = plif_framer_feed(&s->framer, &held, frame);
        b->at += held.at - m->taken;
        m->taken = held.at;
        if (got || b->at == b->count) return got;
    }
}

int plif_session_feed(plif_session *s, Batch *batch, plif_input *frame, const char *what) {
    const int got = filter_and_feed(s, batch, frame);
    return got < 0 ? plif_fail(PLIF_BAD_ARGUMENT, "%s: more events than can be counted", what) : got;
}

int plif_session_goes_on(const plif_session *s, const char *what) {
    if (!s->moving.framer.is_closed) return 0;
    return plif_fail(PLIF_BAD_ARGUMENT, "%s: the recording was ended; plif_reset begins another", what);
}

int plif_session_takes(const plif_session *s, const void *place, const char *what) {
    plif_call_begins();
    if (!s || !place)
        return plif_fail(PLIF_BAD_ARGUMENT, "%s: a session, and places for what it takes and gives, are needed", what);
    return s->takes_events ? 0 : plif_fail(PLIF_UNSUPPORTED, "%s: %s", what, s->why_not);
}

static int no_room(const plif_decision *d) { return size_check(d->size, "plif_decision", "PLIF_DECISION"); }

static int may_decide(const plif_session *s, const plif_decision *decision, const char *what) {
    TRY(plif_session_takes(s, decision, what));
    return s->model ? no_room(decision) : plif_fail(PLIF_UNSUPPORTED, "%s: this session has no network", what);
}

/* Packs events until one has no possible time; how many there are. */
static int64_t pack(uint8_t *to, const int64_t *t, const uint16_t *x, const uint16_t *y, const uint8_t *p,
                    size_t most) {
    size_t i = 0;
    for (; i < most && possible(t[i]); i++, to += EVENT) event_put(to, t[i], x[i], y[i], p[i] != 0);
    return (int64_t)i;
}

int plif_feed(plif_session *s, const int64_t *t_us, const uint16_t *x, const uint16_t *y, const uint8_t *p,
              size_t count, size_t *took, plif_decision *decision) {
    TRY(may_decide(s, decision, "plif_feed"));
    if (!took || (count && (!t_us || !x || !y || !p)))
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_feed: an array is missing");
    *took = 0;
    TRY(plif_session_goes_on(s, "plif_feed"));
    if (count && possible(t_us[0])) plif_framer_resume(&s->framer, t_us[0]);
    for (size_t chunk = 64;; chunk = 2 * chunk < CHUNK ? 2 * chunk : CHUNK) {
        const size_t left = count - *took, from = *took;
        const int64_t n = pack(s->packed, t_us + from, x + from, y + from, p + from, left < chunk ? left : chunk);
        if (!n && left) {
            s->moving.framer.came++;
            s->moving.framer.invalid++;
            ++*took;
            continue;
        }
        Batch packed = {.from = s->packed, .count = n};
        plif_input frame = {.x = s->x};
        const int got = plif_session_feed(s, &packed, &frame, "plif_feed");
        if (got < 0) return got;
        *took += (size_t)packed.at;
        if (got) return plif_session_decide(s, &frame, decision);
        if (*took == count) return PLIF_OK;
    }
}

int plif_tick(plif_session *s, int64_t t_us, plif_decision *decision) {
    TRY(may_decide(s, decision, "plif_tick"));
    if (!possible(t_us)) return plif_fail(PLIF_BAD_ARGUMENT, "plif_tick: %lld us is no time", (long long)t_us);
    plif_input frame = {.x = s->x};
    if (s->moving.framer.is_closed || !plif_framer_tick(&s->framer, t_us, &frame)) return PLIF_OK;
    return plif_session_decide(s, &frame, decision);
}

int plif_finish(plif_session *s, plif_decision *decision) {
    TRY(may_decide(s, decision, "plif_finish"));
    plif_input frame = {.x = s->x};
    s->moving.framer.is_closed = 1;
    return plif_framer_close(&s->framer, &frame) ? plif_session_decide(s, &frame, decision) : PLIF_OK;
}

static int not_a_frame(int64_t start_us, int64_t end_us, int64_t events, const char *what) {
    if (possible(start_us) && possible(end_us) && events >= 0 && sane(events)) return 0;
    return plif_fail(PLIF_BAD_ARGUMENT, "%s: times or a number of events that are none", what);
}

int plif_frame(plif_session *s, const float *x, int64_t start_us, int64_t end_us, int64_t events,
               plif_decision *decision) {
    plif_call_begins();
    if (!s || !s->model || !x || !decision)
        return plif_fail(PLIF_BAD_ARGUMENT,
                         "plif_frame: a session with a network, x and a place for the decision are needed");
    if (not_a_frame(start_us, end_us, events, "plif_frame")) return PLIF_BAD_ARGUMENT;
    if (no_room(decision)) return PLIF_BAD_ARGUMENT;
    if (s->framing.follow)
        return plif_fail(PLIF_UNSUPPORTED, "plif_frame: with follow=on a session makes its own frames, of events");
    if (!sane(s->moving.framer.came + events))
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_frame: more events than can be counted");
    TRY(plif_session_frame(s, x, "plif_frame"));
    memcpy(s->x, x, (size_t)s->model->program.x_floats * sizeof *x);
    const plif_input frame = {.x = s->x, .start_us = start_us, .end_us = end_us, .events = events};
    s->moving.framer.came += events;
    return plif_session_decide(s, &frame, decision);
}

int plif_before(plif_session *s, int64_t start_us, int64_t end_us, int64_t events, int flags, double *keep) {
    plif_call_begins();
    if (!s || s->model || !s->decider.classes || !keep)
        return plif_fail(PLIF_BAD_ARGUMENT,
                         "plif_before: a session of plif_session_for with classes, and room for what it says");
    if (not_a_frame(start_us, end_us, events, "plif_before")) return PLIF_BAD_ARGUMENT;
    const plif_input frame = {.start_us = start_us, .end_us = end_us, .events = events, .flags = flags};
    plif_decider_before(&s->decider, &frame, s->moving.was_reset || flags & PLIF_AFRESH, flags & PLIF_LOST, keep);
    s->moving.was_reset = 0;
    return s->moving.deciding.discontinuity ? PLIF_GAP : PLIF_OK;
}

int plif_after(plif_session *s, const float *y, plif_decision *decision) {
    plif_call_begins();
    if (!s || s->model || !s->decider.classes || !y || !decision)
        return plif_fail(
            PLIF_BAD_ARGUMENT,
            "plif_after: a session of plif_session_for with classes, y and a place for the decision are needed");
    if (no_room(decision)) return PLIF_BAD_ARGUMENT;
    plif_decider_after(&s->decider, y, decision);
    return PLIF_DECIDED;
}

/* For Python: plif_before and plif_after of outputs that are stored. frames [n][4]: start_us, end_us, events, flags;
 * y [n][rows][classes]; answers [n][2]: index and soft of each decision. */
int plif_say(plif_session *s, int64_t n, const int64_t *frames, const float *y, int64_t *answers) {
    double keep[MOST_ROWS];
    plif_decision said = {.size = sizeof said};
    for (int64_t i = 0; i < n; i++, frames += 4, answers += 2) {
        const int begun = plif_before(s, frames[0], frames[1], frames[2], (int)frames[3], keep);
        if (begun < 0) return begun;
        const int decided = plif_after(s, y, &said);
        if (decided < 0) return decided;
        y += (int64_t)s->rows * s->decider.classes;
        answers[0] = said.index;
        answers[1] = said.soft;
    }
    return PLIF_OK;
}

int plif_account_of(const plif_session *s, plif_account *a) {
    plif_call_begins();
    if (!s || !a)
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_account_of: a session and a place for the account are needed");
    if (size_check(a->size, "plif_account", "PLIF_ACCOUNT")) return PLIF_BAD_ARGUMENT;
    const FramerState *f = &s->moving.framer;
    const plif_account said = {a->size, f->came, f->used, f->filtered, f->late, f->invalid, f->not_shown};
    size_copy(a, &said, a->size, sizeof said);
    return PLIF_OK;
}
