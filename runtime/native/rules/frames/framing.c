/* The grammar of framing; tests/specification/framing.py says what each word means, and a test compares. */
#include "framing.h"
#include "../../error.h"
#include "../../text.h"
#include "../follow/follow.h"

enum { MOST_T = 4096, MOST_PIECES = 100 };
#define MOST_N ((int64_t)1 << 40)
#define MOST_KEPT ((int64_t)1 << 28)

enum option { T, N, MAX, EVERY, PAD, FOLLOW, VALUE, POLARITY, ORIENTATION, RESIZE, SHAPE, OPTIONS };
static const char *const option_names[OPTIONS] = {"T",     "n",        "max",         "every",  "pad",  "follow",
                                                  "value", "polarity", "orientation", "resize", "shape"};
static const char *const choices[OPTIONS][5] = {
    [PAD] = {"repeat", "zero"},
    [FOLLOW] = {"off", "on"},
    [VALUE] = {"count", "binary"},
    [POLARITY] = {"stored", "swapped"},
    [ORIENTATION] = {"stored", "upright", "sj", "paper"},
    [RESIZE] = {"auto", "nearest", "sum", "crop"},
    [SHAPE] = {"stretch", "square"},
};
static const struct {
    const char *name, *example, *options;
    unsigned own; /* bits of the options that only some kinds have */
} kinds[FRAMINGS] = {
    {"count", "count:T=20", "T", 1u << T},
    {"duration", "duration:10ms", "every, T, pad, follow", 1u << T | 1u << EVERY | 1u << PAD | 1u << FOLLOW},
    {"events", "events:n=5000,max=20ms", "n, max", 1u << N | 1u << MAX},
    {"time", "time:T=16", "T", 1u << T},
};
#define VIEW "value, polarity, orientation, resize, shape"

#define REFUSE(...) return plif_fail(PLIF_BAD_ARGUMENT, __VA_ARGS__)

static int read_option(const char *text, Framing *f, unsigned *given, Text part) {
    int equals, which = 0;
    Text value = part;
    const Text name = plif_strip(plif_cut(&value, '=', &equals));
    value = plif_strip(value);
    while (which < OPTIONS && !plif_is_word(name, option_names[which])) which++;
    if (!equals || which == OPTIONS || (which <= FOLLOW && !(kinds[f->kind].own >> which & 1)))
        REFUSE("framing '%.80s': '%.*s' is no option of %s; expected %s, %s as name=value", text, SHORT(part),
               kinds[f->kind].name, kinds[f->kind].options, VIEW);
    if (*given >> which & 1) REFUSE("framing '%.80s': '%s' is given twice", text, option_names[which]);
    *given |= 1u << which;
    if (which == T || which == N) {
        const int64_t number = plif_whole(value, 15), most = which == T ? MOST_T : MOST_N;
        if (number < 1 || number > most)
            REFUSE("framing '%.80s': %s='%.*s' is not a whole number from 1 to %lld", text, option_names[which],
                   SHORT(value), (long long)most);
        *(which == T ? &f->T : &f->n) = number;
        return 0;
    }
    if (which == MAX || which == EVERY) {
        const int64_t us = plif_text_us(value);
        if (!us) REFUSE("framing '%.80s': %s, '%.*s', " NO_TIME, text, option_names[which], SHORT(value));
        *(which == MAX ? &f->max_us : &f->every_us) = us;
        return 0;
    }
    int choice = 0;
    while (choices[which][choice] && !plif_is_word(value, choices[which][choice])) choice++;
    if (!choices[which][choice])
        REFUSE("framing '%.80s': %s='%.*s' is not known; expected %s=%s|%s%s%s%s%s", text, option_names[which],
               SHORT(value), option_names[which], choices[which][0], choices[which][1], choice > 2 ? "|" : "",
               choice > 2 ? choices[which][2] : "", choice > 2 ? "|" : "", choice > 2 ? choices[which][3] : "");
    int *const fields[OPTIONS] = {[PAD] = &f->pad_zero,     [FOLLOW] = &f->follow,           [VALUE] = &f->binary,
                                  [POLARITY] = &f->swapped, [ORIENTATION] = &f->orientation, [RESIZE] = &f->resize,
                                  [SHAPE] = &f->square};
    *fields[which] = choice;
    return 0;
}

/* As plif_text_us, for callers. */
int64_t plif_time_us(const char *text) { return plif_text_us(text_of(text)); }

COLD void plif_framing_settle(Framing *f, int native) {
    if (f->resize == RESIZE_AUTO) f->resize = f->binary && native ? RESIZE_NEAREST : RESIZE_SUM;
}

int plif_framing_room(const Framing *f, int64_t cells) {
    const int64_t pieces = pieces_of(f);
    if (pieces * cells <= MOST_KEPT) return 0;
    return plif_fail(
        PLIF_NO_MEMORY,
        "frames that overlap would keep %lld times %lld numbers; expected at most %lld: take fewer parts (every=)",
        (long long)pieces, (long long)cells, (long long)MOST_KEPT);
}

COLD int plif_framing_parse(const char *text, Framing *framing) {
    Framing f = {0};
    int colon, more = 0;
    unsigned given = 0;
    if (strnlen(text, MOST_TEXT) == MOST_TEXT) REFUSE("a framing of %d characters", MOST_TEXT);
    Text rest = plif_strip(text_of(text));
    const Text kind = plif_cut(&rest, ':', &colon);
    while (f.kind < FRAMINGS && !plif_is_word(kind, kinds[f.kind].name)) f.kind++;
    if (f.kind == FRAMINGS)
        REFUSE("framing '%.80s': '%.*s' is no kind of framing; expected %s, %s, %s, %s", text, SHORT(kind),
               kinds[0].example, kinds[1].example, kinds[2].example, kinds[3].example);
    int any = plif_strip(rest).n > 0;
    if (f.kind == BY_DURATION) {
        const Text length = any ? plif_strip(plif_cut(&rest, ',', &more)) : (Text){"", 0};
        if (!any || (length.n && memchr(length.at, '=', (size_t)length.n)))
            REFUSE("framing '%.80s': the length of a frame must follow 'duration:', as in %s", text, kinds[1].example);
        f.duration_us = plif_text_us(length);
        if (!f.duration_us) REFUSE("framing '%.80s': the length of a frame, '%.*s', " NO_TIME, text, SHORT(length));
        any = more;
    }
    while (any) {
        const Text part = plif_strip(plif_cut(&rest, ',', &any));
        TRY(read_option(text, &f, &given, part));
    }
    if (is_whole(&f) && !f.T) REFUSE("framing '%.80s': T= is missing; expected as in %s", text, kinds[f.kind].example);
    if (f.kind == BY_EVENTS && (!f.n || !f.max_us))
        REFUSE("framing '%.80s': %s= is missing; expected as in %s", text, f.n ? "max" : "n", kinds[2].example);
    if (given >> PAD & 1 && !f.T)
        REFUSE("framing '%.80s': pad=%s needs T=: without T nothing is padded", text, choices[PAD][f.pad_zero]);
    if (f.every_us &&
        (f.duration_us % f.every_us || f.duration_us == f.every_us || f.duration_us / f.every_us > MOST_PIECES))
        REFUSE(
            "framing '%.80s': every= must divide the length of a frame into 2 to %d parts; expected as in duration:40ms,every=10ms",
            text, MOST_PIECES);
    if (f.follow && (f.T || f.resize == RESIZE_CROP || step_of(&f) != FOLLOW_STEP_US))
        REFUSE(
            "framing '%.80s': follow=on takes a step of 20 ms, without T= and resize=crop; expected as in duration:40ms,every=20ms,follow=on",
            text);
    *framing = f;
    return 0;
}
