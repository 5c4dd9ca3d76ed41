/* Opens .plif files that lie, and runs those that pass: plif_lies GOOD.plif SEED COUNT. Built with sanitizers, it must end quietly.
 *
 * One to three places of a good file are changed: numbers of the header, of the tables and of lines, each by a usual lie or by a little; or
 * the file is cut; or bytes of the names change. The SHA-256 is not looked at, as if who forged the file had made it fit. */
#include "plif.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 256, SECTION_AT = 24, SECTIONS = 7, ARRAYS = 5, WEIGHTS = 6, LINES = 3 /* the type of their arrays */ };

static uint64_t state;
static uint64_t draw(uint64_t below) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state % below;
}

static int64_t get(const unsigned char *at) {
    int64_t value;
    memcpy(&value, at, 8);
    return value;
}

static void lie(unsigned char *at, int width) {
    static const int64_t usual[] = {0, 1, -1, 2, 7, 63, 64, 255, 65535, 1 << 20, INT32_MAX, INT32_MIN, (int64_t)1 << 40, INT64_MAX, INT64_MIN};
    int64_t value = 0;
    memcpy(&value, at, (size_t)width);
    if (draw(5) < 3)
        value = usual[draw(sizeof usual / sizeof *usual)];
    else
        value = (int64_t)((uint64_t)value + (draw(5) - 2) * (draw(2) ? 1 : 64));
    memcpy(at, &value, (size_t)width);
}

/* One place of the file; good: as it was written. */
static void change(unsigned char *data, const unsigned char *good) {
    if (draw(4) == 0) {
        lie(data + 8 + 4 * draw(52), 4);
        return;
    }
    const int64_t array = get(good + SECTION_AT + 16 * ARRAYS) + 24 * (int64_t)draw((uint64_t)get(good + SECTION_AT + 16 * ARRAYS + 8) / 24);
    if (get(good + array + 16) == LINES && draw(2)) { /* of a neuron that is a program */
        lie(data + get(good + SECTION_AT + 16 * WEIGHTS) + get(good + array) + 4 * (int64_t)draw((uint64_t)get(good + array + 8) / 4), 4);
        return;
    }
    const int section = 1 + (int)draw(SECTIONS - 2); /* not the card, which C does not read, nor the weights */
    const int64_t at = get(good + SECTION_AT + 16 * section), bytes = get(good + SECTION_AT + 16 * section + 8);
    const int width = draw(2) ? 4 : 8;
    if (bytes >= 8) lie(data + at + (int64_t)draw((uint64_t)(bytes - 8) / 4 + 1) * 4, width);
}

static void run(const unsigned char *data, size_t bytes, long *opened) {
    plif_model *model = plif_open_buffer(data, bytes, PLIF_SKIP_DIGEST);
    if (!model) {
        if (!*plif_error_text() || plif_error_code() >= 0) abort();
        return;
    }
    plif_session *session = plif_session_new(model, NULL);
    if (session) {
        int shape[3];
        plif_input_shape(model, shape);
        const size_t n = (size_t)shape[0] * (size_t)shape[1] * (size_t)shape[2];
        float *x = calloc(n, sizeof *x), *y = calloc((size_t)plif_classes(model), sizeof *y);
        if (n < 1 << 20 && x && y) {
            for (size_t i = 0; i < n; i += 3) x[i] = (float)(i % 5);
            for (int step = 0; step < 2; step++) plif_step(session, x, y);
            int64_t t[300];
            uint16_t ex[300], ey[300];
            uint8_t p[300];
            for (int i = 0; i < 300; i++) t[i] = i * 997, ex[i] = (uint16_t)(i % 40), ey[i] = (uint16_t)(i % 37), p[i] = i & 1;
            plif_decision d = PLIF_DECISION;
            int got = 1;
            for (size_t used = 0, took = 0, calls = 0; got >= 0 && used < 300 && calls < 1000; used += took, calls++)
                got = plif_feed(session, t + used, ex + used, ey + used, p + used, 300 - used, &took, &d);
            ++*opened;
        }
        free(x);
        free(y);
        plif_session_free(session);
    }
    plif_close(model);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    FILE *file = fopen(argv[1], "rb");
    if (!file || fseek(file, 0, SEEK_END)) return 2;
    const size_t size = (size_t)ftell(file), room = (size + 127) / 64 * 64;
    rewind(file);
    unsigned char *good = aligned_alloc(64, room);
    if (!good || fread(good, 1, size, file) != size) return 2;
    fclose(file);
    state = strtoull(argv[2], NULL, 10) * 2654435761u + 88172645463325252u;
    long opened = 0;
    for (long i = 0, count = strtol(argv[3], NULL, 10); i < count; i++) {
        const size_t bytes = draw(20) ? size : draw(size);
        unsigned char *data = aligned_alloc(64, (bytes + 64) / 64 * 64); /* as long as the file, so that a read past it is seen */
        unsigned char *whole = malloc(size);
        memcpy(whole, good, size);
        for (uint64_t k = 1 + draw(3); k > 0 && i > 0; k--) change(whole, good);
        memcpy(data, whole, bytes);
        run(data, bytes, &opened);
        free(whole);
        free(data);
    }
    free(good);
    printf("%ld of %s files were run\n", opened, argv[3]);
    return opened > 0 ? 0 : 1;
}
