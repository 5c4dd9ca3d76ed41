/* Convolution over active lists: the weights of an input are added where it spikes, and nothing is done where it
 * does not.
 *
 * One piece of work is a tile of output pixels and a block of 64 outputs (128 of int8 weights). Its sums stay in a
 * tile of memory, and the taps are the outer loop: the weights of one tap, segment and block (32 kB) are used for
 * all spikes of the tile while they are in the first-level cache. A loop that adds all 9 taps of one pixel before
 * the next pixel would fetch weights from the second-level cache, and that would bound its speed (measured:
 * docs/event-engine.md).
 *
 * A linear layer is a convolution whose kernel is as large as its input map. */
#pragma once

#include "dense8.h"
#include "lazy.h"
#include "rows.h"
#include "active.h"
#include "program.h"

static const float nothing[WIDE_BLOCK] __attribute__((aligned(64)));

INLINE int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

/* Adds the weights of all nonzero inputs to the L outputs from `lane` on. Pixels without such an input stay
 * untouched. */
INLINE void add_taps(const Op *op, const Context *ctx, const Tile *t, uint64_t *touched, int lane, int L, int sums) {
    const int ints = sums >= SUM_INT16, segments = segments_of(op->ic);
    const int bytes = sums == SUM_INT16 ? 2 : 4, row_bytes = L * weight_bits(op) / 8;
    const char *weight = (const char *)op->weight + (int64_t)op->kh * op->kw * op->ic * lane * weight_bits(op) / 8;
    const float *start = sums == SUM_FLOAT ? op->bias + lane : nothing;
    adder *const add = adder_of(L, add_kind_of(op, sums)), *const multiply = adder_of(L, MULTIPLY);
    for (int ky = 0; ky < op->kh; ky++)
        for (int kx = 0; kx < op->kw; kx++) {
            /* which listed pixels this tap reads for the tile: q0 to q1 of those with the same x % stride */
            const int dx = kx * op->dilation - op->pad, shift = floor_div(dx, op->stride),
                      phase = dx - shift * op->stride;
            const int whole = op->iw / op->stride, extra = op->iw % op->stride;
            const int base = phase * whole + (phase < extra ? phase : extra), count = whole + (phase < extra);
            const int q0 = t->x0 + shift > 0 ? t->x0 + shift : 0, end = t->x0 + t->width + shift,
                      q1 = end < count ? end : count;
            const int x = q0 - shift - t->x0, from = base + q0, to = base + q1;
            const char *w = weight + (int64_t)(ky * op->kw + kx) * op->ic * row_bytes;
            for (int s = 0; s < segments && q0 < q1; s++, w += SEGMENT * row_bytes)
                for (int r = 0; r < t->height; r++) {
                    const int iy = (t->y0 + r) * op->stride_y + ky * op->dilation_y - op->pad_y;
                    if (iy < 0 || iy >= op->ih) continue;
                    const ActiveRow row = active_row(op, ctx->arena, op->in, iy, s);
                    if (ints && *row.is_dense) continue; /* dense8.h has added it */
                    if (row.first[from] == row.first[to]) continue;
                    float *acc = (float *)((char *)ctx->acc + ((int64_t)r * t->across + x) * L * bytes);
                    touched[r] |=
                        (HAS_DENSE && *row.is_dense ? multiply : add)(acc, w, start, touched[r] >> x, &row, from, to)
                        << x;
                }
        }
}

/* The sums of row r of a tile. */
INLINE Sums tile_sums(const Op *op, const Context *ctx, const Tile *t, int r, uint64_t touched, int lane, int L,
                      int sums) {
    const int stride = L * (sums == SUM_INT16 ? 2 : 4);
    const float *start = sums == SUM_FLOAT ? op->bias + lane : nothing;
    return (Sums){(const char *)ctx->acc + (int64_t)r * t->across * stride, (const char *)start, stride, touched};
}

static __attribute__((noinline)) void program_tile(const Op *op, const Context *ctx, const Tile *t,
                                                   const uint64_t *touched, int lane, int L, int outputs, int sums) {
    Piece p;
    program_begin(&p, op, ctx, lane, outputs, ctx->acc + tile_floats(op));
    for (int r = 0; r < t->height; r++)
        program_pixels(&p, (int64_t)(t->y0 + r) * op->ow + t->x0, t->width,
                       tile_sums(op, ctx, t, r, touched[r], lane, L, sums), sums);
}

/* From sums to spikes; to currents where the next layer is not a neuron. */
INLINE void finish_tile(const Op *op, const Context *ctx, const Tile *t, const uint64_t *touched, int lane, int L,
                        int sums) {
    const int lanes = lanes_of(op->oc), outputs = lanes - lane < L ? lanes - lane : L;
    if (op->state >= 0 && op->charge == CHARGE_PROGRAM) {
        program_tile(op, ctx, t, touched, lane, L, outputs, sums);
        return;
    }
    const float *scale = (sums == SUM_FLOAT ? op->bias : op->scale) + lane; /* float sums have none */
    const int lazy = ctx->owed && op->state >= 0 && sums == SUM_FLOAT && op->ow % UNIT_PIXELS == 0 &&
                     t->x0 % UNIT_PIXELS == 0 && t->width % UNIT_PIXELS == 0 && can_wait(op, lane, outputs);
    for (int r = 0; r < t->height; r++) {
        const Sums x = tile_sums(op, ctx, t, r, touched[r], lane, L, sums);
        const int64_t pixel = (int64_t)(t->y0 + r) * op->ow + t->x0;
        if (lazy)
            fire_or_wait(op, ctx, pixel, t->width, lane, x, outputs);
        else if (op->state >= 0)
            fire_pixels(op, ctx, pixel, t->width, lane, x, outputs, sums);
        else
            for (int i = 0; i < t->width; i++)
                for (int j = 0; j < outputs / REGISTER; j++)
                    ((fr *)((float *)(ctx->arena + op->out) + (pixel + i) * lanes + lane))[j] =
                        current(sums_of(x, i), scale, op->bias + lane, j, sums);
    }
}

/* int8 weights: rows with many spikes are multiplied as bytes, the others added spike by spike. Both give the same
 * whole numbers. */
INLINE void conv_tile(const Op *op, const Context *ctx, const Tile *t, int lane, int L) {
    uint64_t touched[MOST_TILE_ROWS];
    const int dense = HAS_BYTES && op->dense_row && any_row(op, ctx, t, 0), sums = dense ? SUM_INT32 : op->sums;
    for (int r = 0; r < t->height; r++) touched[r] = dense ? ~0ull : 0;
    if (dense) dense8(op, ctx, t, lane, L);
    if (any_row(op, ctx, t, 1)) add_taps(op, ctx, t, touched, lane, L, sums);
    finish_tile(op, ctx, t, touched, lane, L, sums);
}

static void conv(const Op *op, const Context *ctx, int item) {
    const int lanes = lanes_of(op->oc), block = op->block, blocks = (op->oc + block - 1) / block;
    const int tile = item / blocks, across = (op->ow + op->tile_w - 1) / op->tile_w;
    Tile t = {tile / across * op->tile_h, tile % across * op->tile_w, op->tile_h, op->tile_w, 0};
    if (t.height > op->oh - t.y0) t.height = op->oh - t.y0;
    if (t.width > op->ow - t.x0) t.width = op->ow - t.x0;
    t.across = op->dense_row ? (t.width + 15) / 16 * 16 : t.width;
    int lane = item % blocks * block, left = lanes - lane < block ? lanes - lane : block;
    if (left == WIDE_BLOCK)
        conv_tile(op, ctx, &t, lane, left);
    else
        for (; left > 0; left -= BLOCK, lane += BLOCK)
            conv_tile(op, ctx, &t, lane, left >= BLOCK ? BLOCK : left < 32 && op->sums >= SUM_INT16 ? 32 : left);
}
