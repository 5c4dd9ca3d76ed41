/* Convolution over streams: a row of weights is added where there is a spike, and nothing is done where there is none.
 *
 * One piece of work is a tile of output pixels and a block of 64 outputs (128 of int8 weights). Its sums stay in a tile of
 * memory, and the taps are the outer loop: the weights of one tap, segment and block (32 kB) are used for all spikes of the
 * tile while they are in the first-level cache. Reading all 9 taps for one pixel after the other would fetch each row from
 * the second level, which is what bounds such a loop (measured: docs/event-engine.md).
 *
 * A linear layer is a convolution whose kernel is as large as its input map.
 */
#ifndef PLIF_CONV_H
#define PLIF_CONV_H

#include "dense8.h"
#include "neuron.h"
#include "rows.h"
#include "stream.h"

static const float nothing[WIDE_BLOCK] __attribute__((aligned(64)));

INLINE int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

/* Adds what spikes, or values, bring to the L outputs from `lane` on; pixels without any stay untouched. */
INLINE void add_taps(const Op *op, const Frame *f, const Tile *t, uint64_t *touched, int lane, int L, int sums) {
    const int ints = sums >= SUM_INT16, segments = segments_of(op->ic), bytes = sums == SUM_INT16 ? 2 : 4, row_bytes = L * (ints ? 2 : 4);
    const char *weight = (const char *)op->weight + (int64_t)op->kh * op->kw * op->ic * lane * (ints ? 2 : 4);
    const float *start = sums == SUM_FLOAT ? op->bias + lane : nothing;
    adder *const add = adder_of(L, sums == SUM_INT16 ? ADD_INT16 : ints ? ADD_INT32 : op->values >= 0 ? ADD_VALUES : ADD_SPIKES);
    adder *const multiply = adder_of(L, MULTIPLY);
    for (int ky = 0; ky < op->kh; ky++)
        for (int kx = 0; kx < op->kw; kx++) {
            const int dx = kx - op->pad, shift = floor_div(dx, op->stride), phase = dx - shift * op->stride;
            const int whole = op->iw / op->stride, extra = op->iw % op->stride;
            const int base = phase * whole + (phase < extra ? phase : extra), count = whole + (phase < extra);
            const int q0 = t->x0 + shift > 0 ? t->x0 + shift : 0, end = t->x0 + t->width + shift, q1 = end < count ? end : count;
            const int x = q0 - shift - t->x0, from = base + q0, to = base + q1;
            const char *w = weight + (int64_t)(ky * op->kw + kx) * op->ic * row_bytes;
            for (int s = 0; s < segments && q0 < q1; s++, w += SEGMENT * row_bytes)
                for (int r = 0; r < t->height; r++) {
                    const int iy = (t->y0 + r) * op->stride + ky - op->pad;
                    if (iy < 0 || iy >= op->ih) continue;
                    const Row row = stream_row(op, f->arena, op->in, iy, s);
                    if (ints && *row.is_dense) continue;        /* dense8.h did it */
                    if (row.first[from] == row.first[to]) continue;
                    float *acc = (float *)((char *)f->acc + ((int64_t)r * t->across + x) * L * bytes);
                    touched[r] |= (HAS_DENSE && *row.is_dense ? multiply : add)(acc, w, start, touched[r] >> x, &row, from, to) << x;
                }
        }
}

/* From sums to spikes, or, where another layer than a neuron reads them, to currents. */
INLINE void finish_tile(const Op *op, const Frame *f, const Tile *t, const uint64_t *touched, int lane, int L, int sums) {
    const int lanes = lanes_of(op->oc), bytes = sums == SUM_INT16 ? 2 : 4, outputs = lanes - lane < L ? lanes - lane : L;
    const char *start = (const char *)(sums == SUM_FLOAT ? op->bias + lane : nothing);
    for (int r = 0; r < t->height; r++) {
        const Sums x = {(const char *)f->acc + (int64_t)r * t->across * L * bytes, start, L * bytes, touched[r]};
        const int64_t pixel = (int64_t)(t->y0 + r) * op->ow + t->x0;
        if (op->state >= 0)
            fire_pixels(op, f, pixel, t->width, lane, x, outputs, sums);
        else
            for (int i = 0; i < t->width; i++)
                for (int j = 0; j < outputs / REGISTER; j++)
                    ((fr *)((float *)(f->arena + op->out) + (pixel + i) * lanes + lane))[j] =
                        current(sums_of(x, i), op->scale + lane, op->bias + lane, j, sums);
    }
}

/* int8: rows with many spikes as bytes, the others spike by spike. The sum is the same whole number either way. */
INLINE void conv_tile(const Op *op, const Frame *f, const Tile *t, int lane, int L) {
    uint64_t touched[MOST_TILE_ROWS];
    const int dense = HAS_BYTES && op->dense_row && dense8_rows(op, f, t), sums = dense ? SUM_INT32 : op->sums;
    for (int r = 0; r < t->height; r++) touched[r] = dense ? ~0ull : 0;
    if (dense) dense8(op, f, t, lane, L);
    add_taps(op, f, t, touched, lane, L, sums);
    finish_tile(op, f, t, touched, lane, L, sums);
}

static void conv(const Op *op, const Frame *f, int item) {
    const int lanes = lanes_of(op->oc), block = op->block, blocks = (op->oc + block - 1) / block;
    const int tile = item / blocks, across = (op->ow + op->tile_w - 1) / op->tile_w;
    Tile t = {tile / across * op->tile_h, tile % across * op->tile_w, op->tile_h, op->tile_w, 0};
    if (t.height > op->oh - t.y0) t.height = op->oh - t.y0;
    if (t.width > op->ow - t.x0) t.width = op->ow - t.x0;
    t.across = op->dense_row ? (t.width + 15) / 16 * 16 : t.width;
    int lane = item % blocks * block, left = lanes - lane < block ? lanes - lane : block;
    if (left == WIDE_BLOCK)
        conv_tile(op, f, &t, lane, left);
    else
        for (; left > 0; left -= BLOCK, lane += BLOCK)
            conv_tile(op, f, &t, lane, left >= BLOCK ? BLOCK : left < 32 && op->sums >= SUM_INT16 ? 32 : left);
}

#endif
