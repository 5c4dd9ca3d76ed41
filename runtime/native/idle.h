/* Whether anything happens: the rate of events, smoothed, against a given one or the camera's own noise, which is learnt.
 * runtime/stream/decide.py (smooth_rate) and floor.py have the equations. */
#ifndef PLIF_IDLE_H
#define PLIF_IDLE_H

#include <stdint.h>

typedef struct {
    double events, weight_us;           /* R and W of the smoothed rate, 1e6 R / W events a second */
    double floor_per_s, seen_us;        /* of idle=auto */
} Activity;

void plif_activity_reset(Activity *a);
/* Adds a frame; returns the rate after it, in events a second. */
double plif_activity_add(Activity *a, int64_t events, int64_t lasts_us);
/* Learns the rate after that frame; returns whether the scene is as quiet as the camera's noise. */
int plif_activity_quiet(Activity *a, double per_s, int64_t events, int64_t lasts_us);

#endif
