/* Formats of recordings that need no library to read; runtime/events/formats/ has the same ones, and says what each field means. */
#ifndef PLIF_FORMATS_H
#define PLIF_FORMATS_H

#include "evt3.h"

#include <stdio.h>

enum { PIECE_BYTES = 1 << 15, MOST_MADE = 1 << 18 };   /* read at a time; events that this may become */
enum file_format { FIVE_BYTES, EVT2, EVT21, EVT3, DAT, AEDAT2, AEDAT31, FILE_FORMATS };

/* A counter that starts again at zero, without these jumps: only a step back by more than half the range is one. */
typedef struct {
    int64_t last, offset;               /* last -1: none yet */
} Unwrapping;

/* What the words so far have set. */
typedef struct {
    Unwrapping time;
    int64_t high;                       /* EVT 2: the time base in units of 64 us, -1 before there is one */
    Evt3 evt3;
    int64_t left, next, overflow;       /* AEDAT 3.1: events left of a packet, where the next packet begins, its upper bits of time */
    int believed;                       /* the packet counts all events valid, and none has its bit set */
} Decoding;

void plif_format_begin(Decoding *d);
/* The events of the next piece of a file, packed (see rules/collect.h), into `out`, which has room for MOST_MADE; *ended at the end of the file.
 * Gives how many, or PLIF_WRONG. */
int64_t plif_format_read(enum file_format format, Decoding *d, FILE *file, uint8_t *out, int *ended);

#endif
