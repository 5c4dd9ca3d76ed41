#include "idle.h"

#include <math.h>
#include <string.h>

#define RATE_TAU_US 200000.0
#define FIRST_US 1000000.0
#define RISE_PER_S 0.02
#define FACTOR 2.0
#define BASE_PER_S 300.0
#define UNKNOWN_PER_S 1e18

void plif_activity_reset(Activity *a) {
    memset(a, 0, sizeof *a);
    a->floor_per_s = UNKNOWN_PER_S;
}

/* R = R exp(-dt/tau) + events,    W = W exp(-dt/tau) + dt */
double plif_activity_add(Activity *a, int64_t events, int64_t lasts_us) {
    const double kept = exp(-(double)(lasts_us > 0 ? lasts_us : 0) / RATE_TAU_US);
    a->events = a->events * kept + (double)events;
    a->weight_us = a->weight_us * kept + (double)(lasts_us > 1 ? lasts_us : 1);
    return 1e6 * a->events / a->weight_us;
}

int plif_activity_quiet(Activity *a, double per_s, int64_t lasts_us) {
    a->seen_us += (double)lasts_us;
    a->floor_per_s *= 1 + RISE_PER_S * (double)lasts_us * 1e-6;
    if ((a->seen_us >= FIRST_US || per_s < BASE_PER_S) && per_s < a->floor_per_s) a->floor_per_s = per_s;
    return a->floor_per_s < UNKNOWN_PER_S && per_s < FACTOR * a->floor_per_s + BASE_PER_S;
}
