/* How long a way of summing int8 weights takes on this processor: one layer, computed in that way.
 *
 * All ways give the same bits (rows.h, dense8.h), and none is the fastest everywhere: rows as int16 take twice the
 * loads of pairs of bytes and half the additions, and how many of each a processor does in a cycle does not follow
 * from its name. */
#include "event.h"
#include "../portable.h"

#include <string.h>

enum { HEIGHT = 2, WIDTH = 64, CHANNELS = 128, KERNEL = 3, PAD = 1 };
enum { WORDS = CHANNELS / 64, CAPACITY = WIDTH * CHANNELS + 64, INDEX = (3 * (WIDTH + 1) + 1) * 4 };
enum { ROW_BYTES = (WIDTH + 2 * PAD + KERNEL + 16) * CHANNELS, WEIGHTS = KERNEL * KERNEL * CHANNELS * CHANNELS * 2 };

/* Places in the arena, one after the other. */
enum {
    SPIKES = 0,
    LISTS = SPIKES + HEIGHT * WIDTH * WORDS * 8,
    INDICES = LISTS + HEIGHT * CAPACITY * 2,
    BYTES = (INDICES + HEIGHT * INDEX + 63) / 64 * 64,
    CURRENTS = BYTES + HEIGHT * ROW_BYTES,
    ARENA = CURRENTS + HEIGHT * WIDTH * CHANNELS * 4
};

/* Spikes with a share of `density`, the same ones each time. */
static void scatter(uint64_t *words, double density) {
    uint32_t state = 1;
    for (int i = 0; i < HEIGHT * WIDTH * WORDS; i++) {
        words[i] = 0;
        for (int b = 0; b < 64; b++) {
            state = state * 1664525u + 1013904223u;
            words[i] |= (uint64_t)((state >> 8) < density * (1 << 24)) << b;
        }
    }
}

/* The list of the spikes and the convolution that reads it; bytes: rows are multiplied as bytes, whatever their
 * spikes. */
static void write_ops(Op *ops, const char *weights, const float *ones, int pairs, int bytes) {
    Op *list = ops, *conv = ops + 1;
    memset(ops, 0, 2 * sizeof *ops);
    list->kind = OP_ACTIVE, list->from = FROM_SPIKES;
    list->ih = list->oh = HEIGHT, list->iw = list->ow = WIDTH, list->ic = list->oc = CHANNELS;
    list->stride = list->stride_y = list->dilation = list->dilation_y = list->parallel = 1;
    list->pad = list->pad_y = PAD;
    list->state = -1, list->values = -1;
    list->items = HEIGHT, list->row_capacity = CAPACITY;
    list->in = SPIKES, list->out = LISTS, list->index = INDICES;
    list->dense = bytes ? BYTES : -1, list->dense_row = bytes ? ROW_BYTES : 0;
    *conv = *list;
    conv->kind = OP_CONV, conv->items = 1, conv->in = LISTS, conv->out = CURRENTS;
    conv->kh = conv->kw = KERNEL;
    conv->tile_h = HEIGHT, conv->tile_w = WIDTH, conv->block = WIDE_BLOCK;
    conv->sums = SUM_INT16, conv->pairs = pairs;
    conv->weight = weights, conv->weight_bytes = (const int8_t *)weights, conv->bias = conv->scale = ones;
}

enum { INT16_ROWS, BYTE_PAIRS, ROWS_AS_BYTES, ROWS_OF_NIBBLES };

/* Nanoseconds of one step of the layer on one path in one way, at both shares of spikes. Only AVX512 and AMX have rows as bytes.
 * Returns 0 where there is no memory. */
int plif_measure_form(int path, int way, const double densities[2], double ns[2]) {
    char *arena = aligned_alloc(64, (ARENA + 63) / 64 * 64), *weights = aligned_alloc(64, WEIGHTS);
    float *sums = aligned_alloc(64, HEIGHT * WIDTH * WIDE_BLOCK * 4), *ones = aligned_alloc(64, CHANNELS * 4);
    const int fine = arena && weights && sums && ones;
    for (int d = 0; fine && d < 2; d++) {
        memset(arena, 0, ARENA);
        memset(weights, 1, WEIGHTS);
        for (int i = 0; i < CHANNELS; i++) ones[i] = 1;
        scatter((uint64_t *)(arena + SPIKES), densities[d]);
        Op ops[2];
        write_ops(ops, weights, ones, way == ROWS_OF_NIBBLES ? NIBBLES : way == BYTE_PAIRS, way == ROWS_AS_BYTES);
        const Program program = {
            .ops = ops, .count = 2, .path = path, .acc_floats = HEIGHT * WIDTH * WIDE_BLOCK, .arena_bytes = ARENA};
        const Call call = {.rows = 1, .steps = 1};
        const int64_t began = now_ns();
        plif_run(&program, NULL, &call, &arena, &sums);
        ns[d] = (double)(now_ns() - began);
    }
    aligned_free(arena), aligned_free(weights), aligned_free(sums), aligned_free(ones);
    return fine;
}
