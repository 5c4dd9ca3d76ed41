/* The framer: which events belong to the open frame, and when it ends.
 *
 * Count framing is Eq. S1 of Fang et al. 2021: slice j of N events holds [floor(N/T) j, floor(N/T) (j+1)), the last one the rest;
 * events count in file order and none is late. The framings duration: and events: follow a clock, the running maximum of t:
 *
 * - an event before the start of the open frame is late: counted, not used. Backward steps inside the frame are used;
 * - a step of more than a second, forward beyond the clock or backward below it, is a discontinuity: the open frame is closed, the
 *   grid starts again at the new event, and the next frame says so. Never a flood of empty frames;
 * - a recording of T duration frames that is too short is padded (repeat: the last full frame, the partial one is not used; zero: the
 *   partial frame, then empty ones); events beyond T frames are filtered.
 *
 * How events are cut into packets never changes a frame. One call gives one frame. */
#include "framer.h"
#include "../../formats/evt3.h"

#include <string.h>

#define GAP_US ((int64_t)1000000)

static int repeats(const Framing *g) { return g->kind == BY_DURATION && g->T && !g->pad_zero; }

int64_t plif_framer_floats(const Framer *f) {
    return f->cells * (1 + repeats(&f->framing) + pieces_of(&f->framing) - 1) + plif_follow_floats(&f->follow);
}

void plif_framer_begin(Framer *f, FramerState *s, float *memory) {
    const Framing *g = &f->framing;
    const Frame static_part = s->open; /* width and height, which the session has set */
    f->s = s;
    f->counts = memory;
    f->last = memory + f->cells;
    f->pieces = f->last + repeats(g) * f->cells;
    f->came_s = 0;
    memset(s, 0, sizeof *s);
    memset(memory, 0, (size_t)plif_framer_floats(f) * sizeof *memory);
    s->open.width = static_part.width;
    s->open.height = static_part.height;
    s->open.cells = f->row;
    s->open.gap_us = is_whole(g) ? 0 : GAP_US;
    if (g->kind == BY_TIME) s->slice_us = s->last_us = f->extent.first_us;
    s->open.span_us = g->every_us ? g->every_us : g->kind == BY_DURATION ? g->duration_us : g->max_us;
    s->open.most_used = g->n ? g->n : INT64_MAX;
    s->open.most_seen = INT64_MAX;
    if (!g->follow) return;
    plif_follow_bind(&f->follow, f->pieces + (pieces_of(g) - 1) * f->cells);
    plif_follow_begin(&f->follow);
}

void plif_framer_restored(Framer *f) {
    f->came_s = 0; /* by another clock */
    if (f->framing.follow) plif_follow_restored(&f->follow);
}

static void add(float *to, const float *from, int64_t cells, int binary) {
    for (int64_t c = 0; c < cells; c++) to[c] = !binary ? to[c] + from[c] : to[c] > from[c] ? to[c] : from[c];
}

/* Frames that overlap: x_n = c_n + c_(n-1) + .. + c_(n-k+1), binary: at most 1; c_n: the events of piece n, which
 * lasts `every`, k = duration / every. Grid, account and clock are those of the pieces, so every event counts once,
 * though k frames show it. After a gap the older pieces are forgotten. */
static void extend(Framer *f, float *x, int forget) {
    FramerState *s = f->s;
    const int64_t most = pieces_of(&f->framing) - 1, cells = f->cells;
    if (forget) s->pieces = s->next_piece = 0;
    float *kept = f->pieces + s->next_piece * cells; /* the oldest one leaves when all are there */
    for (int64_t i = 0; i < s->pieces; i++) {
        const int64_t older = s->pieces < most ? i : (s->next_piece + i) % most;
        add(x, f->pieces + older * cells, cells, f->framing.binary);
    }
    memcpy(kept, f->counts, (size_t)cells * sizeof *kept);
    s->next_piece = (s->next_piece + 1) % most;
    s->pieces += s->pieces < most;
}

/* What is known of a frame whose x is there. */
static int tell(Framer *f, int64_t start_us, int64_t end_us, int64_t events, plif_input *frame) {
    FramerState *s = f->s;
    frame->start_us = start_us;
    frame->end_us = end_us;
    frame->events = events;
    frame->flags = (int)s->flags;
    frame->came_s = f->came_s;
    s->flags = 0;
    s->emitted++;
    return 1;
}

/* Closes the open frame. */
static int emit(Framer *f, int64_t start_us, int64_t end_us, plif_input *frame) {
    FramerState *s = f->s;
    const size_t bytes = (size_t)f->cells * sizeof *frame->x;
    if (s->open.used && f->framing.binary)
        for (int64_t c = 0; c < f->cells; c++) f->counts[c] = f->counts[c] > 1 ? 1 : f->counts[c];
    memcpy(frame->x, f->counts, bytes);
    if (f->framing.every_us) {
        if (frame->newest) memcpy(frame->newest, f->counts, bytes);
        extend(f, frame->x, s->flags != 0);
    }
    if (repeats(&f->framing)) memcpy(f->last, frame->x, bytes);
    tell(f, start_us, end_us, s->open.used, frame);
    if (f->framing.follow) plif_follow_end(&f->follow, f->counts, frame);
    if (s->open.used) memset(f->counts, 0, bytes);
    s->open.used = s->open.seen = 0;
    return 1;
}

/* Closes it where the grid does, and opens the next one. */
static int emit_whole(Framer *f, plif_input *frame) {
    Frame *o = &f->s->open;
    emit(f, o->open_us, o->open_us + o->span_us, frame);
    o->open_us += o->span_us;
    return 1;
}

static int64_t end_of_partial(const Framer *f) {
    const Frame *o = &f->s->open;
    return f->framing.kind == BY_DURATION ? o->open_us + o->span_us
           : o->clock_us > o->open_us     ? o->clock_us
                                          : o->open_us;
}

/* Events into the open frame, up to number `end`, as far as it goes; why it stopped, or PLIF_WRONG. */
static int64_t collect(Framer *f, Batch *b, int64_t end) {
    FramerState *s = f->s;
    Frame *o = &s->open;
    float *counts = s->emitted >= f->most ? NULL : f->counts;
    const int64_t before = o->used;
    o->taken = o->filtered = o->late = o->invalid = o->not_shown = 0;
    const int64_t why = b->reader ? plif_evt3_collect(b->from, end * WORD, &b->at, b->reader, o, f->of_x, o->width,
                                                      f->of_y, o->height, f->of_p, counts)
                                  : plif_collect_both(b->from, end * EVENT, &b->at, o, f->of_x, o->width, f->of_y,
                                                      o->height, f->of_p, b->passed, counts,
                                                      f->framing.follow && counts ? &f->follow : NULL);
    if (why == PLIF_WRONG) return why;
    if (o->used > before) f->came_s = b->came_s;
    s->came += o->used - before + o->filtered + o->late + o->invalid;
    s->filtered += o->filtered;
    s->not_shown += o->not_shown;
    s->late += o->late;
    s->invalid += o->invalid;
    return why;
}

/* The same where a slice lasts from its first event to its last. */
static int64_t collect_slice(Framer *f, Batch *b, int64_t end) {
    FramerState *s = f->s;
    const int fresh = !s->open.seen;
    const int64_t why = collect(f, b, end);
    if (why == PLIF_WRONG || !s->open.taken) return why;
    if (fresh) s->open.open_us = s->open.first_us;
    s->last_us = s->open.last_us;
    return why;
}

static int owed(Framer *f, plif_input *frame) {
    f->s->owed--;
    memset(frame->x, 0, (size_t)f->cells * sizeof *frame->x);
    return tell(f, f->s->owed_us, f->s->owed_us, 0, frame);
}

static int feed_by_count(Framer *f, Batch *b, plif_input *frame) {
    FramerState *s = f->s;
    const int64_t T = f->framing.T, quota = f->extent.total / T;
    if (s->owed) return owed(f, frame);
    s->open.most_seen = s->emitted == T - 1 || !quota ? INT64_MAX : quota; /* the last slice takes the rest */
    const int64_t why = collect_slice(f, b, b->count);
    if (why == PLIF_WRONG) return PLIF_WRONG;
    if (s->open.taken && !quota && s->emitted < T - 1) { /* fewer events than slices: the first ones hold none */
        s->owed = T - 1 - s->emitted;
        s->owed_us = s->open.first_us;
        return owed(f, frame);
    }
    return why == FRAME_FULL ? emit(f, s->open.open_us, s->last_us, frame) : 0;
}

/* Slice j holds the events of [first + d j, first + d (j + 1)) by the latest time so far, the last one the rest. */
static int feed_by_time(Framer *f, Batch *b, plif_input *frame) {
    FramerState *s = f->s;
    const int64_t T = f->framing.T, first = f->extent.first_us,
                  span = (f->extent.last_us > first ? f->extent.last_us - first : 0) / T;
    int64_t end = b->at; /* of the events of the open slice */
    for (; end < b->count; end++) {
        const Event e = event_get((const uint8_t *)b->from + end * EVENT);
        if (e.x >= s->open.width || e.y >= s->open.height || (b->passed && b->passed[end] != PASSED)) continue;
        if (e.t > s->slice_us && e.t < T_LIMIT_US) s->slice_us = e.t;
        const int64_t place = span ? (s->slice_us - first) / span : T;
        if (s->emitted < (place < T ? place : T - 1)) break;
    }
    if (collect_slice(f, b, end) == PLIF_WRONG) return PLIF_WRONG;
    return end < b->count ? emit(f, s->open.seen ? s->open.open_us : s->last_us, s->last_us, frame) : 0;
}

static int feed_by_clock(Framer *f, Batch *b, plif_input *frame) {
    FramerState *s = f->s;
    Frame *o = &s->open;
    for (;;) {
        const int64_t why = collect(f, b, b->count);
        int got = 0;
        switch (why) {
        case PLIF_WRONG: return PLIF_WRONG;
        case ALL_TAKEN: return 0;
        case AT_GAP:
            if (o->seen) got = emit(f, o->open_us, end_of_partial(f), frame);
            s->discontinuities++;
            s->flags |= PLIF_GAP;
            o->has_clock = 0;
            if (got) return 1;
            break;
        case FRAME_FULL:
            emit(f, o->open_us, o->last_us, frame);
            o->open_us = o->last_us;
            return 1;
        default: return emit_whole(f, frame); /* the event that is beyond asks again, until the grid has come to it */
        }
    }
}

int plif_framer_feed(Framer *f, Batch *batch, plif_input *frame) {
    if (f->framing.kind == BY_COUNT) return feed_by_count(f, batch, frame);
    if (f->framing.kind == BY_TIME) return feed_by_time(f, batch, frame);
    return feed_by_clock(f, batch, frame);
}

int plif_framer_restart(Framer *f, int flags, plif_input *frame) {
    FramerState *s = f->s;
    const int got = s->open.seen && emit(f, s->open.open_us, end_of_partial(f), frame);
    s->flags |= flags;
    s->open.has_clock = 0;
    return got;
}

int plif_framer_follows(const Framer *f) {
    return f->s->open.gap_us && f->s->open.has_clock && f->s->emitted < f->most;
}

int plif_framer_tick(Framer *f, int64_t t_us, plif_input *frame) {
    FramerState *s = f->s;
    Frame *o = &s->open;
    if (plif_framer_follows(f) && t_us - o->open_us >= o->span_us) {
        if (!s->is_ticked) s->ticked_us = o->open_us;
        s->is_ticked = 1;
        return emit_whole(f, frame);
    }
    if (s->is_ticked && t_us > o->clock_us) o->clock_us = t_us;
    return 0;
}

/* An event that was delayed on its way is not late because of ticks: the grid steps back to it, as far as it went
 * on alone. */
int plif_framer_resume(Framer *f, int64_t t_us) {
    FramerState *s = f->s;
    Frame *o = &s->open;
    if (s->is_ticked && s->ticked_us <= t_us && t_us < o->open_us) {
        o->open_us -= (o->open_us - t_us + o->span_us - 1) / o->span_us * o->span_us;
        o->clock_us = t_us;
    }
    s->is_ticked = 0;
    return o->has_clock && t_us < o->open_us;
}

/* duration with T: as many frames as are missing. */
static int pad(Framer *f, plif_input *frame) {
    FramerState *s = f->s;
    Frame *o = &s->open;
    const int repeat = !f->framing.pad_zero;
    if (!s->is_padding) {
        s->is_padding = 1;
        if (s->emitted && repeat) { /* the partial frame is not used */
            s->filtered += o->used;
            memset(f->counts, 0, (size_t)f->cells * sizeof *f->counts);
            o->used = o->seen = s->flags = 0;
        } else if (s->emitted < f->framing.T) {
            return emit_whole(f, frame);
        }
    }
    if (s->emitted >= f->framing.T) return 0;
    if (!repeat) return emit_whole(f, frame);
    memcpy(frame->x, f->last, (size_t)f->cells * sizeof *frame->x);
    tell(f, o->open_us, o->open_us + o->span_us, 0, frame);
    o->open_us += o->span_us;
    return 1;
}

int plif_framer_close(Framer *f, plif_input *frame) {
    FramerState *s = f->s;
    const Frame *o = &s->open;
    if (s->owed) return owed(f, frame);
    if (is_whole(&f->framing))
        return s->emitted < f->framing.T ? emit(f, o->seen ? o->open_us : s->last_us, s->last_us, frame) : 0;
    if (f->framing.T) return pad(f, frame);
    return o->seen ? emit(f, o->open_us, end_of_partial(f), frame) : 0;
}

/* What the newer one shows and the older one does not is its newest piece; one that does not overlap is such a
 * piece as a whole. */
void plif_framer_join(const Framer *f, plif_input *newer, const plif_input *older) {
    const size_t bytes = (size_t)f->cells * sizeof *newer->x;
    if (newer->newest) {
        memcpy(newer->x, newer->newest, bytes);
        if (older->newest) add(newer->newest, older->newest, f->cells, f->framing.binary);
    }
    add(newer->x, older->x, f->cells, f->framing.binary);
    newer->start_us = older->start_us;
    if (!newer->events) newer->came_s = older->came_s;
    newer->events += older->events;
    newer->flags = older->flags | (newer->flags & PLIF_FOLLOWED);
}

static int near(int64_t t) { return -T_LIMIT_US - ((int64_t)1 << 60) < t && t < T_LIMIT_US + ((int64_t)1 << 60); }
static int count(int64_t n) { return 0 <= n && sane(n); }

/* Frames that never end, or without number, would follow another limit or another clock than an open frame can have. */
static int ends(const Framer *f, const FramerState *s) {
    const Frame *o = &s->open;
    return (f->framing.kind == BY_COUNT || o->most_seen == f->s->open.most_seen) && (!s->is_ticked || o->gap_us) &&
           (!o->gap_us || !o->has_clock || o->clock_us - o->open_us <= o->span_us + GAP_US);
}

static int counts(const Framer *f, const char *memory) {
    int fine = 1;
    for (int64_t i = plif_follow_floats(&f->follow); i < plif_framer_floats(f); i++, memory += sizeof(float)) {
        float value;
        memcpy(&value, memory, sizeof value);
        fine &= value >= 0 && value <= (float)T_LIMIT_US;
    }
    return fine && (!f->framing.follow || plif_follow_possible(&f->follow, memory));
}

int plif_framer_possible(const Framer *f, const FramerState *s, const char *memory) {
    const Frame *a = &s->open, *b = &f->s->open;
    const int64_t most = pieces_of(&f->framing) - 1;
    return a->width == b->width && a->height == b->height && a->cells == b->cells && a->gap_us == b->gap_us &&
           a->span_us == b->span_us && a->most_used == b->most_used && a->most_seen >= 0 && near(a->clock_us) &&
           near(a->open_us) && near(a->first_us) && near(a->last_us) && near(s->slice_us) && count(a->used) &&
           count(a->seen) && count(a->taken) && count(a->filtered) && count(a->late) && count(a->invalid) &&
           count(a->not_shown) && count(s->emitted) && near(s->last_us) && count(s->owed) &&
           (!f->framing.T || s->owed <= f->framing.T) && near(s->owed_us) &&
           !(s->flags & ~(int64_t)(PLIF_GAP | PLIF_AFRESH)) && near(s->ticked_us) && count(s->discontinuities) &&
           count(s->used) && count(s->filtered) && count(s->late) && count(s->invalid) && count(s->came) &&
           count(s->not_shown) && s->not_shown <= s->filtered && 0 <= s->pieces && s->pieces <= most &&
           0 <= s->next_piece && s->next_piece <= (most > 0 ? most - 1 : 0) && ends(f, s) && counts(f, memory);
}
