/* What happens before and after each step of a network, whoever makes it: resets and fades, the time that passed,
 * whether the scene is idle, votes, evidence, the answer. */
#pragma once

#include "decide.h"
#include "../frames/framer.h"
#include "idle.h"
#include "resetting.h"
#include "../../plif.h"

/* What is known of one row of the network: `every:T/K` runs K of them, reset in turns, and the answer is that of
 * the oldest. */
typedef struct {
    Evidence evidence;
    ResetState reset;
    int64_t steps; /* since its last reset */
} Row;

/* What changes, but for the arrays; both make a snapshot. */
typedef struct {
    Row rows[MOST_ROWS];
    int64_t previous_us, has_previous; /* end of the last frame */
    int64_t dt_us;                     /* from it to the end of the frame that is being stepped, */
    int64_t is_idle, is_quiet;         /* in which nothing happens, or no more than the camera's noise */
    int64_t events, discontinuity;     /* in it; a gap comes before it */
    int64_t step;
    Activity activity;
} Deciding;

typedef struct {
    DecisionRule rule;
    ResetPolicy policy;
    int classes, voters;
    int follows, is_followed; /* y has a second row, of the view that follows; its votes count in this step */
    Deciding *s;
    double *votes, *evidence; /* [rows][classes] since the reset; [rows][evidence_doubles], see decide.h */
    int64_t evidence_doubles;
    double *c; /* [classes] whole votes of a step; not kept */
} Decider;

/* The texts of --decide and --reset (NULL: sum, never), about a network of so many classes with these names, voters
 * a class, and steps of a sample. 0, or a code and its text. */
int plif_decider_init(Decider *d, const char *decide, const char *reset, const char *const *names, int classes,
                      int voters, int T);
int64_t plif_decider_doubles(const Decider *d);                              /* of memory, for plif_decider_begin */
void plif_decider_begin(Decider *d, Deciding *s, double *memory, double *c); /* at the start of a stream */

/* Nothing is known any more of a row: no votes, no evidence. */
void plif_decider_afresh(Decider *d, int row);

/* A frame is to be stepped. keep [rows]: what the membranes of each row are to be multiplied by first, around their
 * initial values: 1 leaves them as they are, 0 begins afresh. afresh: by the caller's wish, all of them; is_lost:
 * nothing is known of the scene, so there is no answer. */
void plif_decider_before(Decider *d, const plif_input *frame, int afresh, int is_lost, double *keep);

/* That frame was stepped: y [rows][classes]; of follow=on c_i = max(y_0i, y_1i) where frame->flags said PLIF_FOLLOWED. */
void plif_decider_after(Decider *d, const float *y, plif_decision *decision);

/* Whether numbers of a snapshot are such as this decider could have; memory: its doubles there, which need not be
 * aligned. */
int plif_decider_possible(const Decider *d, const Deciding *s, const char *memory);
