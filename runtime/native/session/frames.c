/* Events to frames, for a network that runs elsewhere. */
#include "../formats/evt3.h"
#include "../error.h"
#include "session.h"

/* Whether a call may give frames, to a place of this layout. */
static int may_frame(const plif_session *s, const plif_input *frame, const char *what) {
    TRY(plif_session_takes(s, frame, what));
    if (size_check(frame->size, "plif_input", "PLIF_INPUT")) return PLIF_BAD_ARGUMENT;
    if (frame->size < (s->framing.follow ? sizeof *frame : offsetof(plif_input, window)) || !frame->x ||
        (uintptr_t)frame->x % sizeof *frame->x)
        return plif_fail(PLIF_BAD_ARGUMENT, "%s: plif_input.x: expected room for a frame", what);
    return s->model ? plif_fail(PLIF_UNSUPPORTED, "%s: this session has a network of its own", what) : 0;
}

/* What a call of the framer gave: nothing, a code below zero, or a frame. */
static int given(plif_session *s, int got, const plif_input *frame) {
    if (got <= 0) return got;
    s->moving.framer.used += frame->events;
    return PLIF_FRAMED;
}

static int feed(plif_session *s, Batch *batch, plif_input *frame, const char *what) {
    TRY(plif_session_goes_on(s, what));
    return given(s, plif_session_feed(s, batch, frame, what), frame);
}

int plif_frame_events(plif_session *s, plif_packet *packet, plif_input *frame) {
    TRY(may_frame(s, frame, "plif_frame_events"));
    if (packet && size_check(packet->size, "plif_packet", "PLIF_PACKET")) return PLIF_BAD_ARGUMENT;
    if (!packet || packet->size < sizeof *packet || (!packet->events && packet->count) ||
        packet->taken > packet->count || !sane((int64_t)packet->count))
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_frame_events: a packet with its events is needed");
    Batch batch = {packet->events, (int64_t)packet->count, (int64_t)packet->taken, packet->passed,
                   NULL,           packet->came_s};
    const int got = feed(s, &batch, frame, "plif_frame_events");
    packet->taken = (size_t)batch.at;
    return got;
}

int plif_frame_words(plif_session *s, const uint16_t *words, int64_t count, int64_t *at, Evt3Reader *reader,
                     double came_s, plif_input *frame) {
    TRY(may_frame(s, frame, "plif_frame_words"));
    if (is_whole(&s->framing) || s->filters || s->framing.follow)
        return plif_fail(PLIF_BAD_ARGUMENT,
                         "plif_frame_words: without filters and follow=on, and of a framing that follows the clock");
    Batch batch = {words, count, *at, NULL, reader, came_s};
    const int got = feed(s, &batch, frame, "plif_frame_words");
    *at = batch.at;
    return got;
}

int plif_frame_tick(plif_session *s, int64_t t_us, plif_input *frame) {
    TRY(may_frame(s, frame, "plif_frame_tick"));
    if (!possible(t_us)) return plif_fail(PLIF_BAD_ARGUMENT, "plif_frame_tick: %lld us is no time", (long long)t_us);
    return s->moving.framer.is_closed ? PLIF_OK : given(s, plif_framer_tick(&s->framer, t_us, frame), frame);
}

int plif_frame_finish(plif_session *s, plif_input *frame) {
    TRY(may_frame(s, frame, "plif_frame_finish"));
    s->moving.framer.is_closed = 1;
    return given(s, plif_framer_close(&s->framer, frame), frame);
}

int plif_frame_restart(plif_session *s, int flags, plif_input *frame) {
    TRY(may_frame(s, frame, "plif_frame_restart"));
    return given(s, plif_framer_restart(&s->framer, flags & (PLIF_GAP | PLIF_AFRESH), frame), frame);
}

int plif_resume(plif_session *s, int64_t t_us) {
    TRY(plif_session_takes(s, s, "plif_resume"));
    return possible(t_us) ? plif_framer_resume(&s->framer, t_us) : 0;
}

int plif_join(const plif_session *s, plif_input *newer, const plif_input *older) {
    TRY(plif_session_takes(s, older, "plif_join"));
    if (!newer || !newer->x || !older->x)
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_join: two frames with their x are needed");
    plif_framer_join(&s->framer, newer, older);
    return PLIF_OK;
}

int plif_filter_note(const plif_session *s, int number, char *text, size_t bytes) {
    return s && s->filters && text && bytes && number >= 0 ? plif_filters_note(s->filters, number, text, bytes) : 0;
}

int plif_time_of(const plif_session *s, plif_time *t) {
    TRY(plif_session_takes(s, t, "plif_time_of"));
    if (size_check(t->size, "plif_time", "PLIF_TIME")) return PLIF_BAD_ARGUMENT;
    const FramerState *f = &s->moving.framer;
    const Frame *o = &f->open;
    plif_time said = {t->size, o->clock_us, o->open_us, o->used, f->discontinuities, 0, 0};
    said.follows_clock = !is_whole(&s->framing);
    said.is_known = plif_framer_follows(&s->framer);
    size_copy(t, &said, t->size, sizeof said);
    return PLIF_OK;
}
