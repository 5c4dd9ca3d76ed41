/* Steps a network through frames: step MODEL.plif FRAMES.f32, float32 [T][channels][height][width]. Prints y of each step.
 *
 *     cc step.c -o step $(pkg-config --cflags --libs plif) */
#include <plif.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    int shape[3];
    if (argc != 3) return fprintf(stderr, "usage: step MODEL.plif FRAMES.f32\n"), 2;
    FILE *frames = fopen(argv[2], "rb");
    plif_model *model = frames ? plif_open(argv[1], 0) : NULL;
    plif_session *session = model ? plif_session_new(model, NULL) : NULL;
    if (!frames) return perror(argv[2]), 1;
    if (!session) return fprintf(stderr, "%s\n", plif_error_text()), 1;
    plif_input_shape(model, shape);
    const size_t n = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2], classes = (size_t)plif_classes(model);
    float *x = malloc(n * sizeof *x), *y = malloc(classes * sizeof *y);
    while (x && y && fread(x, sizeof *x, n, frames) == n) {
        if (plif_step(session, x, y) < 0) return fprintf(stderr, "%s\n", plif_error_text()), 1;
        for (size_t k = 0; k < classes; k++) printf("%.9g ", y[k]);
        printf("\n");
        fflush(stdout);
    }
    free(x);
    free(y);
    plif_session_free(session);
    plif_close(model);
    fclose(frames);
    return 0;
}
