/* Events -> frames: runtime/events/framer.py, one frame a call. */
#ifndef PLIF_FRAMER_H
#define PLIF_FRAMER_H

#include "framing.h"
#include "collect.h"

#include <stddef.h>

/* Times beyond are no times, and could not be added to. */
#define T_LIMIT_US ((int64_t)1 << 60)

/* What changes from event to event; all of it moves into a snapshot, with the frames (see plif_framer_floats). */
typedef struct {
    Frame open;
    int64_t emitted, last_us, discontinuities;
    int64_t owed, owed_us;              /* count framing: empty frames that come first */
    int64_t ticked_us;                  /* where the open frame began when time went on without events */
    int64_t is_ticked, gap_before, is_closed, is_padding;
    int64_t pieces, next_piece;         /* of frames that overlap: kept, and where the next goes */
    int64_t slice_us;                   /* time framing: the latest time so far */
    int64_t used, filtered, late, invalid, came; /* the account; used is entered by who steps the frames */
} FramerState;

/* What framings of a whole have to know of a recording: how many events (-1: nothing is known), and the times of the first and the last. */
typedef struct {
    int64_t total, first_us, last_us;
} Extent;

typedef struct {
    Framing framing;
    Extent extent;
    int64_t cells, most;                /* most: frames of a recording */
    int64_t *of_x, *of_y, of_p[2];      /* where an event lands: of_x[x] + of_y[y] + of_p[p] */
    float *counts, *last, *pieces;      /* the open frame; the last one, where it may be repeated; those before, of overlapping ones */
    FramerState *s;
} Framer;

/* A complete frame: `x` has its `cells` numbers. */
typedef struct {
    float *x;
    int64_t start_us, end_us, events;
    int discontinuity;
} Piece;

/* Whether events of such a sensor can be framed for an input [c, h, w]: 0, or a code and its text. upright: 0 stored as it is, 1 turned by 180
 * degrees, 2 mirrored top to bottom. Then the tables: where an event lands is of_x[x] + of_y[y] + of_p[p], below zero for nowhere. */
int plif_view_check(const int shape[3], int width, int height, int upright);
void plif_view(const Framing *framing, const int shape[3], int width, int height, int upright, int64_t *of_x, int64_t *of_y, int64_t of_p[2]);

/* The network's input [c, h, w], the sensor, and the extent of the recording. 0, or a code and its text. */
int plif_framer_init(Framer *f, const Framing *framing, const int shape[3], int width, int height, int upright, Extent extent);
void plif_framer_free(Framer *f);
int64_t plif_framer_floats(const Framer *f);                    /* of memory, for plif_framer_begin */
void plif_framer_begin(Framer *f, FramerState *s, float *memory);       /* at the start of a recording */

/* Takes events (packed, see rules/collect.h) from *at on; 1: `piece` is complete. 0: all are taken. x: memory of a frame. */
int plif_framer_feed(Framer *f, const uint8_t *events, int64_t count, int64_t *at, float *x, Piece *piece);
void plif_framer_resume(Framer *f, int64_t t_us);               /* before the first events after ticks */
int plif_framer_tick(Framer *f, int64_t t_us, float *x, Piece *piece);
int plif_framer_close(Framer *f, float *x, Piece *piece);       /* one call for each frame that is still due */

/* Whether numbers of a snapshot are such as this framer could have. */
int plif_framer_possible(const Framer *f, const FramerState *s);

#endif
