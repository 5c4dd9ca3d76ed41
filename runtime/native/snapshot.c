/* The whole state of a session as bytes: a header that says whose it is, what moves, and the arrays. */
#include "error.h"
#include "session.h"

#include <string.h>

enum { RULES = 28 };

typedef struct {
    char magic[8];
    int64_t version, bytes;
    uint8_t sha256[32];                 /* of the file */
    int64_t rules[RULES];               /* framing, decision rule, reset policy */
} Header;

static int64_t bits(double value) {
    int64_t out;
    memcpy(&out, &value, sizeof out);
    return out;
}

static Header header_of(const plif_session *s) {
    const Framing *f = &s->framing;
    const DecisionRule *d = &s->rule;
    const ResetPolicy *r = &s->policy;
    Header h = {"PLIFSNAP", 2, (int64_t)plif_snapshot_size(s), {0},
                {s->takes_events, f->kind, f->T, f->duration_us, f->every_us, f->n, f->max_us, f->pad_zero, f->binary, f->swapped,
                 f->orientation, f->crop, s->framer.extent.total, s->framer.extent.first_us, s->framer.extent.last_us, d->kind, d->tau_us, (int64_t)d->k << 32 | d->n, bits(d->margin),
                 bits(d->release), bits(d->idle_per_s), d->idle_auto, d->other_us, bits(d->exit_margin), r->kind, r->every, r->rows, r->silence_us + r->tau_us}};
    memcpy(h.sha256, s->model->header->sha256, sizeof h.sha256);
    return h;
}

size_t plif_snapshot_size(const plif_session *s) { return sizeof(Header) + sizeof(Moving) + (size_t)s->bytes; }

int plif_snapshot(const plif_session *s, void *bytes, size_t size) {
    if (!s || !bytes || size < plif_snapshot_size(s)) return plif_fail(PLIF_BAD_ARGUMENT, "plif_snapshot: too little room");
    const Header h = header_of(s);
    plif_session_settle(s);
    memcpy(bytes, &h, sizeof h);
    memcpy((char *)bytes + sizeof h, &s->moving, sizeof s->moving);
    memcpy((char *)bytes + sizeof h + sizeof s->moving, s->memory, (size_t)s->bytes);
    return PLIF_OK;
}

static int possible(const plif_session *s, const Moving *m) {
    const int64_t most = T_LIMIT_US * 2;
    const int classes = s->model->header->classes;
    if (s->takes_events && !plif_framer_possible(&s->framer, &m->framer)) return 0;
    for (int i = 0; i < s->rows; i++) {
        const Evidence *e = &m->rows[i].evidence;
        const ResetState *r = &m->rows[i].reset;
        if (e->answer < -1 || e->answer >= classes || e->recent < 0 || e->next < 0) return 0;
        if (m->rows[i].steps < 0 || m->rows[i].steps > m->step) return 0;
        if (e->recent > s->rule.n || (s->rule.n ? e->next >= s->rule.n : e->next)) return 0;
        if (r->steps < 0 || r->steps > most || r->silent_us < 0 || r->silent_us > most) return 0;
    }
    return -most <= m->previous_us && m->previous_us <= most && m->step >= 0 && m->step <= most;
}

int plif_restore(plif_session *s, const void *bytes, size_t size) {
    if (!s || !bytes) return plif_fail(PLIF_BAD_ARGUMENT, "plif_restore: no bytes");
    const Header expected = header_of(s);
    Header h;
    Moving m;
    if (size != plif_snapshot_size(s)) return plif_fail(PLIF_BAD_ARGUMENT, "plif_restore: %zu bytes; expected %zu", size, plif_snapshot_size(s));
    memcpy(&h, bytes, sizeof h);
    if (memcmp(&h, &expected, sizeof h))
        return plif_fail(PLIF_BAD_ARGUMENT, "plif_restore: of another file, or of a session with other options");
    memcpy(&m, (const char *)bytes + sizeof h, sizeof m);
    if (!possible(s, &m)) return plif_fail(PLIF_BAD_ARGUMENT, "plif_restore: the snapshot was damaged");
    s->moving = m;
    plif_session_settle(s);             /* nothing is owed to the membranes that come now */
    memcpy(s->memory, (const char *)bytes + sizeof h + sizeof m, (size_t)s->bytes);
    return PLIF_OK;
}
