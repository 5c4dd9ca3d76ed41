/* The framer: which events belong to the open frame, and when it ends. runtime/events/framer.py says the rules, and collects with
 * the same plif_collect; here a caller asks for one frame at a time, so what Python keeps in a generator is in FramerState. */
#include "framer.h"

#include <string.h>

#define GAP_US ((int64_t)1000000)

static int repeats(const Framing *g) { return g->kind == BY_DURATION && g->T && !g->pad_zero; }

int64_t plif_framer_floats(const Framer *f) { return f->cells * (1 + repeats(&f->framing) + pieces_of(&f->framing) - 1); }

void plif_framer_begin(Framer *f, FramerState *s, float *memory) {
    const Framing *g = &f->framing;
    const Frame static_part = s->open;  /* width and height, which the session has set */
    f->s = s;
    f->counts = memory;
    f->last = memory + f->cells;
    f->pieces = f->last + repeats(g) * f->cells;
    memset(s, 0, sizeof *s);
    memset(memory, 0, (size_t)plif_framer_floats(f) * sizeof *memory);
    s->open.width = static_part.width;
    s->open.height = static_part.height;
    s->open.cells = f->cells;
    s->open.gap_us = is_whole(g) ? 0 : GAP_US;
    if (g->kind == BY_TIME) s->slice_us = s->last_us = f->extent.first_us;
    s->open.span_us = g->every_us ? g->every_us : g->kind == BY_DURATION ? g->duration_us : g->max_us;
    s->open.most_used = g->n ? g->n : INT64_MAX;
    s->open.most_seen = INT64_MAX;
}

/* x becomes the sum of the last pieces of time; see runtime/events/overlap.py. */
static void extend(Framer *f, float *x, int discontinuity) {
    FramerState *s = f->s;
    const int64_t most = pieces_of(&f->framing) - 1, cells = f->cells;
    if (discontinuity) s->pieces = s->next_piece = 0;
    float *kept = f->pieces + s->next_piece * cells;    /* the oldest one leaves when all are there */
    for (int64_t i = 0; i < s->pieces; i++) {
        const float *older = f->pieces + (s->pieces < most ? i : (s->next_piece + i) % most) * cells;
        for (int64_t c = 0; c < cells; c++) {
            if (f->framing.binary)
                x[c] = older[c] > x[c] ? older[c] : x[c];
            else
                x[c] += older[c];
        }
    }
    memcpy(kept, f->counts, (size_t)cells * sizeof *kept);
    s->next_piece = (s->next_piece + 1) % most;
    s->pieces += s->pieces < most;
}

/* Closes the open frame. */
static int emit(Framer *f, int64_t start_us, int64_t end_us, float *x, Piece *piece) {
    FramerState *s = f->s;
    if (s->open.used && f->framing.binary)
        for (int64_t c = 0; c < f->cells; c++) f->counts[c] = f->counts[c] > 1 ? 1 : f->counts[c];
    memcpy(x, f->counts, (size_t)f->cells * sizeof *x);
    if (f->framing.every_us) extend(f, x, s->gap_before != 0);
    if (s->open.used) memset(f->counts, 0, (size_t)f->cells * sizeof *x);
    if (repeats(&f->framing)) memcpy(f->last, x, (size_t)f->cells * sizeof *x);
    *piece = (Piece){x, start_us, end_us, s->open.used, s->gap_before != 0};
    s->open.used = s->open.seen = 0;
    s->gap_before = 0;
    s->emitted++;
    return 1;
}

static int64_t end_of_partial(const Framer *f) {
    const Frame *o = &f->s->open;
    return f->framing.kind == BY_DURATION ? o->open_us + o->span_us : o->clock_us > o->open_us ? o->clock_us : o->open_us;
}

/* Events into the open frame, as far as it goes; why it stopped, or PLIF_WRONG. */
static int64_t collect(Framer *f, const uint8_t *events, int64_t count, int64_t *at) {
    FramerState *s = f->s;
    const int64_t from = *at;
    s->open.taken = s->open.filtered = s->open.late = s->open.invalid = 0;
    const int64_t why = plif_collect(events, count * EVENT, at, &s->open, f->of_x, s->open.width, f->of_y, s->open.height, f->of_p, NULL,
                                     s->emitted >= f->most ? NULL : f->counts);
    if (why == PLIF_WRONG) return why;
    s->came += *at - from;
    s->filtered += s->open.filtered;
    s->late += s->open.late;
    s->invalid += s->open.invalid;
    return why;
}

static int owed(Framer *f, float *x, Piece *piece) {
    f->s->owed--;
    f->s->emitted++;
    memset(x, 0, (size_t)f->cells * sizeof *x);
    *piece = (Piece){x, f->s->owed_us, f->s->owed_us, 0, 0};
    return 1;
}

static int feed_by_count(Framer *f, const uint8_t *events, int64_t count, int64_t *at, float *x, Piece *piece) {
    FramerState *s = f->s;
    const int64_t T = f->framing.T, quota = f->extent.total / T;
    if (s->owed) return owed(f, x, piece);
    const int fresh = !s->open.seen;
    s->open.most_seen = s->emitted == T - 1 || !quota ? INT64_MAX : quota;      /* the last slice takes the rest */
    const int64_t why = collect(f, events, count, at);
    if (why == PLIF_WRONG) return PLIF_WRONG;
    if (s->open.taken) {
        if (fresh) s->open.open_us = s->open.first_us;
        s->last_us = s->open.last_us;
        if (!quota && s->emitted < T - 1) {     /* fewer events than slices: the first ones hold none */
            s->owed = T - 1 - s->emitted;
            s->owed_us = s->open.first_us;
            return owed(f, x, piece);
        }
    }
    return why == FRAME_FULL ? emit(f, s->open.open_us, s->last_us, x, piece) : 0;
}

/* Slice j holds the events of [first + d j, first + d (j + 1)) by the latest time so far, the last one the rest. */
static int feed_by_time(Framer *f, const uint8_t *events, int64_t count, int64_t *at, float *x, Piece *piece) {
    FramerState *s = f->s;
    const int64_t T = f->framing.T, first = f->extent.first_us, span = (f->extent.last_us > first ? f->extent.last_us - first : 0) / T;
    int64_t end = *at;                          /* of the events of the open slice */
    for (; end < count; end++) {
        int64_t t;
        uint16_t column, row;
        event_get(events + end * EVENT, &t, &column, &row);
        if (column >= s->open.width || row >= s->open.height) continue;
        if (t > s->slice_us) s->slice_us = t;
        const int64_t place = span ? (s->slice_us - first) / span : T;
        if (s->emitted < (place < T ? place : T - 1)) break;
    }
    const int fresh = !s->open.seen;
    if (collect(f, events, end, at) == PLIF_WRONG) return PLIF_WRONG;
    if (s->open.taken) {
        if (fresh) s->open.open_us = s->open.first_us;
        s->last_us = s->open.last_us;
    }
    return end < count ? emit(f, s->open.seen ? s->open.open_us : s->last_us, s->last_us, x, piece) : 0;
}

static int feed_by_clock(Framer *f, const uint8_t *events, int64_t count, int64_t *at, float *x, Piece *piece) {
    FramerState *s = f->s;
    Frame *o = &s->open;
    for (;;) {
        const int64_t why = collect(f, events, count, at);
        int got = 0;
        switch (why) {
        case PLIF_WRONG: return PLIF_WRONG;
        case ALL_TAKEN: return 0;
        case AT_GAP:
            if (o->seen) got = emit(f, o->open_us, end_of_partial(f), x, piece);
            s->discontinuities++;
            s->gap_before = 1;
            o->has_clock = 0;
            if (got) return 1;
            break;
        case FRAME_FULL:
            emit(f, o->open_us, o->last_us, x, piece);
            o->open_us = o->last_us;
            return 1;
        default:                        /* beyond: the event that is next asks again, until the grid has come to it */
            emit(f, o->open_us, o->open_us + o->span_us, x, piece);
            o->open_us += o->span_us;
            return 1;
        }
    }
}

int plif_framer_feed(Framer *f, const uint8_t *events, int64_t count, int64_t *at, float *x, Piece *piece) {
    if (f->framing.kind == BY_COUNT) return feed_by_count(f, events, count, at, x, piece);
    if (f->framing.kind == BY_TIME) return feed_by_time(f, events, count, at, x, piece);
    return feed_by_clock(f, events, count, at, x, piece);
}

static int is_over(const Framer *f, int64_t t_us) {
    const Frame *o = &f->s->open;
    return o->gap_us && o->has_clock && f->s->emitted < f->most && t_us - o->open_us >= o->span_us;
}

int plif_framer_tick(Framer *f, int64_t t_us, float *x, Piece *piece) {
    FramerState *s = f->s;
    Frame *o = &s->open;
    if (is_over(f, t_us)) {
        if (!s->is_ticked) s->ticked_us = o->open_us;
        s->is_ticked = 1;
        emit(f, o->open_us, o->open_us + o->span_us, x, piece);
        o->open_us += o->span_us;
        return 1;
    }
    if (s->is_ticked && t_us > o->clock_us) o->clock_us = t_us;
    return 0;
}

/* An event that was delayed on its way is not late because of ticks: the grid steps back to it, as far as it went on alone. */
void plif_framer_resume(Framer *f, int64_t t_us) {
    FramerState *s = f->s;
    Frame *o = &s->open;
    if (s->is_ticked && s->ticked_us <= t_us && t_us < o->open_us) {
        o->open_us -= (o->open_us - t_us + o->span_us - 1) / o->span_us * o->span_us;
        o->clock_us = t_us;
    }
    s->is_ticked = 0;
}

/* duration with T: as many frames as are missing. */
static int pad(Framer *f, float *x, Piece *piece) {
    FramerState *s = f->s;
    Frame *o = &s->open;
    const int repeat = !f->framing.pad_zero;
    if (!s->is_padding) {
        s->is_padding = 1;
        if (s->emitted && repeat) {     /* the partial frame is not used */
            s->filtered += o->used;
            memset(f->counts, 0, (size_t)f->cells * sizeof *x);
            o->used = o->seen = s->gap_before = 0;
        } else if (s->emitted < f->framing.T) {
            emit(f, o->open_us, o->open_us + o->span_us, x, piece);
            o->open_us += o->span_us;
            return 1;
        }
    }
    if (s->emitted >= f->framing.T) return 0;
    if (repeat) {
        memcpy(x, f->last, (size_t)f->cells * sizeof *x);
        *piece = (Piece){x, o->open_us, o->open_us + o->span_us, 0, s->gap_before != 0};
        s->gap_before = 0;
        s->emitted++;
    } else {
        emit(f, o->open_us, o->open_us + o->span_us, x, piece);
    }
    o->open_us += o->span_us;
    return 1;
}

int plif_framer_close(Framer *f, float *x, Piece *piece) {
    FramerState *s = f->s;
    const Frame *o = &s->open;
    if (s->owed) return owed(f, x, piece);
    if (is_whole(&f->framing))
        return s->emitted < f->framing.T ? emit(f, o->seen ? o->open_us : s->last_us, s->last_us, x, piece) : 0;
    if (f->framing.T) return pad(f, x, piece);
    return o->seen ? emit(f, o->open_us, end_of_partial(f), x, piece) : 0;
}

static int near(int64_t t) { return -2 * T_LIMIT_US < t && t < 2 * T_LIMIT_US; }
static int count(int64_t n) { return 0 <= n && n < T_LIMIT_US; }

/* Frames that never end, or without number, would follow another limit or another clock than an open frame can have. */
static int ends(const Framer *f, const FramerState *s) {
    const Frame *o = &s->open;
    return (f->framing.kind == BY_COUNT || o->most_seen == f->s->open.most_seen) && (!s->is_ticked || o->gap_us) &&
           (!o->gap_us || !o->has_clock || o->clock_us - o->open_us <= o->span_us + GAP_US);
}

int plif_framer_possible(const Framer *f, const FramerState *s) {
    const Frame *a = &s->open, *b = &f->s->open;
    const int64_t most = pieces_of(&f->framing) - 1;
    return a->width == b->width && a->height == b->height && a->cells == b->cells && a->gap_us == b->gap_us && a->span_us == b->span_us &&
           a->most_used == b->most_used && a->most_seen >= 0 && near(a->clock_us) && near(a->open_us) && near(a->first_us) &&
           near(a->last_us) && near(a->next_us) && near(s->slice_us) && count(a->used) && count(a->seen) && count(a->taken) && count(a->filtered) &&
           count(a->late) && count(a->invalid) && count(s->emitted) && near(s->last_us) && count(s->owed) &&
           (!f->framing.T || s->owed <= f->framing.T) && near(s->owed_us) && near(s->ticked_us) && count(s->discontinuities) &&
           count(s->used) && count(s->filtered) && count(s->late) && count(s->invalid) && count(s->came) && 0 <= s->pieces &&
           s->pieces <= most && 0 <= s->next_piece && s->next_piece <= (most > 0 ? most - 1 : 0) && ends(f, s);
}
