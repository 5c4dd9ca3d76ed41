/*     sum     E = E + c                   W = W + 1
 *     leak    E = E exp(-dt/tau) + c      W = W exp(-dt/tau) + 1
 *     kofn    the class that won k of the last n steps
 *     own     as leak, and an answer stands on its own evidence
 *
 * c: whole votes of a step. Memory: of sum, leak and own E [classes]; of kofn, for each of n steps, its winner and c [classes].
 * Ties go to the lowest class. docs/live.md has the meaning of margin, release, exit and idle. */
#include "decide.h"

#include <math.h>
#include <string.h>

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
    if (winner >= 0 && (r->margin == 0 || lead(sum, classes, winner) / possible >= r->margin))
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
    const int leads = share > 0 && share - second >= r->margin;
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

int plif_evidence_any(const DecisionRule *r, const Evidence *e, const double *memory, int classes, int voters) {
    if (r->kind == BY_KOFN) return e->answer >= 0 && e->answer != r->other;
    const double possible = voters * e->weight;
    for (int i = 0; i < classes; i++)
        if (i != r->other && memory[i] / (possible > 1e-9 ? possible : 1e-9) >= LEAST_SHARE) return 1;
    return 0;
}
