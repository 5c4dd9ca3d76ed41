/* What a line of --decide says. tests/specification/decide.py reads it in plain Python, and a test compares. */
#include "../../error.h"
#include "../../text.h"
#include "decide.h"

#include <math.h>
#include <string.h>

#define REFUSE(...) return plif_fail(PLIF_BAD_ARGUMENT, __VA_ARGS__)
#define EXPECTED \
    "expected sum, leak[:500ms], kofn[:3/5], own[:80ms] or cusum[:300ms], then margin=, release=, soft=, idle=, (sum) exit=, (own, cusum) other= or (cusum) drift=, most= after commas"

enum { MARGIN, RELEASE, IDLE, EXIT, OTHER, SOFT, DRIFT, MOST, KEYS };
static const char *const keys[KEYS] = {"margin", "release", "idle", "exit", "other", "soft", "drift", "most"};

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
COLD static double number(Text t, int thousands) {
    int64_t digits;
    int behind, k = t.n && t.at[t.n - 1] == 'k';
    t.n -= k;
    if ((k && !thousands) || plif_decimal(t, 9, &digits, &behind) != 1) return -1;
    return nearest(digits, behind) * (k ? 1000 : 1);
}

/* "0.2/0.4/0.3", a margin for each class: gives the smallest; below zero where one is none. */
COLD static double margins(Text t, DecisionRule *r) {
    double least = 1;
    for (int more = 1; more;) {
        const double one = number(plif_strip(plif_cut(&t, '/', &more)), 0);
        if (one < 0 || one > 1 || r->classes == MOST_MARGINS) return -1;
        r->margins[r->classes++] = one;
        if (one < least) least = one;
    }
    return least;
}

/* What stands where nothing is said. A release below zero: the margin. */
static const struct {
    const char *name;
    int64_t tau_us;
    double margin, release, drift;
} defaults[] = {
    [BY_SUM] = {.name = "sum", .release = -1},
    [BY_LEAK] = {.name = "leak", .tau_us = 500000, .release = -1},
    [BY_KOFN] = {.name = "kofn"},
    [BY_OWN] = {.name = "own", .tau_us = 80000, .margin = 0.25, .release = 0.05},
    [BY_CUSUM] = {.name = "cusum", .tau_us = 300000, .margin = 0.05, .drift = 0.15},
};
enum { KINDS = sizeof defaults / sizeof *defaults };

COLD static int read_rule(const char *text, DecisionRule *r, Text first) {
    int colon, slash, known = 1;
    const Text kind = plif_cut(&first, ':', &colon);
    for (r->kind = 0; r->kind < KINDS && !plif_is_word(kind, defaults[r->kind].name);) r->kind++;
    if (r->kind == BY_SUM) {
        known = !first.n;
    } else if (r->kind == BY_KOFN) {
        const int given = first.n > 0;
        const int64_t k = given ? plif_whole(plif_cut(&first, '/', &slash), 4) : 3,
                      n = given ? plif_whole(first, 4) : 5;
        known = k >= 1 && n >= k;
        r->k = (int)k;
        r->n = (int)n;
    } else if (r->kind < KINDS) {
        r->tau_us = first.n ? plif_text_us(first) : defaults[r->kind].tau_us;
        if (!r->tau_us) REFUSE("--decide %.80s: the time constant, '%.*s', " NO_TIME, text, SHORT(first));
    }
    if (!known || r->kind == KINDS) REFUSE("--decide %.80s: %s", text, EXPECTED);
    return 0;
}

COLD int plif_decide_parse(const char *text, DecisionRule *rule) {
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
            const int each = which == MARGIN && value.n && memchr(value.at, '/', (size_t)value.n);
            values[which] = each ? margins(value, &r) : number(value, which == IDLE);
            if (values[which] < 0)
                REFUSE("--decide %.80s: %s=%.*s: expected %s", text, keys[which], SHORT(value),
                       each            ? "a margin from 0 to 1 for each class, such as 0.2/0.4/0.3, of 128 at most"
                       : which == IDLE ? "a number such as 2000 or 2k"
                                       : "a number such as 0.1");
        }
    }
    TRY(read_rule(text, &r, first));
    const int drifts = r.kind == BY_CUSUM, held = r.kind == BY_OWN || drifts;
    const int released = (given & 1u << RELEASE) != 0;
    const double bound = held ? 1 : values[MARGIN];
    if (given >> OTHER & 1 && !held) REFUSE("--decide %.80s: other= belongs to own and cusum; %s", text, EXPECTED);
    if (given >> DRIFT & 1 && (!drifts || values[DRIFT] > 1))
        REFUSE("--decide %.80s: drift= is a share from 0 to 1, and belongs to cusum", text);
    if (given >> MOST & 1 && (!drifts || values[MOST] > 1 || values[MOST] <= 0))
        REFUSE("--decide %.80s: most= is above 0, at most 1, and belongs to cusum", text);
    if (r.kind == BY_KOFN && released && (values[RELEASE] != floor(values[RELEASE]) || values[RELEASE] > r.k))
        REFUSE("--decide %.80s: release= of kofn is a number of steps, from 0 to %d", text, r.k);
    if (given >> SOFT & 1 && (r.kind == BY_KOFN || values[SOFT] > 1))
        REFUSE("--decide %.80s: soft= is a share from 0 to 1, and kofn has none", text);
    if (values[MARGIN] > 1 || (r.kind != BY_KOFN && released && values[RELEASE] > bound))
        REFUSE("--decide %.80s: expected margin= from 0 to 1, and release= not above %s", text, held ? "1" : "it");
    if (given >> EXIT & 1 && (r.kind != BY_SUM || values[EXIT] <= 0))
        REFUSE("--decide %.80s: exit= is a share above 0, and belongs to sum", text);
    r.margin = given >> MARGIN & 1 ? values[MARGIN] : defaults[r.kind].margin;
    r.release = released ? values[RELEASE] : defaults[r.kind].release < 0 ? r.margin : defaults[r.kind].release;
    r.drift = given >> DRIFT & 1 ? values[DRIFT] : defaults[r.kind].drift;
    r.idle_per_s = given >> IDLE & 1 && !r.idle_auto ? values[IDLE] : -1;
    r.most = given >> MOST & 1 ? values[MOST] : 1;
    r.exit_margin = values[EXIT];
    r.soft = given >> SOFT & 1 ? values[SOFT] : -1;
    if (held && !r.other_us) r.other_us = 400000;
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

/* By how many votes an answer must lead to end a sample early. A millionth less, since a margin is written in
 * decimals: 0.1666667 of 60 is 10. */
double plif_exit_lead(double margin, int voters, int T) { return margin * voters * T * (1 - 1e-6); }

int plif_decide_about(DecisionRule *rule, const char *const *names, int classes, int voters, int T) {
    if (rule->classes && rule->classes != classes)
        REFUSE("--decide: margin= has %d numbers; expected one, or one for each of %d classes", rule->classes, classes);
    rule->other = plif_other_class(names, classes);
    rule->exit_lead = plif_exit_lead(rule->exit_margin, voters, T);
    return 0;
}
