/*     sum     E = E + c                   W = W + 1
 *     leak    E = E exp(-dt/tau) + c      W = W exp(-dt/tau) + 1
 *     kofn    the class that won k of the last n steps
 *
 * c: whole votes of a step. Memory: of sum and leak E [classes]; of kofn, for each of n steps, its winner and c [classes].
 * Ties go to the lowest class. runtime/stream/decide.py has the meaning of margin, release and idle. */
#include "decide.h"
#include "error.h"
#include "text.h"

#include <math.h>

#define REFUSE(...) return plif_fail(PLIF_BAD_ARGUMENT, __VA_ARGS__)
#define EXPECTED "expected sum, leak[:500ms] or kofn[:3/5], then margin=, release= or idle= after commas"

/* digits / 10^behind as the nearest double, as every correct reader of decimals gives it. */
static double nearest(int64_t digits, int behind) {
    unsigned __int128 scale = 1, n = (unsigned __int128)digits;
    int shift = 0;
    for (int i = 0; i < behind; i++) scale *= 10;
    if (!digits) return 0;
    for (; !(n >> 126); shift++) n <<= 1;
    const unsigned __int128 q = n / scale;
    return ldexp((double)(q | (n % scale != 0)), -shift);       /* q has 96 bits or more, and the last says that it is not exact */
}

/* "0.1", and of idle "2k", to a double; below zero where it is none. */
static double number(Text t, int thousands) {
    int64_t digits;
    int behind, k = t.n && t.at[t.n - 1] == 'k';
    t.n -= k;
    if ((k && !thousands) || decimal(t, 9, &digits, &behind) != 1) return -1;
    return nearest(digits, behind) * (k ? 1000 : 1);
}

/* What `plif stream` has and this library does not. */
static int not_here(const char *text, Text what) {
    return plif_fail(PLIF_UNSUPPORTED, "--decide %.80s: '%.*s' is not in this library; %s", text, what.n, what.at, EXPECTED);
}

static int read_rule(const char *text, DecisionRule *r, Text first) {
    int colon, slash;
    const Text kind = cut(&first, ':', &colon);
    if (is_word(kind, "sum")) {
        r->kind = BY_SUM;
        if (first.n) REFUSE("--decide %.80s: %s", text, EXPECTED);
    } else if (is_word(kind, "leak")) {
        r->kind = BY_LEAK;
        r->tau_us = first.n ? time_us(first) : 500000;
        if (!r->tau_us)
            REFUSE("--decide %.80s: the time constant, '%.*s', is not a time; expected a number with us, ms or s, as 10ms", text, first.n, first.at);
    } else if (is_word(kind, "kofn")) {
        const int given = first.n > 0;
        r->kind = BY_KOFN;
        const int64_t k = given ? whole(cut(&first, '/', &slash), 4) : 3, n = given ? whole(first, 4) : 5;
        if (k < 1 || n < k) REFUSE("--decide %.80s: %s", text, EXPECTED);
        r->k = (int)k;
        r->n = (int)n;
    } else if (is_word(kind, "own")) {
        return not_here(text, kind);
    } else {
        REFUSE("--decide %.80s: %s", text, EXPECTED);
    }
    return 0;
}

int plif_decide_parse(const char *text, DecisionRule *rule) {
    static const char *const keys[] = {"margin", "release", "idle"};
    DecisionRule r = {0};
    double values[3] = {0, -1, -1};
    unsigned given = 0;
    int more, equals;
    if (strnlen(text, MOST_TEXT) == MOST_TEXT) REFUSE("a rule of %d characters", MOST_TEXT);
    Text rest = text_of(text);
    const Text first = cut(&rest, ',', &more);
    while (more) {
        const Text option = strip(cut(&rest, ',', &more));
        Text value = option;
        const Text key = cut(&value, '=', &equals);
        int which = 0;
        if (is_word(key, "other") || (is_word(key, "idle") && is_word(value, "auto"))) return not_here(text, option);
        while (which < 3 && !is_word(key, keys[which])) which++;
        if (!equals || which == 3 || given >> which & 1) REFUSE("--decide %.80s: '%.*s' is not understood; %s", text, option.n, option.at, EXPECTED);
        given |= 1u << which;
        values[which] = number(value, which == 2);
        if (values[which] < 0)
            REFUSE("--decide %.80s: %s=%.*s: expected a number such as %s", text, keys[which], value.n, value.at, which == 2 ? "2000 or 2k" : "0.1");
    }
    const int failed = read_rule(text, &r, first);
    if (failed) return failed;
    const int released = given >> 1 & 1;
    r.margin = values[0];
    r.idle_per_s = values[2];
    if (r.kind == BY_KOFN && released && (values[1] != floor(values[1]) || values[1] > r.k))
        REFUSE("--decide %.80s: release= of kofn is a number of steps, from 0 to %d", text, r.k);
    if (r.margin > 1 || (r.kind != BY_KOFN && released && values[1] > r.margin))
        REFUSE("--decide %.80s: expected margin= from 0 to 1, and release= not above it", text);
    r.release = released ? values[1] : r.kind == BY_KOFN ? 0 : r.margin;
    *rule = r;
    return 0;
}

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

static void add_fading(const DecisionRule *r, Evidence *e, double *sum, int classes, int voters, const double *c, int64_t dt_us) {
    if (r->kind == BY_LEAK) plif_evidence_fade(r, e, sum, classes, exp(-(double)(dt_us > 0 ? dt_us : 0) / (double)r->tau_us));
    for (int i = 0; i < classes; i++) sum[i] += c[i];
    e->weight += 1;
    const double possible = voters * e->weight;
    const int winner = winner_of(sum, classes);
    if (winner >= 0 && (r->margin == 0 || lead(sum, classes, winner) / possible >= r->margin))
        e->answer = winner;
    else if (e->answer >= 0 && (winner < 0 || lead(sum, classes, (int)e->answer) / possible < r->release))
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
    if (winner >= 0 && r->margin != 0 && lead(c, classes, winner) / voters < r->margin) winner = -1;
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
    for (int64_t i = 0; i < e->recent && e->answer >= 0; i++) spikes += memory[(oldest + i) % r->n * size + 1 + e->answer];
    e->share = spikes / (double)((int64_t)voters * e->recent);
}

void plif_evidence_add(const DecisionRule *r, Evidence *e, double *memory, int classes, int voters, const double *c, int64_t dt_us) {
    if (r->kind == BY_KOFN)
        add_kofn(r, e, memory, classes, voters, c);
    else
        add_fading(r, e, memory, classes, voters, c, dt_us);
}

void plif_evidence_fade(const DecisionRule *r, Evidence *e, double *memory, int classes, double factor) {
    if (r->kind == BY_KOFN) return;     /* the last n steps are what they are */
    for (int i = 0; i < classes; i++) memory[i] *= factor;
    e->weight *= factor;
}

void plif_evidence_reset(const DecisionRule *r, Evidence *e, double *memory, int classes) {
    *e = (Evidence){.answer = -1};
    memset(memory, 0, (size_t)plif_evidence_doubles(r, classes) * sizeof *memory);
}
