/* A second view of the picture, which follows a small figure: framings with follow=on have two rows a frame, the whole
 * picture and the view. tests/specification/follow.py has the equations.
 *
 *     m <- (1 - 1311 / 2^16) m + 2^15 a      of each cell of the whole picture, once a step of 20 ms; a: 1 where it had
 *                                            an event. What was active in the last second
 *     S  = sum of m over 3 x 3 cells,   N = median of S, the noise
 *     B  = {S >= N + RISE and S >= 5/2 N}    the figure: what moves, and the outline that a body's sway leaves
 *     c* = median column of the lowest third of B's rows, median row of B: the body, not the arm that waves
 *     d  = diagonal of the box that holds 5 to 95 % of m over B
 *
 * The view takes c* when there is a first B of ENOUGH cells, and then when 8/5 |c* - c| > DEAD for HOLD looks: within a
 * gesture it stands still. It shows c at (w / 2, 83/128 h), 8/5 times as large, from the sensor's own pixels. Its row takes
 * part while d <= LARGE: who is near is not helped by a view. The view of a step depends on the steps before it. */
#pragma once

#include "../frames/framing.h"

#include <stdint.h>

#define FOLLOW_STEP_US 20000

/* The cells [first, last) of one axis that show a pixel. */
typedef struct {
    int32_t first, last;
} Cells;

/* What moves into a snapshot, with the map: numbers of 32 bits, beside the floats of frames. */
typedef struct {
    int32_t x2, y2;        /* c, in half cells of the whole picture */
    int32_t diagonal2;     /* d^2; FAR_AWAY before a figure was found */
    int32_t pieces, moved; /* seen, up to the next look; looks in a row at which c* was elsewhere */
    int32_t known;
} FollowState;

typedef struct Follow {
    Framing framing;
    int shape[3], width, height, upright;
    Cells *of_x, *of_y;         /* [width], [height] */
    int64_t stride_x, stride_y; /* of a cell along them, in a channel of the frame */
    const int64_t *of_p;        /* as in Framer */
    FollowState *s;
    uint32_t *map; /* [h][w] m */
    /* not kept: [h][w] S, room for as many, and a row; [w] zeros; what look() counts along both axes */
    uint32_t *sum, *none;
    uint64_t *along;
} Follow;

/* The tables of a view about (x2, y2), in view.c: which cells each column and each row of the sensor lights. */
void plif_view_enlarged(const Framing *framing, const int shape[3], int width, int height, int upright, int x2, int y2,
                        Cells *of_x, Cells *of_y, int64_t *stride_x, int64_t *stride_y);

/* Memory for the view of a framer; 0, or a code and its text. */
int plif_follow_init(Follow *f, const Framing *framing, const int shape[3], int width, int height, int upright,
                     const int64_t *of_p);
void plif_follow_free(Follow *f);
int64_t plif_follow_floats(const Follow *f); /* of the framer's memory */
/* At the start of a recording, and after a gap: nothing is known. memory: as many floats, zeros or of a snapshot. */
void plif_follow_bind(Follow *f, float *memory);
void plif_follow_begin(Follow *f);
void plif_follow_restored(Follow *f); /* the memory came from a snapshot */
int plif_follow_possible(const Follow *f, const char *memory);

/* A frame has ended, with `counts`: it says whether the view's row takes part and which part of the picture it shows; the
 * next one shows what was found with this one's events. After a gap nothing is known. */
struct plif_input;
void plif_follow_end(Follow *f, const float *counts, struct plif_input *frame);

/* An event into the view's row of a frame; whether it landed there. */
static inline int plif_follow_add(const Follow *f, int64_t x, int64_t y, int on, float *counts) {
    const Cells columns = f->of_x[x], rows = f->of_y[y];
    counts += f->of_p[on];
    for (int64_t i = columns.first; i < columns.last; i++)
        for (int64_t j = rows.first; j < rows.last; j++) counts[i * f->stride_x + j * f->stride_y] += 1.0f;
    return columns.first < columns.last && rows.first < rows.last;
}
