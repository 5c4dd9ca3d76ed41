/*     sum     E = E + c                   W = W + 1
 *     leak    E = E exp(-dt/tau) + c      W = W exp(-dt/tau) + 1
 *     kofn    the class that won k of the last n steps
 *     own     as leak, and an answer stands on its own evidence
 *
 * c: whole votes of a step. Memory: of sum, leak and own E [classes]; of kofn, for each of n steps, its winner and c [classes].
 * Ties go to the lowest class. docs/live.md has the meaning of margin, release, exit and idle.
 * tests/specification/decide.py says what each word of the grammar means, and a test compares. */
#include "decide.h"
#include "../../error.h"
#include "../../text.h"

#include <math.h>
#include <string.h>

enum { BY_SUM, BY_LEAK, BY_KOFN, BY_OWN };

#define LEAST_SHARE 0.05 /* of a class's possible spikes: with less there is no evidence for it */

int64_t plif_evidence_doubles(const DecisionRule *r, int classes) {
    return r->kind == BY_KOFN ? (int64_t)r->n * (1 + classes) : classes;
}

/* The first of the largest; -1 where all are zero. */
static int winner_of(const double *e, int classes) {
    int best = 0, any = 0;
    for (int i = 0; i < classes; i++) {
        any |= e[i] != 0;
        if (e[i] > e[best]) best = i;
    }
    return any ? best : -1;
}

/* By how much class `one` leads the best other class; below zero where another leads. */
static double lead(const double *e, int classes, int one) {
    double most = classes > 1 ? -INFINITY : 0;
    for (int i = 0; i < classes; i++)
        if (i != one && e[i] > most) most = e[i];
    return e[one] - most;
}

/* How far the first class is before the second. */
static double first_lead(const double *e, int classes) {
    int first = 0;
    for (int i = 1; i < classes; i++)
        if (e[i] > e[first]) first = i;
    return lead(e, classes, first);
}

static double margin_of(const DecisionRule *r, int one) { return r->classes ? r->margins[one] : r->margin; }

/* For samples that were run as a whole, sums [rows][classes] of their votes: how far the first class is before the
 * second, and the answer of `sum` where so many were possible [rows]; -1 for none. */
void plif_leads(const double *sums, int64_t rows, int classes, double *leads) {
    for (int64_t i = 0; i < rows; i++) leads[i] = first_lead(sums + i * classes, classes);
}

void plif_answers(const double *sums, int64_t rows, int classes, const double *possible, double margin,
                  int64_t *answers) {
    for (int64_t i = 0; i < rows; i++, sums += classes) {
        const int winner = winner_of(sums, classes);
        answers[i] = winner >= 0 && (margin == 0 || lead(sums, classes, winner) / possible[i] >= margin) ? winner : -1;
    }
}

/* E and W after a step. */
static void add_votes(const DecisionRule *r, Evidence *e, double *sum, int classes, const double *c, int64_t dt_us) {
    if (r->tau_us) plif_evidence_fade(r, e, sum, classes, exp(-(double)(dt_us > 0 ? dt_us : 0) / (double)r->tau_us));
    for (int i = 0; i < classes; i++) sum[i] += c[i];
    e->weight += 1;
}

static void add_fading(const DecisionRule *r, Evidence *e, double *sum, int classes, int voters, const double *c,
                       int64_t dt_us) {
    if (e->is_final) return;
    add_votes(r, e, sum, classes, c, dt_us);
    const double possible = voters * e->weight;
    const int winner = winner_of(sum, classes);
    if (winner >= 0 && (margin_of(r, winner) == 0 || lead(sum, classes, winner) / possible >= margin_of(r, winner)))
        e->answer = winner;
    else if (e->answer >= 0 && (winner < 0 || lead(sum, classes, (int)e->answer) / possible < r->release))
        e->answer = -1;
    e->share = e->answer < 0 ? 0 : sum[e->answer] / possible;
    e->is_final = r->exit_lead > 0 && e->answer >= 0 && first_lead(sum, classes) >= r->exit_lead;
}

/* `own`, with s = E / (voters W), w the class with the most evidence, lead = s_w - the second's:
 *     enter   w is no "other" and leads by margin: it becomes the answer at once, also in place of another
 *     stay    whatever leads, until the answer's own s is below release, and "other" is not about to take over
 *     other   when it has led by margin for `other` on end, it becomes the answer; a step counts for half of that at most, since the gap before
 *             it is no lead */
static void add_held(const DecisionRule *r, Evidence *e, double *sum, int classes, int voters, const double *c,
                     int64_t dt_us) {
    add_votes(r, e, sum, classes, c, dt_us);
    const double possible = voters * e->weight;
    int winner = 0;
    double second = classes > 1 ? -INFINITY : 0;
    for (int i = 1; i < classes; i++)
        if (sum[i] / possible > sum[winner] / possible) winner = i;
    for (int i = 0; i < classes; i++)
        if (i != winner && sum[i] / possible > second) second = sum[i] / possible;
    const double share = sum[winner] / possible;
    const int leads = share > 0 && share - second >= margin_of(r, winner);
    const int other_leads = leads && winner == r->other;
    e->other_us = other_leads ? e->other_us + fmin(dt_us > 0 ? (double)dt_us : 0, (double)r->other_us / 2) : 0;
    if (leads && winner != e->answer && winner != r->other)
        e->answer = winner;
    else if (other_leads && e->other_us >= (double)r->other_us)
        e->answer = r->other;
    else if (e->answer >= 0 && sum[e->answer] / possible < r->release && !other_leads)
        e->answer = -1;
    e->share = e->answer < 0 ? 0 : sum[e->answer] / possible;
}

static int wins(const Evidence *e, const double *memory, int64_t size, int64_t one) {
    int n = 0;
    for (int64_t i = 0; i < e->recent; i++) n += memory[i * size] == (double)one;
    return n;
}

static void add_kofn(const DecisionRule *r, Evidence *e, double *memory, int classes, int voters, const double *c) {
    const int64_t size = 1 + classes;
    int winner = winner_of(c, classes);
    if (winner >= 0 && margin_of(r, winner) != 0 && lead(c, classes, winner) / voters < margin_of(r, winner))
        winner = -1;
    double *step = memory + e->next * size;
    step[0] = winner;
    memcpy(step + 1, c, (size_t)classes * sizeof *c);
    e->next = (e->next + 1) % r->n;
    e->recent += e->recent < r->n;
    if (winner >= 0 && wins(e, memory, size, winner) >= r->k)
        e->answer = winner;
    else if (e->answer >= 0 && wins(e, memory, size, e->answer) < r->release)
        e->answer = -1;
    double spikes = 0;
    const int64_t oldest = e->recent < r->n ? 0 : e->next;
    for (int64_t i = 0; i < e->recent && e->answer >= 0; i++)
        spikes += memory[(oldest + i) % r->n * size + 1 + e->answer];
    e->share = spikes / (double)((int64_t)voters * e->recent);
}

void plif_evidence_add(const DecisionRule *r, Evidence *e, double *memory, int classes, int voters, const double *c,
                       int64_t dt_us) {
    if (r->kind == BY_KOFN)
        add_kofn(r, e, memory, classes, voters, c);
    else if (r->kind == BY_OWN)
        add_held(r, e, memory, classes, voters, c, dt_us);
    else
        add_fading(r, e, memory, classes, voters, c, dt_us);
}

void plif_evidence_fade(const DecisionRule *r, Evidence *e, double *memory, int classes, double factor) {
    if (r->kind == BY_KOFN) return; /* the last n steps are what they are */
    for (int i = 0; i < classes; i++) memory[i] *= factor;
    e->weight *= factor;
}

void plif_evidence_reset(const DecisionRule *r, Evidence *e, double *memory, int classes) {
    *e = (Evidence){.answer = -1};
    memset(memory, 0, (size_t)plif_evidence_doubles(r, classes) * sizeof *memory);
}

/* sum, leak, own: the first class, where it leads by half of its margin (or by soft=); kofn: who won the last step. */
int plif_evidence_soft(const DecisionRule *r, const Evidence *e, const double *memory, int classes, int voters) {
    if (r->kind == BY_KOFN) return e->recent ? (int)memory[(e->next + r->n - 1) % r->n * (1 + classes)] : -1;
    const int winner = winner_of(memory, classes);
    if (winner < 0) return -1;
    const double least = r->soft >= 0 ? r->soft : margin_of(r, winner) / 2;
    return least == 0 || lead(memory, classes, winner) / (voters * e->weight) >= least ? winner : -1;
}

int plif_evidence_any(const DecisionRule *r, const Evidence *e, const double *memory, int classes, int voters) {
    if (r->kind == BY_KOFN) return e->answer >= 0 && e->answer != r->other;
    const double possible = voters * e->weight;
    for (int i = 0; i < classes; i++)
        if (i != r->other && memory[i] / (possible > 1e-9 ? possible : 1e-9) >= LEAST_SHARE) return 1;
    return 0;
}

/* --- the text of --decide --- */

#define REFUSE(...) return plif_fail(PLIF_BAD_ARGUMENT, __VA_ARGS__)
#define EXPECTED \
    "expected sum, leak[:500ms], kofn[:3/5] or own[:80ms], then margin=, release=, soft=, idle=, (sum) exit= or (own) other= after commas"

enum { MARGIN, RELEASE, IDLE, EXIT, OTHER, SOFT, KEYS };
static const char *const keys[KEYS] = {"margin", "release", "idle", "exit", "other", "soft"};

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

/* "0.2/0.4/0.3", a margin for each class: gives the smallest; below zero where one is none. */
static double margins(Text t, DecisionRule *r) {
    double least = 1;
    for (int more = 1; more;) {
        const double one = number(plif_strip(plif_cut(&t, '/', &more)), 0);
        if (one < 0 || one > 1 || r->classes == MOST_MARGINS) return -1;
        r->margins[r->classes++] = one;
        if (one < least) least = one;
    }
    return least;
}

static int read_rule(const char *text, DecisionRule *r, Text first) {
    int colon, slash, known = 1;
    const Text kind = plif_cut(&first, ':', &colon);
    if (plif_is_word(kind, "sum")) {
        r->kind = BY_SUM;
        known = !first.n;
    } else if (plif_is_word(kind, "leak") || plif_is_word(kind, "own")) {
        r->kind = plif_is_word(kind, "own") ? BY_OWN : BY_LEAK;
        r->tau_us = first.n ? plif_text_us(first) : r->kind == BY_OWN ? 80000 : 500000;
        if (!r->tau_us) REFUSE("--decide %.80s: the time constant, '%.*s', " NO_TIME, text, SHORT(first));
    } else if (plif_is_word(kind, "kofn")) {
        const int given = first.n > 0;
        r->kind = BY_KOFN;
        const int64_t k = given ? plif_whole(plif_cut(&first, '/', &slash), 4) : 3,
                      n = given ? plif_whole(first, 4) : 5;
        known = k >= 1 && n >= k;
        r->k = (int)k;
        r->n = (int)n;
    } else {
        known = 0;
    }
    if (!known) REFUSE("--decide %.80s: %s", text, EXPECTED);
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
    const int own = r.kind == BY_OWN, released = (given & 1u << RELEASE) != 0;
    const double bound = own ? 1 : values[MARGIN];
    if (given >> OTHER & 1 && !own) REFUSE("--decide %.80s: other= belongs to own; %s", text, EXPECTED);
    if (r.kind == BY_KOFN && released && (values[RELEASE] != floor(values[RELEASE]) || values[RELEASE] > r.k))
        REFUSE("--decide %.80s: release= of kofn is a number of steps, from 0 to %d", text, r.k);
    if (given >> SOFT & 1 && (r.kind == BY_KOFN || values[SOFT] > 1))
        REFUSE("--decide %.80s: soft= is a share from 0 to 1, and belongs to sum, leak and own", text);
    if (values[MARGIN] > 1 || (r.kind != BY_KOFN && released && values[RELEASE] > bound))
        REFUSE("--decide %.80s: expected margin= from 0 to 1, and release= not above %s", text, own ? "1" : "it");
    if (given >> EXIT & 1 && (r.kind != BY_SUM || values[EXIT] <= 0))
        REFUSE("--decide %.80s: exit= is a share above 0, and belongs to sum", text);
    r.margin = own && !(given >> MARGIN & 1) ? 0.25 : values[MARGIN];
    r.release = released ? values[RELEASE] : own ? 0.05 : r.kind == BY_KOFN ? 0 : r.margin;
    r.idle_per_s = given >> IDLE & 1 && !r.idle_auto ? values[IDLE] : -1;
    r.exit_margin = values[EXIT];
    r.soft = given >> SOFT & 1 ? values[SOFT] : -1;
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
