/* int8 weights where many inputs are spikes: whole rows of the map are multiplied as bytes, four inputs at a time.
 *
 * vpdpbusd adds the products of 4 inputs and 16 outputs, an AMX tile those of 16 pixels, 64 inputs and 16 outputs.
 * Sums are whole numbers in int32, so every order, also mixed with add_row_int, gives the same sum. A row of bytes
 * has zeros before and after it (active.h), so that every tap can read 16 pixels of it without a test for the
 * border. */
#pragma once

#include "../event.h"
#include "simd.h"
#include "active.h"

enum { MOST_TILE_ROWS = 256 };

/* One piece of a convolution: `height` rows of `width` (at most 64) output pixels. In memory one row takes `across`
 * pixels. */
typedef struct {
    int y0, x0, height, width, across;
} Tile;

void plif_dense8_tiles(const Op *op, const Context *ctx, const Tile *t, int lane, int L); /* paths/amx.c */

/* Whether any input row that the tile reads is dense, or, with `listed`, has entries in its list. */
INLINE int any_row(const Op *op, const Context *ctx, const Tile *t, int listed) {
    const int from = t->y0 * op->stride_y - op->pad_y;
    const int to = (t->y0 + t->height - 1) * op->stride_y - op->pad_y + (op->kh - 1) * op->dilation_y + 1;
    for (int y = from > 0 ? from : 0; y < (to < op->ih ? to : op->ih); y++)
        for (int s = 0; s < segments_of(op->ic); s++) {
            const ActiveRow row = active_row(op, ctx->arena, op->in, y, s);
            if (*row.is_dense || (listed && row.first[op->iw])) return 1;
        }
    return 0;
}

#if defined(PLIF_AVX512)

/* The bytes that output pixel (y, x) reads at tap row ky and segment s; NULL where that row is not there as bytes. */
INLINE const char *dense8_pixel(const Op *op, const Context *ctx, int y, int x, int ky, int s) {
    const int iy = y * op->stride_y + ky * op->dilation_y - op->pad_y;
    if (iy < 0 || iy >= op->ih) return 0;
    const ActiveRow row = active_row(op, ctx->arena, op->in, iy, s);
    return row.dense && *row.is_dense ? row.dense + (int64_t)x * op->stride * pixel_bytes(op->ic) : 0;
}

INLINE const char *dense8_weight(const Op *op, int lane, int tap) {
    const int64_t taps = (int64_t)op->kh * op->kw, size = (int64_t)pixel_bytes(op->ic) * 16;
    return (const char *)op->weight_bytes + (taps * (lane / 16) + tap) * size;
}

enum { DENSE8_PIXELS = 6 };

/* acc[pixel][output] += input * weight, for n registers of outputs (4 or 2) and `size` groups of four inputs. */
INLINE void dense8_pixels(int32_t *acc, int L, const char *in, int64_t step, const char *weight, int64_t next, int size,
                          int pixels, int n) {
    __m512i sum[DENSE8_PIXELS][4];
    UNROLL for (int p = 0; p < pixels; p++) UNROLL for (int j = 0; j < n; j++)
        sum[p][j] = _mm512_load_si512(acc + p * L + 16 * j);
    for (int c = 0; c < size; c++, weight += 64, in += 4) {
        __m512i w[4];
        UNROLL for (int j = 0; j < n; j++) w[j] = _mm512_load_si512(weight + j * next);
        UNROLL for (int p = 0; p < pixels; p++) {
            int32_t four;
            memcpy(&four, in + p * step, 4);
            const __m512i all_four = _mm512_set1_epi32(four);
            UNROLL for (int j = 0; j < n; j++) sum[p][j] = _mm512_dpbusd_epi32(sum[p][j], all_four, w[j]);
        }
    }
    UNROLL for (int p = 0; p < pixels; p++) UNROLL for (int j = 0; j < n; j++)
        _mm512_store_si512(acc + p * L + 16 * j, sum[p][j]);
}

static __attribute__((noinline)) void dense8_row(int32_t *acc, int L, int n, const char *in, int64_t step,
                                                 const char *weight, int64_t next, int size, int width) {
    int x = 0;
    for (; x + DENSE8_PIXELS <= width; x += DENSE8_PIXELS)
        if (n == 4)
            dense8_pixels(acc + x * L, L, in + x * step, step, weight, next, size, DENSE8_PIXELS, 4);
        else
            dense8_pixels(acc + x * L, L, in + x * step, step, weight, next, size, DENSE8_PIXELS, 2);
    for (; x < width; x++)
        if (n == 4)
            dense8_pixels(acc + x * L, L, in + x * step, step, weight, next, size, 1, 4);
        else
            dense8_pixels(acc + x * L, L, in + x * step, step, weight, next, size, 1, 2);
}

/* Taps are the outer loop, as in conv.h: the weights of one tap and 64 outputs stay in the first-level cache. */
INLINE void dense8_registers(const Op *op, const Context *ctx, const Tile *t, int lane, int L) {
    const int64_t pixel = pixel_bytes(op->ic), step = op->stride * pixel, next = (int64_t)op->kh * op->kw * pixel * 16;
    memset(ctx->acc, 0, (size_t)t->across * (size_t)t->height * (size_t)L * 4);
    for (int ky = 0; ky < op->kh; ky++)
        for (int s = 0; s < segments_of(op->ic); s++)
            for (int kx = 0; kx < op->kw; kx++)
                for (int at = 0; at < L; at += 64)
                    for (int r = 0; r < t->height; r++) {
                        const char *in = dense8_pixel(op, ctx, t->y0 + r, t->x0, ky, s);
                        if (!in) continue;
                        dense8_row((int32_t *)ctx->acc + (int64_t)r * t->across * L + at, L,
                                   (L - at < 64 ? L - at : 64) / 16, in + kx * pixel, step,
                                   dense8_weight(op, lane + at, ky * op->kw + kx) + s * SEGMENT * 16, next,
                                   (segment_size(op->ic, s) + 3) / 4, t->width);
                    }
}

INLINE void dense8(const Op *op, const Context *ctx, const Tile *t, int lane, int L) {
#if defined(PLIF_HAS_AMX)
    if (ctx->tiles) {
        plif_dense8_tiles(op, ctx, t, lane, L);
        return;
    }
#endif
    dense8_registers(op, ctx, t, lane, L);
}

#else
INLINE void dense8(const Op *op, const Context *ctx, const Tile *t, int lane, int L) {
    (void)op, (void)ctx, (void)t, (void)lane, (void)L;
}
#endif
