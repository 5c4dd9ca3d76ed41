/* A session: the state of one stream, and the memory that its steps need. */
#ifndef PLIF_SESSION_H
#define PLIF_SESSION_H

#include "decide.h"
#include "file.h"
#include "framer.h"
#include "idle.h"
#include "resetting.h"

enum { CHUNK = 1024 };                  /* events that are packed at a time */

/* What is known of one row of the network: `every:T/K` runs K of them, reset in turns, and the answer is that of the oldest. */
typedef struct {
    Evidence evidence;
    ResetState reset;
    int64_t steps;                      /* since its last reset */
} Row;

/* What changes, but for the arrays in `memory`; both make a snapshot. */
typedef struct {
    FramerState framer;
    Row rows[MOST_ROWS];
    int64_t previous_us, has_previous;  /* end of the last frame */
    int64_t is_idle, step, was_reset;   /* was_reset: by the caller, since the last frame */
    Activity activity;
} Moving;

struct plif_session {
    const plif_model *model;
    Framing framing;
    DecisionRule rule;
    ResetPolicy policy;
    Framer framer;
    int takes_events;                   /* else `why_not` */
    char why_not[300];

    Moving moving;
    char *block, *memory;               /* all that follows, as calloc gave it and at a multiple of 64 bytes */
    int64_t bytes;                      /* of memory */
    int rows;
    float **v;                          /* [rows][states] membranes */
    uint8_t **owed;                     /* [rows][states] see plif_settle; not in `memory`, since nothing is owed in a snapshot */
    float *frames;                      /* of the framer */
    double *votes, *evidence;           /* [rows][classes]; [rows][evidence_doubles], see decide.h */
    int64_t evidence_doubles;

    /* for a step; nothing in it is kept */
    float *x, *y;
    double *c;
    void **scratch;                     /* as calloc gave them: accs, and what a session has one of */
    char *arena;                        /* one: all threads share the row that a step is of */
    float **accs;                       /* [threads] */
    int threads;
    Pool *pool;
    Call call;
    uint8_t packed[CHUNK * EVENT];
};

/* The network's step on x, in one row; y and the membranes change. */
void plif_session_step(plif_session *s, int row, const float *x);
/* Before membranes are read or changed: takes the steps that were left out. */
void plif_session_settle(const plif_session *session);
/* One row's initial membranes, and no evidence. */
void plif_session_afresh(plif_session *s, int row);
/* A complete frame -> a decision: resets, the step, the evidence. */
int plif_session_decide(plif_session *s, const Piece *frame, plif_decision *decision);

#endif
