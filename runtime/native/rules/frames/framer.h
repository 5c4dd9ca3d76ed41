/* Events -> frames, one frame a call. tests/specification/framer.py says in plain words what they are. */
#pragma once

#include "framing.h"
#include "collect.h"
#include "../../plif.h"
#include "../follow/follow.h"

#include <stddef.h>

/* What changes from event to event; all of it moves into a snapshot, with the frames (see plif_framer_floats). */
typedef struct {
    Frame open;
    int64_t emitted, last_us, discontinuities;
    int64_t owed, owed_us;                           /* count framing: empty frames that come first */
    int64_t ticked_us;                               /* where the open frame began when time went on without events */
    int64_t is_ticked, flags, is_closed, is_padding; /* flags: of the next frame, PLIF_GAP and PLIF_AFRESH */
    int64_t not_shown;                               /* of the account: a part of filtered */
    int64_t pieces, next_piece;                      /* of frames that overlap: kept, and where the next goes */
    int64_t slice_us;                                /* time framing: the latest time so far */
    int64_t used, filtered, late, invalid, came;     /* the account; used is entered by who steps the frames */
} FramerState;

/* What framings of a whole have to know of a recording: how many events (-1: nothing is known), and the times of
 * the first and the last. */
typedef struct {
    int64_t total, first_us, last_us;
} Extent;

typedef struct {
    Framing framing;
    Extent extent;
    int64_t cells, row, most;      /* numbers in a frame and in each of its pictures; frames of a recording */
    int64_t *of_x, *of_y, of_p[2]; /* where an event lands: of_x[x] + of_y[y] + of_p[p] */
    /* the open frame; the last one, where it may be repeated; those before, of overlapping ones */
    float *counts, *last, *pieces;
    Follow follow; /* of follow=on */
    FramerState *s;
    double came_s; /* when the last event in the open frame came */
} Framer;

/* The network's input [c, h, w], the sensor, and the extent of the recording. 0, or a code and its text. */
int plif_framer_init(Framer *f, const Framing *framing, const int shape[3], int width, int height, int upright,
                     Extent extent);
void plif_framer_free(Framer *f);
int64_t plif_framer_floats(const Framer *f);                      /* of memory, for plif_framer_begin */
void plif_framer_begin(Framer *f, FramerState *s, float *memory); /* at the start of a recording */
void plif_framer_restored(Framer *f);                             /* its state and memory came from a snapshot */

/* Events that came at came_s: packed (see collect.h), or words of EVT 3.0, for which there is a reader. passed: as
 * in plif_collect. */
typedef struct {
    const void *from;
    int64_t count, at; /* at: how many are taken */
    const uint8_t *passed;
    struct Evt3Reader *reader;
    double came_s;
} Batch;

/* Each gives 1 where `frame` is complete, and has written its cells to frame->x; 0 where none is due. */
int plif_framer_feed(Framer *f, Batch *batch, plif_input *frame);
int plif_framer_tick(Framer *f, int64_t t_us, plif_input *frame);
int plif_framer_close(Framer *f, plif_input *frame); /* one call for each frame that is still due */
int plif_framer_restart(Framer *f, int flags, plif_input *frame);
/* Before the first events after ticks; whether t_us lies before the open frame. */
int plif_framer_resume(Framer *f, int64_t t_us);
int plif_framer_follows(const Framer *f); /* frames end as time goes on, and one is still due */
void plif_framer_join(const Framer *f, plif_input *newer, const plif_input *older);

/* Whether numbers of a snapshot are such as this framer could have; memory: its floats there, which need not be
 * aligned. */
int plif_framer_possible(const Framer *f, const FramerState *s, const char *memory);
