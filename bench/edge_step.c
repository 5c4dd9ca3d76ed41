/* Steps a network of `plif export --to c` through a file of frames and prints y of each step, for bench/edge.py:
 *
 *     cc -O3 -DPLIF_SOURCE='"net.c"' -DPLIF_NAME=net -DPLIF_BIG=NET edge_step.c -o step -lm && ./step frames.f32 */
#include PLIF_SOURCE
#include <stdio.h>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
enum { INPUTS = JOIN(PLIF_BIG, _INPUTS), CLASSES = JOIN(PLIF_BIG, _CLASSES) };

static float frame[INPUTS], y[CLASSES];
static JOIN(PLIF_NAME, _input) x[INPUTS];

int main(int count, char *words[])
{
    FILE *file = count > 1 ? fopen(words[1], "rb") : NULL;
    if (!file)
        return 2;
#if defined(__SSE__)
    _mm_setcsr(_mm_getcsr() | 0x8040); /* subnormal numbers are zero: silence must not be slow */
#endif
    JOIN(PLIF_NAME, _reset)();
    while (fread(frame, sizeof *frame, INPUTS, file) == INPUTS) {
        for (int i = 0; i < INPUTS; i++)
            x[i] = (JOIN(PLIF_NAME, _input))frame[i];
        JOIN(PLIF_NAME, _step)(x, y);
        for (int i = 0; i < CLASSES; i++)
            printf("%.9g ", y[i]);
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
