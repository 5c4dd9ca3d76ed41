/* Making a session, its membranes, and one step of the network. */
#include "session.h"
#include "../error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BILLION = 1000000000, MOST_THREADS = 256, MORE_SCRATCH = 5 }; /* of scratch, beside the sums of each thread */

/* Zeros that the system gives only when they are touched; *block is what to free. */
static void *zeros(int64_t bytes, void **block) {
    *block = calloc(1, (size_t)up(bytes, 64) + 64);
    return *block ? (void *)(((uintptr_t)*block + 63) / 64 * 64) : NULL;
}

/* A network may need a view that stands upright, whatever a format says of how its events are stored. */
static int see_upright(Framing *f) {
    if (f->orientation == UPRIGHT) return 0;
    if (f->orientation != STORED)
        return plif_fail(PLIF_BAD_ARGUMENT,
                         "the framing turns the view, but the network needs an upright one; leave orientation= out");
    f->orientation = UPRIGHT;
    return 0;
}

/* Framings of a whole recording know no silence; the two rows of follow=on are reset together. */
static int fits(plif_session *s) {
    const DecisionRule *d = &s->decider.rule;
    const ResetPolicy *r = &s->decider.policy;
    s->decider.follows = s->framing.follow;
    if (s->framing.follow && r->rows > 1)
        return plif_fail(PLIF_BAD_ARGUMENT, "reset every:T/K does not go with follow=on; expected every:T, or another");
    if (!is_whole(&s->framing) || !(r->kind == RESET_SILENCE || r->kind == RESET_DECAY || d->idle_per_s >= 0)) return 0;
    return plif_fail(
        PLIF_BAD_ARGUMENT,
        "reset silence: and decay:, decide idle=: a framing of a whole recording (count:, time:) has no silence; use duration or events");
}

/* Frames of this shape from events. native: what plif_framing_settle has to know. */
static int make_framer(plif_session *s, const char *framing, int native, const int shape[3], int upright,
                       const plif_options *o) {
    int width = s->width = o->sensor_width ? o->sensor_width : shape[2],
        height = s->height = o->sensor_height ? o->sensor_height : shape[1];
    TRY(plif_framing_parse(framing, &s->framing));
    plif_framing_settle(&s->framing, native);
    if (o->filter) TRY(plif_filters_make(o->filter, width, height, &s->filters));
    for (const char *at = o->filter; at && *at; at++)
        s->filter = (int64_t)(((uint64_t)s->filter ^ (uint8_t)*at) * 0x100000001B3u);
    if (s->filters) plif_filters_sensor(s->filters, &width, &height);
    if (upright) TRY(see_upright(&s->framing));
    s->turned = s->framing.orientation == UPRIGHT ? o->upright : 0;
    TRY(plif_framer_init(&s->framer, &s->framing, shape, width, height, o->upright,
                         (Extent){o->total_events, o->first_us, o->last_us}));
    s->takes_events = 1;
    s->moving.framer.open.width = width;
    s->moving.framer.open.height = height;
    return 0;
}

static int read_rules(plif_session *s, const plif_options *o) {
    const plif_model *m = s->model;
    const Failure before = plif_failure;
    char early[40]; /* what a recording is decided by where nobody says it, as in `plif stream` */
    snprintf(early, sizeof early, "sum,exit=%d.%09d", m->header->exit / BILLION, m->header->exit % BILLION);
    const char *usual = o->total_events < 0 ? m->decide : m->header->exit ? early : NULL;
    const char *decide = o->decide ? o->decide : usual;
    TRY(plif_decider_init(&s->decider, decide, o->reset, m->names, m->header->classes, m->header->voters,
                          m->header->T));
    const char *framing = o->framing ? o->framing : m->framing;
    int shape[3], failed;
    plif_input_shape(m, shape);
    if (m->header->rank != 3 || m->header->is_static)
        failed = plif_fail(PLIF_UNSUPPORTED, "the network takes no events; step it with plif_step");
    else if (!*framing)
        failed = plif_fail(PLIF_BAD_ARGUMENT, "the file says no framing: give one, such as duration:10ms");
    else
        failed = make_framer(s, framing, o->framing && m->header->native, shape, m->header->upright, o);
    if (failed && (o->framing || o->filter || failed == PLIF_NO_MEMORY)) return failed;
    if (failed) { /* said when events come */
        snprintf(s->why_not, sizeof s->why_not, "%s", plif_error_text());
        plif_failure = before;
    }
    return failed ? 0 : fits(s);
}

/* The memory of the state: membranes, frames, votes, evidence. */
static int make_state(plif_session *s) {
    char why[300];
    const plif_model *m = s->model;
    const int states = m ? m->header->states : 0;
    const int64_t frames = s->takes_events ? plif_framer_floats(&s->framer) : 0,
                  rows = s->rows = s->decider.policy.rows * pictures_of(&s->framing);
    int64_t owed = 0;
    for (int i = 0; i < states; i++) {
        s->bytes += rows * up(m->v_floats[i] * 4, 64);
        owed += rows * owed_bytes(m->v_floats[i]);
    }
    const int64_t filtered = s->filters ? sizeof(Held) : 0,
                  more = up(frames * 4, 64) + up(plif_decider_doubles(&s->decider) * 8, 64) + up(filtered, 64);
    if (m && plif_room_check(&m->program, rows, more + (s->threads - 1) * m->program.acc_floats * 4, why, sizeof why))
        return plif_fail(PLIF_NO_MEMORY, "%s", why);
    s->bytes += more;
    s->memory = zeros(s->bytes, (void **)&s->block);
    s->v = calloc((size_t)(rows * states) + 1, sizeof *s->v); /* one more: of nothing, some systems give NULL */
    s->owed = calloc(1, (size_t)(rows * states + 1) * sizeof *s->owed + (size_t)owed);
    if (!s->memory || !s->v || !s->owed)
        return plif_fail(PLIF_NO_MEMORY, "no memory for a session of %lld bytes", (long long)s->bytes);
    char *at = s->memory;
    uint8_t *owed_at = (uint8_t *)(s->owed + rows * states);
    for (int64_t i = 0; i < rows * states; i++) {
        s->v[i] = (float *)at;
        at += up(m->v_floats[i % states] * 4, 64);
        s->owed[i] = owed_at;
        owed_at += owed_bytes(m->v_floats[i % states]);
    }
    s->frames = (float *)at;
    s->decided = (double *)(at + up(frames * 4, 64));
    s->holding = (Held *)((char *)s->decided + up(plif_decider_doubles(&s->decider) * 8, 64));
    s->c = calloc((size_t)s->decider.classes + (size_t)rows, sizeof *s->c);
    if (!s->c) return plif_fail(PLIF_NO_MEMORY, "no memory for a session");
    s->keep = s->c + s->decider.classes;
    return 0;
}

static int make_scratch(plif_session *s) {
    const Program *p = &s->model->program;
    const int n = s->threads;
    s->scratch = calloc((size_t)n + MORE_SCRATCH, sizeof *s->scratch);
    s->accs = calloc((size_t)n, sizeof *s->accs);
    if (!s->scratch || !s->accs) return plif_fail(PLIF_NO_MEMORY, "no memory for a session");
    s->arena = zeros(p->arena_bytes, &s->scratch[n]);
    int fine = s->arena != NULL;
    for (int t = 0; t < n; t++) fine &= (s->accs[t] = zeros(p->acc_floats * 4, &s->scratch[t])) != NULL;
    if (!fine) return plif_fail(PLIF_NO_MEMORY, "no memory for a step: %lld bytes", (long long)p->arena_bytes);
    s->x = zeros(pictures_of(&s->framing) * p->x_floats * 4, &s->scratch[n + 1]);
    s->y = zeros(s->rows * p->y_floats * 4, &s->scratch[n + 2]);
    s->fired = zeros(p->states * 4, &s->scratch[n + 3]);
    s->rates = zeros(p->states * (int64_t)sizeof *s->rates, &s->scratch[n + 4]);
    if (!s->x || !s->y || !s->fired || !s->rates)
        return plif_fail(PLIF_NO_MEMORY, "no memory for a frame of %lld numbers", (long long)p->x_floats);
    for (int i = 0; i < p->states; i++) s->rates[i] = s->fired + i;
    if (n > 1) s->pool = plif_pool_new(n); /* without one a step takes one thread, and gives the same */
    return 0;
}

static int bind(plif_session *s) {
    const Program *p = &s->model->program;
    s->call = (Call){
        .x = s->x,
        .y = s->y,
        .v = (const float *const *)s->v,
        .v_next = s->v,
        .owed = s->owed,
        .v_stride = p->v_floats,
        .x_row = p->x_floats,
        .y_row = p->y_floats,
        .y_step = p->y_floats,
        .rows = 1,
        .steps = 1,
    };
    const CallSizes sizes = {p->x_floats, p->y_floats, p->v_floats, p->v_floats, NULL};
    char why[300] = "";
    if (plif_call_check(p, &s->call, &sizes, why, sizeof why))
        return plif_fail(PLIF_BAD_FILE, "its arrays do not fit: %s", why);
    return 0;
}

/* An empty session, and the options with the defaults of those that an older caller does not know. */
static plif_session *begin(const plif_options *options, plif_options *o) {
    const plif_options defaults = PLIF_OPTIONS;
    plif_call_begins();
    *o = defaults;
    if (options && size_check(options->size, "plif_options", "PLIF_OPTIONS")) return NULL;
    if (options) size_copy(o, options, options->size, sizeof *o);
    if (o->threads < 1 || o->threads > MOST_THREADS)
        return plif_fail(PLIF_BAD_ARGUMENT, "%d threads; expected 1 to %d", o->threads, MOST_THREADS), NULL;
    plif_session *s = calloc(1, sizeof *s);
    if (!s) plif_fail(PLIF_NO_MEMORY, "no memory for a session");
    return s;
}

static plif_session *begun(plif_session *s, int failed) {
    if (failed) {
        plif_session_free(s);
        return NULL;
    }
    plif_reset(s);
    return s;
}

plif_session *plif_session_new(const plif_model *model, const plif_options *options) {
    plif_options o;
    if (!model) return plif_fail(PLIF_BAD_ARGUMENT, "plif_session_new: no model"), NULL;
    plif_session *s = begin(options, &o);
    if (!s) return NULL;
    s->model = model;
    s->threads = o.threads;
    return begun(s, read_rules(s, &o) || make_state(s) || make_scratch(s) || bind(s));
}

plif_session *plif_session_for(const plif_network *network, const plif_options *options) {
    plif_options o;
    const plif_network *n = network;
    if (!n || n->size < sizeof *n || n->classes < 0 || n->classes > MOST_CLASSES || n->voters < 1 || n->T < 1 ||
        (n->classes && !n->class_names))
        return plif_fail(
                   PLIF_BAD_ARGUMENT,
                   "plif_session_for: a network with its size, at most %d classes and their names, voters and T is needed",
                   MOST_CLASSES),
               NULL;
    plif_session *s = begin(options, &o);
    if (!s) return NULL;
    const int shape[3] = {n->channels, n->height, n->width}, frames = shape[0] || shape[1] || shape[2];
    int failed = plif_decider_init(&s->decider, o.decide, o.reset, n->class_names, n->classes, n->voters, n->T);
    if (!failed && frames && !o.framing)
        failed = plif_fail(PLIF_BAD_ARGUMENT, "plif_session_for: frames need a framing, such as duration:10ms");
    if (!failed && frames)
        failed = make_framer(s, o.framing, 0, shape, 0, &o);
    else if (!failed && o.framing)
        failed = plif_framing_parse(o.framing, &s->framing);
    if (!frames)
        snprintf(s->why_not, sizeof s->why_not,
                 "this session makes no frames: its network says no channels, height and width");
    return begun(s, failed || (o.framing && fits(s)) || make_state(s));
}

int plif_rows(const plif_session *s) { return s->rows; }

void plif_session_free(plif_session *s) {
    if (!s) return;
    plif_pool_free(s->pool);
    plif_filters_free(s->filters);
    plif_framer_free(&s->framer);
    for (int i = 0; s->scratch && i < s->threads + MORE_SCRATCH; i++) free(s->scratch[i]);
    free(s->scratch);
    free(s->accs);
    free(s->owed);
    free(s->c);
    free(s->block);
    free(s->v);
    free(s);
}

void plif_session_afresh(plif_session *s, int row) {
    const plif_model *m = s->model;
    const int states = m ? m->header->states : 0;
    float **v = s->v + (int64_t)row * states;
    for (int i = 0; i < states; i++) {
        const float initial = m->states[i].initial;
        memset(s->owed[row * states + i], 0, (size_t)owed_bytes(m->v_floats[i]));
        if (initial == 0)
            memset(v[i], 0, (size_t)m->v_floats[i] * 4);
        else
            for (int64_t k = 0; k < m->v_floats[i]; k++) v[i][k] = initial;
    }
}

void plif_reset_network(plif_session *s) {
    for (int row = 0; row < s->rows; row++) {
        plif_session_afresh(s, row);
        if (row < s->decider.policy.rows) plif_decider_afresh(&s->decider, row);
    }
    s->moving.was_reset = 1;
}

void plif_reset(plif_session *s) {
    const FramerState before = s->moving.framer;
    memset(&s->moving, 0, sizeof s->moving);
    s->moving.framer.open = before.open; /* the size of the sensor, which begin keeps */
    if (s->takes_events) plif_framer_begin(&s->framer, &s->moving.framer, s->frames);
    if (s->filters) plif_filters_begin(s->filters);
    plif_decider_begin(&s->decider, &s->moving.deciding, s->decided, s->c);
    if (s->model) {
        memset(s->x, 0, (size_t)(pictures_of(&s->framing) * s->model->program.x_floats) * sizeof *s->x);
        memset(s->fired, 0, (size_t)s->model->program.states * sizeof *s->fired);
    }
    for (int row = 0; row < s->rows; row++) plif_session_afresh(s, row);
}

static Call call_of(const plif_session *s, int row) {
    Call call = s->call;
    call.v_next = s->v + (int64_t)row * s->model->header->states;
    call.v = (const float *const *)call.v_next;
    call.owed = s->owed + (int64_t)row * s->model->header->states;
    return call;
}

void plif_session_settle(const plif_session *s) {
    for (int row = 0; s->model && row < s->rows; row++) {
        const Call call = call_of(s, row);
        plif_settle(&s->model->program, &call);
    }
}

void plif_session_step(plif_session *s, int row, const float *x, float *y) {
    Call call = call_of(s, row);
    call.x = x;
    call.y = y;
    plif_run(&s->model->program, s->pool, &call, &s->arena, s->accs);
}

int plif_session_frame(const plif_session *s, const float *x, const char *what) {
    const int64_t n = s->model->program.x_floats, i = plif_first_not_finite(x, n);
    if (i == n) return 0;
    return plif_fail(PLIF_BAD_ARGUMENT, "%s: x[%lld] is %g; expected finite numbers. Nothing was stepped", what,
                     (long long)i, (double)x[i]);
}

int plif_step(plif_session *s, const float *x, float *y) {
    plif_call_begins();
    if (!s || !s->model || !x || !y || (uintptr_t)x % 4)
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_step: a session with a network, x and y are needed");
    TRY(plif_session_frame(s, x, "plif_step"));
    plif_session_step(s, 0, x, s->y);
    memcpy(y, s->y, (size_t)s->model->header->classes * sizeof *y);
    return PLIF_OK;
}

const float *plif_frame_seen(const plif_session *s) { return s->x; }
const float *plif_firing_rates(plif_session *s) {
    s->call.rates = s->rates; /* a number each: a call here is of one row and one step */
    return s->fired;
}

const float *plif_membranes(const plif_session *s, int state, int shape[3], int *lanes) {
    plif_call_begins();
    if (!s->model || state < 0 || state >= s->model->header->states)
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_membranes: state %d of %d", state,
                         s->model ? s->model->header->states : 0),
               NULL;
    const FileState *f = &s->model->states[state];
    plif_session_settle(s);
    shape[0] = f->c;
    shape[1] = f->h;
    shape[2] = f->w;
    *lanes = lanes_of(f->c);
    return s->v[state];
}
