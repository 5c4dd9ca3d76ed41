/* Whether anything happens: the rate of events, smoothed, against a given one or the camera's own noise, which is learnt.
 *
 *     R       events a second, smoothed over 200 ms: 1e6 R / W with R = R exp(-dt/tau) + events, W = W exp(-dt/tau) + dt
 *     floor   R after the first second of frames with events; then it follows R: down by 20 % a second at most, up so slowly that the bound
 *             below rises by 2 % a second, and not at all while R < 1
 *     quiet   R < 2 floor + 300; before the floor is known R < 300
 *
 * A feed that pauses looks like a camera without noise. R < 1 within about 2 s, and until then the floor falls by about a third: after a pause
 * of any length the noise is quiet at once. From a floor of nothing, noise of N events a second is quiet after 50 ln(N / 300) s. A scene that
 * never rests has a floor that is too high, so a quiet scene alone is not idle: the decider also asks that no class but "other" has evidence. */
#pragma once

#include <stdint.h>

typedef struct {
    double events, weight_us;    /* R and W of the smoothed rate, 1e6 R / W events a second */
    double floor_per_s, seen_us; /* of idle=auto */
} Activity;

void plif_activity_reset(Activity *a);
/* Adds a frame; returns the rate after it, in events a second. */
double plif_activity_add(Activity *a, int64_t events, int64_t lasts_us);
/* Learns the rate after that frame; returns whether the scene is as quiet as the camera's noise. */
int plif_activity_quiet(Activity *a, double per_s, int64_t events, int64_t lasts_us);
