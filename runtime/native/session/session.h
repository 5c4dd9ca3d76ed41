/* A session: the state of one stream, and the memory that its steps need. */
#pragma once

#include "../rules/decisions/decider.h"
#include "file.h"
#include "../rules/frames/filter.h"
#include "../rules/frames/framer.h"

enum { MOST_CLASSES = 65536, CHUNK = 1024 }; /* events that are packed at a time */

/* What changes, but for the arrays in `memory`; both make a snapshot. */
typedef struct {
    FramerState framer;
    Deciding deciding;
    int64_t was_reset;   /* by the caller, since the last frame */
    int64_t held, taken; /* events that were filtered, and of these taken by the framer: see Held */
} Moving;

/* Filters see each event once, though a frame that ends among them has the caller come again with those after it. */
typedef struct {
    uint8_t events[CHUNK * EVENT], passed[CHUNK];
} Held;

struct plif_session {
    const plif_model *model; /* NULL: the network runs elsewhere */
    Framing framing;
    Filters *filters;  /* NULL: none */
    int64_t filter;    /* a sum of their text, which a snapshot keeps */
    int width, height; /* of the sensor */
    int turned;        /* how a picture becomes upright, where the framing turns it */
    Framer framer;
    Decider decider;
    int takes_events; /* else `why_not` */
    char why_not[300];

    Moving moving;
    char *block, *memory; /* all that follows, as calloc gave it and at a multiple of 64 bytes */
    int64_t bytes;        /* of memory */
    int rows;
    float **v;       /* [rows][states] membranes */
    uint8_t **owed;  /* [rows][states] see plif_settle; not in `memory`, since nothing is owed in a snapshot */
    float *frames;   /* of the framer */
    double *decided; /* of the decider */
    Held *holding;   /* of the filters */

    /* for a step; nothing in it is kept */
    float *x, *y;          /* y [rows][classes] */
    float *fired, **rates; /* [states] of the last step; [states] where each is, for the call */
    double *c, *keep;      /* of the decider; [rows] what it says of the membranes */
    void **scratch;        /* as calloc gave them: accs, and what a session has one of */
    char *arena;           /* one: all threads share the row that a step is of */
    float **accs;          /* [threads] */
    int threads;
    Pool *pool;
    Call call;
    uint8_t packed[CHUNK * EVENT];
};

/* The network's step on x, in one row, to y [classes]; the membranes change. */
void plif_session_step(plif_session *s, int row, const float *x, float *y);
/* Whether a frame of the caller's holds finite numbers: 0, or a code and its text. */
int plif_session_frame(const plif_session *s, const float *x, const char *what);
/* Before membranes are read or changed: takes the steps that were left out. */
void plif_session_settle(const plif_session *session);
/* One row's initial membranes, and no evidence. */
void plif_session_afresh(plif_session *s, int row);
/* A complete frame -> a decision: resets, the step, the evidence. */
int plif_session_decide(plif_session *s, const plif_input *frame, plif_decision *decision);
/* Events through the filters into frames, as plif_framer_feed; below zero: a code, and its text. */
int plif_session_feed(plif_session *s, Batch *batch, plif_input *frame, const char *what);
/* Whether its recording goes on: 0, or a code and its text. */
int plif_session_goes_on(const plif_session *s, const char *what);
/* Whether it makes frames of events: 0, or a code and its text. */
int plif_session_takes(const plif_session *s, const void *place, const char *what);
