#include "idle.h"

#include <math.h>
#include <string.h>

#define RATE_TAU_US 200000.0
#define FIRST_US 1000000.0
#define RISE_PER_S 0.02
#define FALL_PER_S 0.2
#define FACTOR 2.0
#define BASE_PER_S 300.0
#define NOTHING_PER_S 1.0

void plif_activity_reset(Activity *a) { memset(a, 0, sizeof *a); }

/* R = R exp(-dt/tau) + events,    W = W exp(-dt/tau) + dt */
double plif_activity_add(Activity *a, int64_t events, int64_t lasts_us) {
    const double kept = exp(-(double)(lasts_us > 0 ? lasts_us : 0) / RATE_TAU_US);
    a->events = a->events * kept + (double)events;
    a->weight_us = a->weight_us * kept + (double)(lasts_us > 1 ? lasts_us : 1);
    return 1e6 * a->events / a->weight_us;
}

int plif_activity_quiet(Activity *a, double per_s, int64_t events, int64_t lasts_us) {
    const double lasts_s = (double)lasts_us * 1e-6, floor_per_s = a->floor_per_s;
    if (a->seen_us < FIRST_US) {
        a->seen_us += events ? (double)lasts_us : 0;
        a->floor_per_s = a->seen_us >= FIRST_US ? per_s : 0;
    } else if (per_s >= NOTHING_PER_S) {
        const double risen = floor_per_s + RISE_PER_S * lasts_s * (floor_per_s + BASE_PER_S / FACTOR);
        const double fallen = floor_per_s * (1 - FALL_PER_S * lasts_s), least = per_s > fallen ? per_s : fallen;
        a->floor_per_s = risen < least ? risen : least;
    }
    return per_s < FACTOR * a->floor_per_s + BASE_PER_S;
}
