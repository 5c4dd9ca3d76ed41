/* Steps a network over frames of a file, for bench/c.py: steps a second on this machine, or with BOARD instructions a step. */

#include <stdint.h>

void bench_reset(void);
void bench_step(const float x[], float y[]);

static float x[STEPS][INPUTS], y[CLASSES];

#ifdef BOARD
#include "board.h"

int main(void)
{
    const int file = host_open(host_argument());
    if (file < 0)
        return 2;
    for (int t = 0; t < STEPS; t++)
        host_read(file, x[t], sizeof x[t]);
    bench_reset();
    for (int t = 0; t < STEPS; t++) {
        instructions();
        bench_step(x[t], y);
        host_number(instructions());
        for (int i = 0; i < CLASSES; i++) {
            host_say(" ");
            host_number((uint32_t)(y[i] * 1000.0f + 0.5f));
        }
        host_say("\n");
    }
    return 0;
}
#else
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int count, char *words[])
{
    FILE *file = count > 2 ? fopen(words[1], "rb") : NULL;
    if (!file || fread(x, sizeof x[0], STEPS, file) != STEPS)
        return 2;
    const int rounds = atoi(words[2]);
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int r = 0; r < rounds; r++) {
        bench_reset();
        for (int t = 0; t < STEPS; t++)
            bench_step(x[t], y);
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.9f\n", ((double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec)) / (rounds * STEPS));
    return 0;
}
#endif
