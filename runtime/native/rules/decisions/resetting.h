/* When membranes and evidence start afresh. Nothing is reset unless the policy or the caller says so.
 *
 *     never, recording   at the start only
 *     every:T[/K]        after every T steps. With K, the network runs in K rows, each reset T/K steps after the one before, and the answer is
 *                        that of the row which has seen most, so it never comes just after a reset
 *     silence:MS         when no event came for that many milliseconds (or a gap in time as long), as soon as one comes again
 *     decay:TAU          over a gap in time, which no frame covers, membranes and evidence fade by exp(-gap / TAU)
 *
 * A frame without events is a step like any other: the network forgets in it at its own pace. */
#pragma once

#include <stdint.h>

enum { MOST_ROWS = 64 };
enum reset_kind { RESET_NEVER, RESET_EVERY, RESET_SILENCE, RESET_DECAY };

typedef struct {
    int kind;
    int64_t every, silence_us, tau_us;
    int rows; /* of the network, reset in turns: every:T/K has K */
} ResetPolicy;

/* What a policy remembers of its stream. */
typedef struct {
    int64_t steps, silent_us;
} ResetState;

/* Reads the text of --reset; 0, or a code below zero and its text. */
int plif_reset_parse(const char *text, ResetPolicy *policy);

/* What row `row` (from 0) remembers at the beginning: its first reset comes after (row + 1) T / K steps. */
ResetState plif_reset_of_row(const ResetPolicy *policy, int row);

/* What to multiply the state by before a step: 1 keeps it, 0 starts afresh. dt_us: since the end of the last frame;
 * gap_us: what of that this frame does not cover. */
double plif_reset_before(const ResetPolicy *policy, ResetState *state, int64_t events, int64_t dt_us, int discontinuity,
                         int64_t gap_us);
