/* The grammar of --decide; tests/specification/decide.py says what each word means, and a test compares. */
#include "decide.h"
#include "../error.h"
#include "../text.h"

#include <math.h>

#define REFUSE(...) return plif_fail(PLIF_BAD_ARGUMENT, __VA_ARGS__)
#define EXPECTED \
    "expected sum, leak[:500ms], kofn[:3/5] or own[:80ms], then margin=, release=, idle=, (sum) exit= or (own) other= after commas"

enum { MARGIN, RELEASE, IDLE, EXIT, OTHER, KEYS };
static const char *const keys[KEYS] = {"margin", "release", "idle", "exit", "other"};

/* digits / 10^behind as the nearest double, as every correct reader of decimals gives it. */
static double nearest(int64_t digits, int behind) {
    uint64_t scale = 1;
    int shift = 0;
    for (int i = 0; i < behind; i++) scale *= 10;
    if (!digits) return 0;
    uint64_t q = (uint64_t)digits / scale, rest = (uint64_t)digits % scale;
    for (; !(q >> 60); shift++) {
        q = q << 1 | (rest * 2 >= scale);
        rest = rest * 2 % scale;
    }
    return ldexp((double)(q | (rest != 0)), -shift); /* q has 61 bits or more, and the last says that it is not exact */
}

/* "0.1", and of idle "2k", to a double; below zero where it is none. */
static double number(Text t, int thousands) {
    int64_t digits;
    int behind, k = t.n && t.at[t.n - 1] == 'k';
    t.n -= k;
    if ((k && !thousands) || plif_decimal(t, 9, &digits, &behind) != 1) return -1;
    return nearest(digits, behind) * (k ? 1000 : 1);
}

static int read_rule(const char *text, DecisionRule *r, Text first) {
    int colon, slash;
    const Text kind = plif_cut(&first, ':', &colon);
    if (plif_is_word(kind, "sum")) {
        r->kind = BY_SUM;
        if (first.n) REFUSE("--decide %.80s: %s", text, EXPECTED);
    } else if (plif_is_word(kind, "leak") || plif_is_word(kind, "own")) {
        r->kind = plif_is_word(kind, "own") ? BY_OWN : BY_LEAK;
        r->tau_us = first.n ? plif_text_us(first) : r->kind == BY_OWN ? 80000 : 500000;
        if (!r->tau_us) REFUSE("--decide %.80s: the time constant, '%.*s', " NO_TIME, text, SHORT(first));
    } else if (plif_is_word(kind, "kofn")) {
        const int given = first.n > 0;
        r->kind = BY_KOFN;
        const int64_t k = given ? plif_whole(plif_cut(&first, '/', &slash), 4) : 3,
                      n = given ? plif_whole(first, 4) : 5;
        if (k < 1 || n < k) REFUSE("--decide %.80s: %s", text, EXPECTED);
        r->k = (int)k;
        r->n = (int)n;
    } else {
        REFUSE("--decide %.80s: %s", text, EXPECTED);
    }
    return 0;
}

int plif_decide_parse(const char *text, DecisionRule *rule) {
    DecisionRule r = {.other = -1};
    double values[KEYS] = {0};
    unsigned given = 0;
    int more, equals;
    if (strnlen(text, MOST_TEXT) == MOST_TEXT) REFUSE("a rule of %d characters", MOST_TEXT);
    Text rest = text_of(text);
    const Text first = plif_cut(&rest, ',', &more);
    while (more) {
        const Text option = plif_strip(plif_cut(&rest, ',', &more));
        Text value = option;
        const Text key = plif_cut(&value, '=', &equals);
        int which = 0;
        while (which < KEYS && !plif_is_word(key, keys[which])) which++;
        if (!equals || which == KEYS || given >> which & 1)
            REFUSE("--decide %.80s: '%.*s' is not understood; %s", text, SHORT(option), EXPECTED);
        given |= 1u << which;
        if (which == OTHER) {
            r.other_us = plif_text_us(value);
            if (!r.other_us) REFUSE("--decide %.80s: other, '%.*s', " NO_TIME, text, SHORT(value));
        } else if (which == IDLE && plif_is_word(value, "auto")) {
            r.idle_auto = 1;
        } else {
            values[which] = number(value, which == IDLE);
            if (values[which] < 0)
                REFUSE("--decide %.80s: %s=%.*s: expected a number such as %s", text, keys[which], SHORT(value),
                       which == IDLE ? "2000 or 2k" : "0.1");
        }
    }
    const int failed = read_rule(text, &r, first);
    if (failed) return failed;
    const int own = r.kind == BY_OWN, released = (given & 1u << RELEASE) != 0;
    const double bound = own ? 1 : values[MARGIN];
    if (given >> OTHER & 1 && !own) REFUSE("--decide %.80s: other= belongs to own; %s", text, EXPECTED);
    if (r.kind == BY_KOFN && released && (values[RELEASE] != floor(values[RELEASE]) || values[RELEASE] > r.k))
        REFUSE("--decide %.80s: release= of kofn is a number of steps, from 0 to %d", text, r.k);
    if (values[MARGIN] > 1 || (r.kind != BY_KOFN && released && values[RELEASE] > bound))
        REFUSE("--decide %.80s: expected margin= from 0 to 1, and release= not above %s", text, own ? "1" : "it");
    if (given >> EXIT & 1 && (r.kind != BY_SUM || values[EXIT] <= 0))
        REFUSE("--decide %.80s: exit= is a share above 0, and belongs to sum", text);
    r.margin = own && !(given >> MARGIN & 1) ? 0.25 : values[MARGIN];
    r.release = released ? values[RELEASE] : own ? 0.05 : r.kind == BY_KOFN ? 0 : r.margin;
    r.idle_per_s = given >> IDLE & 1 && !r.idle_auto ? values[IDLE] : -1;
    r.exit_margin = values[EXIT];
    if (own && !r.other_us) r.other_us = 400000;
    *rule = r;
    return 0;
}

int plif_other_class(const char *const *names, int classes) {
    static const char *const others[] = {"other", "other gestures", "other_gestures"};
    for (int i = 0; i < classes; i++)
        for (int k = 0; k < 3; k++)
            if (!strcmp(names[i], others[k])) return i;
    return -1;
}

double plif_exit_lead(double margin, int voters, int T) { return margin * voters * T * (1 - 1e-6); }

void plif_decide_about(DecisionRule *rule, const char *const *names, int classes, int voters, int T) {
    rule->other = plif_other_class(names, classes);
    rule->exit_lead = plif_exit_lead(rule->exit_margin, voters, T);
}
