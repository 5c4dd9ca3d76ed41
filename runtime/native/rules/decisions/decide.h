/* How votes add up to an answer. For users: docs/live.md; in plain Python: tests/specification/decide.py, with
 * which tests compare this. */
#pragma once

#include <stdint.h>

enum { MOST_MARGINS = 128 };

enum { BY_SUM, BY_LEAK, BY_KOFN, BY_OWN, BY_CUSUM }; /* see decide.c */

typedef struct {
    int kind;
    int64_t tau_us;         /* leak, own, cusum */
    int k, n;               /* kofn */
    double margin, release; /* margin: the smallest; release: of kofn a number of steps */
    double idle_per_s;      /* events a second; below zero: never idle */
    int idle_auto;          /* the rate is learnt, see idle.h */
    int64_t other_us;       /* own, cusum */
    double drift, most;     /* cusum */
    double exit_margin;     /* sum; 0: none */
    double soft;            /* below zero: half of the margin */
    int classes;            /* whose own margins these are; 0: all have `margin` */
    double margins[MOST_MARGINS];

    int other;        /* the class that means none of the others; -1 where there is none */
    double exit_lead; /* whole votes; 0: none */
} DecisionRule;

/* The evidence of one stream; all of it moves into a snapshot. */
typedef struct {
    double weight, share; /* W; the score: the answer's share of all possible spikes */
    int64_t answer;       /* -1: not sure */
    int64_t recent, next; /* kofn: steps that are kept, and where the next goes */
    double other_us;      /* own, cusum: for how long "other" has led */
    int64_t is_final;     /* the answer stays until the next reset: an early exit */
} Evidence;

/* Reads the text of --decide; 0, or a code below zero and its text. */
int plif_decide_parse(const char *text, DecisionRule *rule);

/* Tells a rule of the network that it decides about: its classes, and voters and steps of a sample, for an early
 * exit. 0, or a code and its text where the rule is for another number of classes. */
int plif_decide_about(DecisionRule *rule, const char *const *names, int classes, int voters, int T);

/* Doubles of memory that evidence for so many classes takes. */
int64_t plif_evidence_doubles(const DecisionRule *rule, int classes);

/* Adds c [classes], the whole votes of a step that lasted dt_us; e->answer is the class so far. */
void plif_evidence_add(const DecisionRule *rule, Evidence *e, double *memory, int classes, int voters, const double *c,
                       int64_t dt_us);
void plif_evidence_fade(const DecisionRule *rule, Evidence *e, double *memory, int classes, double factor);
void plif_evidence_reset(const DecisionRule *rule, Evidence *e, double *memory, int classes);
/* The class that leads at once, whatever is held: the soft answer; -1 where none does enough. */
int plif_evidence_soft(const DecisionRule *rule, const Evidence *e, const double *memory, int classes, int voters);
/* Whether a class that is not "other" has a twentieth of its possible spikes. */
int plif_evidence_any(const DecisionRule *rule, const Evidence *e, const double *memory, int classes, int voters);
