/* How events become frames, in one line of text; docs/events.md has the grammar. */
#pragma once

#include <stdint.h>

enum framing_kind { BY_COUNT, BY_DURATION, BY_EVENTS, BY_TIME, FRAMINGS };
enum orientation { STORED, UPRIGHT, SJ, PAPER };
enum resize { RESIZE_AUTO, RESIZE_NEAREST, RESIZE_SUM, RESIZE_CROP };

typedef struct {
    int kind;
    int64_t T, duration_us, every_us, n, max_us; /* 0: not given */
    int pad_zero, binary, swapped, orientation, resize, square;
    int follow; /* frames have a second row, which shows a small figure enlarged: ../follow/follow.h */
} Framing;

/* Whether a framing divides a whole recording, of which it has to know the extent beforehand. */
static inline int is_whole(const Framing *f) { return f->kind == BY_COUNT || f->kind == BY_TIME; }

/* How many steps of the clock a frame holds: 1, or more where frames overlap. */
static inline int64_t pieces_of(const Framing *f) { return f->every_us ? f->duration_us / f->every_us : 1; }

/* The time between the ends of two frames of BY_DURATION. */
static inline int64_t step_of(const Framing *f) { return f->every_us ? f->every_us : f->duration_us; }

/* How many pictures a frame has, one after the other. */
static inline int pictures_of(const Framing *f) { return 1 + f->follow; }

/* Whether frames of `cells` numbers are not too many to be kept; 0, or a code below zero and its text. */
int plif_framing_room(const Framing *framing, int64_t cells);

/* Reads the text; 0, or a code below zero and its text. */
int plif_framing_parse(const char *text, Framing *framing);

/* What resize=auto is for a network, native: of whose training the sensor was as large as its input. nearest where each
 * cell was one pixel, and says whether that fired; else sum, as in texts of before there was the word. */
void plif_framing_settle(Framing *framing, int native);
