/* Events and frames to decisions: what runtime/stream/stream.py does before and after each step. */
#include "error.h"
#include "session.h"

#include <math.h>
#include <string.h>

#define GAP_US ((int64_t)1000000)

/* v = initial + (v - initial) * factor, in one row */
static void fade(plif_session *s, int row, double factor) {
    const plif_model *m = s->model;
    plif_session_settle(s);
    for (int i = 0; i < m->header->states; i++) {
        const float initial = m->states[i].initial, f = (float)factor;
        float *v = s->v[row * m->header->states + i];
        for (int64_t k = 0; k < m->v_floats[i]; k++) v[k] = initial + (v[k] - initial) * f;
    }
    plif_evidence_fade(&s->rule, &s->moving.rows[row].evidence, s->evidence + row * s->evidence_doubles, m->header->classes, factor);
}

/* Resets and fades each row as the policy says, before a frame is stepped. */
static void before(plif_session *s, const Piece *frame, int64_t dt_us, int64_t gap_us, int discontinuity) {
    Moving *m = &s->moving;
    const int64_t events = m->is_idle ? 0 : frame->events;
    for (int row = 0; row < s->rows; row++) {
        ResetState *reset = &m->rows[row].reset;
        if (m->was_reset) {             /* its counting starts again, with this frame */
            *reset = plif_reset_of_row(&s->policy, row);
            plif_reset_before(&s->policy, reset, events, 0, 0, 0);
            continue;
        }
        const double factor = plif_reset_before(&s->policy, reset, events, dt_us, discontinuity, gap_us);
        if (factor == 0)
            plif_session_afresh(s, row);
        else if (factor != 1)
            fade(s, row, factor);
    }
    m->was_reset = 0;
}

/* Steps one row, and adds what it votes. */
static void step(plif_session *s, int row, const Piece *frame, int64_t dt_us) {
    const int classes = s->model->header->classes, voters = s->model->header->voters;
    Row *r = &s->moving.rows[row];
    double *votes = s->votes + (int64_t)row * classes;
    plif_session_step(s, row, frame->x);
    for (int i = 0; i < classes; i++) {
        s->c[i] = voters > 1 ? rint((double)s->y[i] * voters) : (double)s->y[i];
        votes[i] += s->c[i];
    }
    r->steps++;
    if (!s->moving.is_idle) plif_evidence_add(&s->rule, &r->evidence, s->evidence + row * s->evidence_doubles, classes, voters, s->c, dt_us);
}

int plif_session_decide(plif_session *s, const Piece *frame, plif_decision *decision) {
    Moving *m = &s->moving;
    const int classes = s->model->header->classes, voters = s->model->header->voters, was_idle = m->is_idle != 0;
    const int64_t since_us = m->has_previous ? m->previous_us : frame->start_us, lasts_us = frame->end_us - frame->start_us;
    const int64_t dt_us = frame->end_us - since_us, gap_us = frame->start_us - since_us;
    const int discontinuity = frame->discontinuity || gap_us > GAP_US, asks_rate = s->rule.idle_per_s >= 0 || s->rule.idle_auto;
    m->previous_us = frame->end_us;
    m->has_previous = 1;
    const double per_s = asks_rate ? plif_activity_add(&m->activity, frame->events, lasts_us) : 0;
    const int quiet = s->rule.idle_auto && plif_activity_quiet(&m->activity, per_s, frame->events, lasts_us);
    m->is_idle = s->rule.idle_per_s >= 0 && per_s < s->rule.idle_per_s;
    before(s, frame, dt_us, gap_us, discontinuity);
    int oldest = 0;
    for (int row = 0; row < s->rows; row++) {
        if (m->is_idle && !was_idle)    /* evidence from before a pause says nothing about what comes after it */
            plif_evidence_reset(&s->rule, &m->rows[row].evidence, s->evidence + row * s->evidence_doubles, classes);
        step(s, row, frame, dt_us);
        if (m->rows[row].steps > m->rows[oldest].steps) oldest = row;   /* the first of equals */
    }
    const Evidence *e = &m->rows[oldest].evidence;
    const int idle = m->is_idle || (quiet && !plif_evidence_any(&s->rule, e, s->evidence + oldest * s->evidence_doubles, classes, voters));
    const int64_t winner = idle ? -1 : e->answer;
    m->framer.used += frame->events;
    *decision = (plif_decision){
        .t_us = frame->end_us, .step = m->step, .events = frame->events, .discontinuity = discontinuity,
        .votes = s->votes + (int64_t)oldest * classes, .index = idle ? PLIF_IDLE : winner < 0 ? PLIF_NOT_SURE : (int32_t)winner,
        .score = winner < 0 ? 0 : e->share, .is_final = e->is_final,
    };
    m->step++;
    return PLIF_DECIDED;
}

static int may_take(const plif_session *s, const void *decision, const char *what) {
    if (!s || !decision) return plif_fail(PLIF_BAD_ARGUMENT, "%s: a session and a place for the decision are needed", what);
    if (!s->takes_events) return plif_fail(PLIF_UNSUPPORTED, "%s: %s", what, s->why_not);
    return 0;
}

static int possible(int64_t t_us) { return -T_LIMIT_US < t_us && t_us < T_LIMIT_US; }

/* Packs events until one has no possible time; how many there are. */
static int64_t pack(uint8_t *to, const int64_t *t, const uint16_t *x, const uint16_t *y, const uint8_t *p, size_t most) {
    size_t i = 0;
    for (; i < most && possible(t[i]); i++, to += EVENT) event_put(to, t[i], x[i], y[i], p[i] != 0);
    return (int64_t)i;
}

int plif_feed(plif_session *s, const int64_t *t_us, const uint16_t *x, const uint16_t *y, const uint8_t *p, size_t count, size_t *took,
              plif_decision *decision) {
    const int no = may_take(s, decision, "plif_feed");
    if (no) return no;
    if (!took || (count && (!t_us || !x || !y || !p))) return plif_fail(PLIF_BAD_ARGUMENT, "plif_feed: an array is missing");
    *took = 0;
    if (s->moving.framer.is_closed) return plif_fail(PLIF_BAD_ARGUMENT, "plif_feed: the recording was ended; plif_reset begins another");
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
        int64_t at = 0;
        Piece frame;
        const int got = plif_framer_feed(&s->framer, s->packed, n, &at, s->x, &frame);
        if (got < 0) return plif_fail(PLIF_BAD_ARGUMENT, "plif_feed: more events than can be counted");
        *took += (size_t)at;
        if (got) return plif_session_decide(s, &frame, decision);
        if (*took == count) return PLIF_OK;
    }
}

int plif_tick(plif_session *s, int64_t t_us, plif_decision *decision) {
    Piece frame;
    const int no = may_take(s, decision, "plif_tick");
    if (no) return no;
    if (!possible(t_us)) return plif_fail(PLIF_BAD_ARGUMENT, "plif_tick: %lld us is no time", (long long)t_us);
    if (s->moving.framer.is_closed || !plif_framer_tick(&s->framer, t_us, s->x, &frame)) return PLIF_OK;
    return plif_session_decide(s, &frame, decision);
}

int plif_finish(plif_session *s, plif_decision *decision) {
    Piece frame;
    const int no = may_take(s, decision, "plif_finish");
    if (no) return no;
    s->moving.framer.is_closed = 1;
    return plif_framer_close(&s->framer, s->x, &frame) ? plif_session_decide(s, &frame, decision) : PLIF_OK;
}

int plif_frame(plif_session *s, const float *x, int64_t start_us, int64_t end_us, int64_t events, plif_decision *decision) {
    if (!s || !x || !decision) return plif_fail(PLIF_BAD_ARGUMENT, "plif_frame: a session, x and a place for the decision are needed");
    if (!possible(start_us) || !possible(end_us) || events < 0 || events >= T_LIMIT_US)
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_frame: times or a number of events that are none");
    if (!sane(s->moving.framer.came + events)) return plif_fail(PLIF_BAD_ARGUMENT, "plif_frame: more events than can be counted");
    memcpy(s->x, x, (size_t)s->model->program.x_floats * sizeof *x);
    const Piece frame = {s->x, start_us, end_us, events, 0};
    s->moving.framer.came += events;
    return plif_session_decide(s, &frame, decision);
}

void plif_account_of(const plif_session *s, plif_account *a) {
    const FramerState *f = &s->moving.framer;
    *a = (plif_account){f->came, f->used, f->filtered, f->late, f->invalid};
}
