/*     sum     E = E + c                   W = W + 1
 *     leak    E = E exp(-dt/tau) + c      W = W exp(-dt/tau) + 1
 *     kofn    the class that won k of the last n steps
 *     own     as leak, and an answer stands on its own evidence
 *     cusum   S_i = clip(S_i + ((c_i - 3/4 max_j c_j) / voters - drift) min(dt / tau, 1/2), 0, max(most, margin_i)),
 *             j != i
 *             Page's cumulative sum of the evidence for a class against "nothing" (Page, Biometrika 1954). What was before leaves
 *             it at 0 and no lower: of all rules with so many false alarms this is the quickest in the worst case, where
 *             log-likelihood ratios add up (Moustakides, Ann. Stat. 1986). Classes that are alike fire together: hence 3/4. The
 *             ceiling `most` bounds how long a label stays without votes: most tau / drift
 *
 * c: whole votes of a step. Memory: of sum, leak and own E [classes]; of cusum S [classes] and, for the score alone, E of
 * leak with SCORE_US; of kofn, for each of n steps, its winner and c [classes].
 * Ties go to the lowest class. docs/live.md has the meaning of margin, release, exit and idle. tests/specification/decide.py: the
 * same in plain Python, and a test compares. */
#include "decide.h"

#include <math.h>
#include <string.h>

#define RIVAL 0.75       /* of a rival's votes count against a class */
#define SCORE_US 200000  /* tau of cusum's score */
#define LEAST_SHARE 0.05 /* of a class's possible spikes: with less there is no evidence for it */

int64_t plif_evidence_doubles(const DecisionRule *r, int classes) {
    return r->kind == BY_KOFN ? (int64_t)r->n * (1 + classes) : r->kind == BY_CUSUM ? 2 * (int64_t)classes : classes;
}

/* The first of the largest. */
static int first_of(const double *e, int classes) {
    int first = 0;
    for (int i = 1; i < classes; i++)
        if (e[i] > e[first]) first = i;
    return first;
}

/* The same; -1 where all are zero. */
static int winner_of(const double *e, int classes) {
    for (int i = 0; i < classes; i++)
        if (e[i] != 0) return first_of(e, classes);
    return -1;
}

/* By how much class `one` leads the best other class; below zero where another leads. */
static double lead(const double *e, int classes, int one) {
    double most = classes > 1 ? -INFINITY : 0;
    for (int i = 0; i < classes; i++)
        if (i != one && e[i] > most) most = e[i];
    return e[one] - most;
}

/* How far the first class is before the second. */
static double first_lead(const double *e, int classes) { return lead(e, classes, first_of(e, classes)); }

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

/* E and W after a step; tau_us 0: no vote is forgotten. */
static void add_votes(int64_t tau_us, Evidence *e, double *sum, int classes, const double *c, int64_t dt_us) {
    const double factor = tau_us ? exp(-(double)(dt_us > 0 ? dt_us : 0) / (double)tau_us) : 1;
    for (int i = 0; i < classes; i++) sum[i] = sum[i] * factor + c[i];
    e->weight = e->weight * factor + 1;
}

static void add_fading(const DecisionRule *r, Evidence *e, double *sum, int classes, int voters, const double *c,
                       int64_t dt_us) {
    if (e->is_final) return;
    add_votes(r->tau_us, e, sum, classes, c, dt_us);
    const double possible = voters * e->weight;
    const int winner = winner_of(sum, classes);
    if (winner >= 0 && (margin_of(r, winner) == 0 || lead(sum, classes, winner) / possible >= margin_of(r, winner)))
        e->answer = winner;
    else if (e->answer >= 0 && (winner < 0 || lead(sum, classes, (int)e->answer) / possible < r->release))
        e->answer = -1;
    e->share = e->answer < 0 ? 0 : sum[e->answer] / possible;
    e->is_final = r->exit_lead > 0 && e->answer >= 0 && first_lead(sum, classes) >= r->exit_lead;
}

/* cusum: S after a step. */
static void add_drifting(const DecisionRule *r, double *sum, int classes, int voters, const double *c, int64_t dt_us) {
    const double part = fmin(dt_us > 0 ? (double)dt_us / (double)r->tau_us : 0, 0.5);
    const int first = first_of(c, classes);
    const double second = c[first] - lead(c, classes, first);
    for (int i = 0; i < classes; i++) {
        const double rival = i == first ? second : c[first];
        sum[i] =
            fmin(fmax(sum[i] + ((c[i] - RIVAL * rival) / voters - r->drift) * part, 0), fmax(r->most, margin_of(r, i)));
    }
}

/* `own`, with s = E / (voters W), w the class with the most evidence, lead = s_w - the second's; `cusum`, with s = lead = S:
 *     enter   w is no "other" and leads by margin: it becomes the answer at once, also in place of another
 *     stay    whatever leads, until the answer's own s is below release or 0, and "other" is not about to take over
 *     other   when it has led by margin for `other` on end, it becomes the answer; a step counts for half of that at most, since the gap before
 *             it is no lead */
static void add_held(const DecisionRule *r, Evidence *e, double *sum, int classes, int voters, const double *c,
                     int64_t dt_us) {
    const int drifts = r->kind == BY_CUSUM;
    const double *votes = drifts ? sum + classes : sum; /* of the score */
    if (drifts) add_drifting(r, sum, classes, voters, c, dt_us);
    add_votes(drifts ? SCORE_US : r->tau_us, e, drifts ? sum + classes : sum, classes, c, dt_us);
    const double possible = drifts ? 1 : voters * e->weight;
    int winner = 0;
    double second = classes > 1 ? -INFINITY : 0;
    for (int i = 1; i < classes; i++)
        if (sum[i] / possible > sum[winner] / possible) winner = i;
    for (int i = 0; i < classes; i++)
        if (i != winner && sum[i] / possible > second) second = sum[i] / possible;
    const double share = sum[winner] / possible;
    const int leads = share > 0 && share - (drifts ? 0 : second) >= margin_of(r, winner);
    const int other_leads = leads && winner == r->other;
    e->other_us = other_leads ? e->other_us + fmin(dt_us > 0 ? (double)dt_us : 0, (double)r->other_us / 2) : 0;
    if (leads && winner != e->answer && winner != r->other)
        e->answer = winner;
    else if (other_leads && e->other_us >= (double)r->other_us)
        e->answer = r->other;
    else if (e->answer >= 0 && (sum[e->answer] / possible < r->release || sum[e->answer] == 0) && !other_leads)
        e->answer = -1;
    e->share = e->answer < 0 ? 0 : votes[e->answer] / (voters * e->weight);
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
    else if (r->kind == BY_OWN || r->kind == BY_CUSUM)
        add_held(r, e, memory, classes, voters, c, dt_us);
    else
        add_fading(r, e, memory, classes, voters, c, dt_us);
}

void plif_evidence_fade(const DecisionRule *r, Evidence *e, double *memory, int classes, double factor) {
    if (r->kind == BY_KOFN) return; /* the last n steps are what they are */
    for (int64_t i = 0; i < plif_evidence_doubles(r, classes); i++) memory[i] *= factor;
    e->weight *= factor;
}

void plif_evidence_reset(const DecisionRule *r, Evidence *e, double *memory, int classes) {
    *e = (Evidence){.answer = -1};
    memset(memory, 0, (size_t)plif_evidence_doubles(r, classes) * sizeof *memory);
}

/* sum, leak, own: the first class, where it leads by half of its margin (or by soft=); cusum: where it has any (or soft=);
 * kofn: who won the last step. */
int plif_evidence_soft(const DecisionRule *r, const Evidence *e, const double *memory, int classes, int voters) {
    if (r->kind == BY_KOFN) return e->recent ? (int)memory[(e->next + r->n - 1) % r->n * (1 + classes)] : -1;
    const int winner = winner_of(memory, classes);
    if (winner < 0) return -1;
    if (r->kind == BY_CUSUM) return memory[winner] >= r->soft ? winner : -1;
    const double least = r->soft >= 0 ? r->soft : margin_of(r, winner) / 2;
    return least == 0 || lead(memory, classes, winner) / (voters * e->weight) >= least ? winner : -1;
}

int plif_evidence_any(const DecisionRule *r, const Evidence *e, const double *memory, int classes, int voters) {
    if (r->kind == BY_KOFN) return e->answer >= 0 && e->answer != r->other;
    const double possible = r->kind == BY_CUSUM ? 1 : fmax(voters * e->weight, 1e-9);
    const double least = r->kind == BY_CUSUM ? 1e-9 : LEAST_SHARE;
    for (int i = 0; i < classes; i++)
        if (i != r->other && memory[i] / possible >= least) return 1;
    return 0;
}
