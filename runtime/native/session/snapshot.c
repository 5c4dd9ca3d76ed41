/* The whole state of a session as bytes: a header that says whose it is, what moves, and the arrays. */
#include "../error.h"
#include "session.h"

#include <string.h>

/* Version 7: cusum kept no votes for its score, so its snapshots are shorter. 6: without not_shown, where a time lay that
 * means nothing later. */
enum { RULES = 32, VERSION = 8, OLDEST = 6 };

typedef struct {
    char magic[8];
    int64_t version, bytes;
    uint8_t sha256[32];   /* of the file */
    int64_t rules[RULES]; /* framing, decision rule, reset policy */
} Header;

static int64_t bits(double value) {
    int64_t out;
    memcpy(&out, &value, sizeof out);
    return out;
}

/* A sum of the margins of all classes, and of a ceiling below 1. */
static int64_t margins_of(const DecisionRule *d) {
    uint64_t sum = (uint64_t)d->classes;
    for (int i = 0; i < d->classes; i++) sum = (sum ^ (uint64_t)bits(d->margins[i])) * 0x100000001B3u;
    if (d->most < 1) sum = (sum ^ (uint64_t)bits(d->most)) * 0x100000001B3u;
    return (int64_t)sum;
}

static Header header_of(const plif_session *s) {
    const Framing *f = &s->framing;
    const DecisionRule *d = &s->decider.rule;
    const ResetPolicy *r = &s->decider.policy;
    static const int resize[] = {[RESIZE_AUTO] = 0, [RESIZE_SUM] = 0, [RESIZE_CROP] = 1, [RESIZE_NEAREST] = 2};
    Header h = {"PLIFSNAP",
                VERSION,
                (int64_t)plif_snapshot_size(s),
                {0},
                {s->takes_events,
                 f->kind,
                 f->T,
                 f->duration_us,
                 f->every_us,
                 f->n,
                 f->max_us,
                 f->pad_zero,
                 f->binary,
                 f->swapped,
                 f->orientation,
                 s->turned,
                 resize[f->resize] | f->square << 2 | f->follow << 3,
                 s->framer.extent.total,
                 s->framer.extent.first_us,
                 s->framer.extent.last_us,
                 d->kind,
                 d->tau_us,
                 (int64_t)d->k << 32 | d->n,
                 bits(d->margin),
                 bits(d->release),
                 bits(d->idle_per_s),
                 d->idle_auto,
                 d->other_us,
                 bits(d->exit_margin + d->drift), /* no rule has both */
                 bits(d->soft),
                 margins_of(d),
                 r->kind,
                 r->every,
                 r->rows,
                 r->silence_us + r->tau_us,
                 s->filter}};
    if (s->model) memcpy(h.sha256, s->model->header->sha256, sizeof h.sha256);
    return h;
}

static size_t filtering(const plif_session *s) { return s->filters ? (size_t)plif_filters_bytes(s->filters) : 0; }

size_t plif_snapshot_size(const plif_session *s) {
    return sizeof(Header) + sizeof(Moving) + (size_t)s->bytes + filtering(s);
}

int plif_snapshot(const plif_session *s, void *bytes, size_t size) {
    plif_call_begins();
    if (!s || !bytes || size < plif_snapshot_size(s))
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_snapshot: too little room");
    const Header h = header_of(s);
    plif_session_settle(s);
    memcpy(bytes, &h, sizeof h);
    memcpy((char *)bytes + sizeof h, &s->moving, sizeof s->moving);
    memcpy((char *)bytes + sizeof h + sizeof s->moving, s->memory, (size_t)s->bytes);
    if (s->filters) plif_filters_keep(s->filters, (char *)bytes + sizeof h + sizeof s->moving + s->bytes);
    return PLIF_OK;
}

static int sound(const plif_session *s, const Moving *m, const char *memory) {
    return 0 <= m->taken && m->taken <= m->held && m->held <= (s->filters ? CHUNK : 0) &&
           plif_decider_possible(&s->decider, &m->deciding, memory + ((char *)s->decided - s->memory)) &&
           (!s->takes_events || plif_framer_possible(&s->framer, &m->framer, memory + ((char *)s->frames - s->memory)));
}

int plif_restore(plif_session *s, const void *bytes, size_t size) {
    plif_call_begins();
    if (!s || !bytes) return plif_fail(PLIF_BAD_ARGUMENT, "plif_restore: no bytes");
    const Header expected = header_of(s);
    Header h;
    Moving m;
    if (size < sizeof h) return plif_fail(PLIF_BAD_ARGUMENT, "plif_restore: %zu bytes are no snapshot", size);
    memcpy(&h, bytes, sizeof h);
    if (size != plif_snapshot_size(s))
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_restore: %zu bytes of version %lld; expected %zu of version %d", size,
                         (long long)h.version, plif_snapshot_size(s), VERSION);
    const int before = h.version == OLDEST;
    if (OLDEST <= h.version && h.version < VERSION) h.version = VERSION;
    if (memcmp(&h, &expected, sizeof h) != 0)
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_restore: of another file, or of a session with other options");
    memcpy(&m, (const char *)bytes + sizeof h, sizeof m);
    if (before) m.framer.not_shown = m.framer.open.not_shown = 0;
    const char *memory = (const char *)bytes + sizeof h + sizeof m;
    if (!sound(s, &m, memory)) return plif_fail(PLIF_BAD_ARGUMENT, "plif_restore: the snapshot was damaged");
    if (s->filters) TRY(plif_filters_restore(s->filters, memory + s->bytes));
    s->moving = m;
    plif_session_settle(s); /* nothing is owed to the membranes that come now */
    memcpy(s->memory, memory, (size_t)s->bytes);
    plif_framer_restored(&s->framer);
    return PLIF_OK;
}
