#include "decider.h"
#include "../../error.h"

#include <math.h>
#include <string.h>

#define GAP_US ((int64_t)1000000)

int plif_decider_init(Decider *d, const char *decide, const char *reset, const char *const *names, int classes,
                      int voters, int T) {
    TRY(plif_decide_parse(decide ? decide : "sum", &d->rule));
    TRY(plif_reset_parse(reset ? reset : "never", &d->policy));
    if (classes) TRY(plif_decide_about(&d->rule, names, classes, voters, T));
    d->classes = classes;
    d->voters = voters;
    d->evidence_doubles = plif_evidence_doubles(&d->rule, classes);
    return 0;
}

int64_t plif_decider_doubles(const Decider *d) { return d->policy.rows * (d->classes + d->evidence_doubles); }

static double *votes_of(const Decider *d, int row) { return d->votes + (int64_t)row * d->classes; }
static double *evidence_of(const Decider *d, int row) { return d->evidence + row * d->evidence_doubles; }

void plif_decider_begin(Decider *d, Deciding *s, double *memory, double *c) {
    d->s = s;
    d->c = c;
    d->votes = memory;
    d->evidence = memory + (int64_t)d->policy.rows * d->classes;
    memset(s, 0, sizeof *s);
    plif_activity_reset(&s->activity);
    for (int row = 0; row < d->policy.rows; row++) {
        plif_decider_afresh(d, row);
        s->rows[row].reset = plif_reset_of_row(&d->policy, row);
    }
}

void plif_decider_afresh(Decider *d, int row) {
    memset(votes_of(d, row), 0, (size_t)d->classes * sizeof *d->votes);
    plif_evidence_reset(&d->rule, &d->s->rows[row].evidence, evidence_of(d, row), d->classes);
    d->s->rows[row].steps = 0;
}

/* What the policy says of each row. */
static void reset(Decider *d, const plif_input *frame, int64_t gap_us, int afresh, double *keep) {
    Deciding *s = d->s;
    const int64_t events = s->is_idle ? 0 : frame->events;
    for (int row = 0; row < d->policy.rows; row++) {
        ResetState *state = &s->rows[row].reset;
        if (afresh) { /* its counting starts again, with this frame */
            *state = plif_reset_of_row(&d->policy, row);
            plif_reset_before(&d->policy, state, events, 0, 0, 0);
            keep[row] = 0;
        } else {
            keep[row] = plif_reset_before(&d->policy, state, events, s->dt_us, (int)s->discontinuity, gap_us);
        }
        if (keep[row] == 0)
            plif_decider_afresh(d, row);
        else if (keep[row] != 1)
            plif_evidence_fade(&d->rule, &s->rows[row].evidence, evidence_of(d, row), d->classes, keep[row]);
    }
}

void plif_decider_before(Decider *d, const plif_input *frame, int afresh, int is_lost, double *keep) {
    Deciding *s = d->s;
    const DecisionRule *r = &d->rule;
    const int64_t since_us = s->has_previous ? s->previous_us : frame->start_us,
                  lasts_us = frame->end_us - frame->start_us;
    const int64_t gap_us = frame->start_us - since_us, was_idle = s->is_idle;
    s->dt_us = frame->end_us - since_us;
    /* a gap is also where a stop or an overload left frames out */
    s->discontinuity = (frame->flags & PLIF_GAP) || gap_us > GAP_US;
    s->previous_us = frame->end_us;
    s->events = frame->events;
    s->has_previous = 1;
    const int asks = r->idle_per_s >= 0 || r->idle_auto;
    const double per_s = asks ? plif_activity_add(&s->activity, frame->events, lasts_us) : 0;
    s->is_quiet = r->idle_auto && plif_activity_quiet(&s->activity, per_s, frame->events, lasts_us);
    s->is_idle = is_lost || (r->idle_per_s >= 0 && per_s < r->idle_per_s);
    reset(d, frame, gap_us, afresh, keep);
    d->is_followed = d->follows && (frame->flags & PLIF_FOLLOWED);
    if (d->follows) keep[1] = keep[0];
    if (!s->is_idle || was_idle) return; /* else: evidence from before a pause says nothing about what comes after it */
    for (int row = 0; row < d->policy.rows; row++)
        plif_evidence_reset(r, &s->rows[row].evidence, evidence_of(d, row), d->classes);
}

/* c = rint(y voters), whole votes; y itself where the network does not vote. view: y of a second row, or y again. */
static void add(Decider *d, int row, const float *y, const float *view) {
    Row *r = &d->s->rows[row];
    double *votes = votes_of(d, row), *c = d->c;
    for (int i = 0; i < d->classes; i++) {
        const double more = view[i] > y[i] ? (double)view[i] : (double)y[i];
        c[i] = d->voters > 1 ? rint(more * d->voters) : more;
        votes[i] += c[i];
    }
    r->steps++;
    if (!d->s->is_idle)
        plif_evidence_add(&d->rule, &r->evidence, evidence_of(d, row), d->classes, d->voters, c, d->s->dt_us);
}

void plif_decider_after(Decider *d, const float *y, plif_decision *decision) {
    Deciding *s = d->s;
    int oldest = 0;
    for (int row = 0; row < d->policy.rows; row++) {
        add(d, row, y + (int64_t)row * d->classes, y + (d->is_followed ? d->classes : (int64_t)row * d->classes));
        if (s->rows[row].steps > s->rows[oldest].steps) oldest = row; /* the first of equals */
    }
    const Evidence *e = &s->rows[oldest].evidence;
    const int idle = s->is_idle ||
                     (s->is_quiet && !plif_evidence_any(&d->rule, e, evidence_of(d, oldest), d->classes, d->voters));
    const int64_t winner = idle ? -1 : e->answer;
    const int no_label = idle ? PLIF_IDLE : PLIF_NOT_SURE;
    const int leads = d->is_followed && winner >= 0 && y[d->classes + winner] > y[winner];
    const int soft = idle ? -1 : plif_evidence_soft(&d->rule, e, evidence_of(d, oldest), d->classes, d->voters);
    const plif_decision said = {
        .size = decision->size,
        .t_us = s->previous_us,
        .step = s->step++,
        .events = s->events,
        .discontinuity = (int32_t)s->discontinuity,
        .index = winner < 0 ? no_label : (int32_t)winner,
        .score = winner < 0 ? 0 : e->share,
        .votes = votes_of(d, oldest),
        .is_final = e->is_final,
        .row = d->follows ? leads : oldest,
        .soft = soft < 0 ? no_label : soft,
    };
    size_copy(decision, &said, decision->size, sizeof said);
}

int plif_decider_possible(const Decider *d, const Deciding *s, const char *memory) {
    const int64_t most = T_LIMIT_US;
    const Activity *a = &s->activity;
    for (int64_t i = 0; i < plif_decider_doubles(d); i++) {
        double value;
        memcpy(&value, memory + i * (int64_t)sizeof value, sizeof value);
        if (!isfinite(value)) return 0;
    }
    if (!(a->events >= 0 && a->weight_us >= 0 && a->floor_per_s >= 0 && a->seen_us >= 0) ||
        !isfinite(a->events + a->weight_us + a->floor_per_s + a->seen_us))
        return 0;
    for (int i = 0; i < d->policy.rows; i++) {
        const Evidence *e = &s->rows[i].evidence;
        const ResetState *r = &s->rows[i].reset;
        if (e->answer < -1 || e->answer >= d->classes || e->recent < 0 || e->next < 0) return 0;
        if (!(e->weight >= 0 && e->other_us >= 0) || !isfinite(e->weight + e->share + e->other_us)) return 0;
        if (s->rows[i].steps < 0 || s->rows[i].steps > s->step) return 0;
        if (e->recent > d->rule.n || (d->rule.n ? e->next >= d->rule.n : e->next)) return 0;
        if (r->steps < 0 || r->steps > most || r->silent_us < 0 || r->silent_us > most) return 0;
    }
    return -most <= s->previous_us && s->previous_us <= most && s->step >= 0 && s->step <= most && -most <= s->dt_us &&
           s->dt_us <= most;
}
