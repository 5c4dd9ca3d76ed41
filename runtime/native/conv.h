/* Convolution over streams: a row of weights is added where there is a spike, and nothing is done where there is none.
 *
 * One piece of work is a tile of output pixels and a block of 64 outputs. Its sums stay in a tile of memory, and the taps
 * are the outer loop: the weights of one tap, segment and block (32 kB) are used for all spikes of the tile while they are
 * in the first-level cache. Reading all 9 taps for one pixel after the other would fetch each row from the second level,
 * which is what bounds such a loop (measured: docs/event-engine.md).
 *
 * A linear layer is a convolution whose kernel is as large as its input map.
 */
#ifndef PLIF_CONV_H
#define PLIF_CONV_H

#include "neuron.h"
#include "stream.h"

/* Pixels q0 to q1 of one row: sums += the weights of each one's inputs. The sums of a pixel stay in registers meanwhile. */
INLINE void add_row(float *acc, const char *weight, const Row row, int q0, int q1, int L, int valued) {
    const int part = L < AT_ONCE ? L : AT_ONCE, n = part / REGISTER;
    for (int at = 0; at < L; at += part, acc += part, weight += part * 4)
        for (uint32_t k = row.first[q0]; k < row.first[q1]; k++) {
            const uint32_t to = row.starts[k + 1];
            uint32_t i = row.starts[k];
            fr *a = (fr *)(acc + ((int64_t)row.pixels[k] - q0) * L), sum[AT_ONCE / REGISTER];
            for (int j = 0; j < n; j++) sum[j] = a[j];
            for (; i < to; i++) {
                const fr *w = (const fr *)(weight + (uint32_t)row.lists[i] * (uint32_t)(L / 16));
                if (valued)
                    for (int j = 0; j < n; j++) sum[j] += w[j] * row.values[i];
                else
                    for (int j = 0; j < n; j++) sum[j] += w[j];
            }
            for (int j = 0; j < n; j++) a[j] = sum[j];
        }
}

/* The same sums in the same order where most inputs are spikes: `pixels` of them share each row of weights. */
INLINE void dense_pixels(float *acc, const char *weight, const float *in, int size, int L, int pixels) {
    const int part = L < DENSE ? L : DENSE, n = part / REGISTER;
    for (int at = 0; at < L; at += part) {
        fr sum[DENSE_PIXELS][DENSE / REGISTER];         /* in registers, once the loops over it are written out */
        UNROLL for (int p = 0; p < pixels; p++)
            UNROLL for (int j = 0; j < n; j++) sum[p][j] = ((const fr *)(acc + p * L + at))[j];
        for (int c = 0; c < size; c++) {
            const fr *w = (const fr *)((const float *)weight + (int64_t)c * L + at);
            UNROLL for (int p = 0; p < pixels; p++) {
                const fr s = all(in[p * size + c]);
                UNROLL for (int j = 0; j < n; j++) sum[p][j] = add_if(s, w[j], sum[p][j]);
            }
        }
        UNROLL for (int p = 0; p < pixels; p++)
            UNROLL for (int j = 0; j < n; j++) ((fr *)(acc + p * L + at))[j] = sum[p][j];
    }
}

INLINE void dense_row(float *acc, const char *weight, const Row row, int q0, int q1, int L, int size) {
    int q = q0;
    for (; q + DENSE_PIXELS <= q1; q += DENSE_PIXELS)
        dense_pixels(acc + (int64_t)(q - q0) * L, weight, row.dense + (int64_t)q * size, size, L, DENSE_PIXELS);
    for (; q < q1; q++) dense_pixels(acc + (int64_t)(q - q0) * L, weight, row.dense + (int64_t)q * size, size, L, 1);
}

INLINE int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

INLINE void conv_tile(const Op *op, const Frame *f, int item, int L) {
    const int blocks = blocks_of(op->oc), block = item % blocks, tile = item / blocks;
    const int across = (op->ow + op->tile_w - 1) / op->tile_w;
    const int y0 = tile / across * op->tile_h, x0 = tile % across * op->tile_w;
    const int y1 = y0 + op->tile_h < op->oh ? y0 + op->tile_h : op->oh;
    const int x1 = x0 + op->tile_w < op->ow ? x0 + op->tile_w : op->ow;
    const int width = x1 - x0, segments = segments_of(op->ic);
    const int64_t taps = (int64_t)op->kh * op->kw;
    const char *weight = (const char *)(op->weight + taps * op->ic * BLOCK * block);
    const float *bias = op->bias + block * BLOCK;
    uint64_t touched[4] = {0};          /* rows of the tile that have a spike in their window; a tile has at most 256 rows */

    for (int ky = 0; ky < op->kh; ky++)
        for (int kx = 0; kx < op->kw; kx++) {
            const int dx = kx - op->pad, shift = floor_div(dx, op->stride), phase = dx - shift * op->stride;
            const int whole = op->iw / op->stride, extra = op->iw % op->stride;
            const int base = phase * whole + (phase < extra ? phase : extra), count = whole + (phase < extra);
            const int q0 = x0 + shift > 0 ? x0 + shift : 0, q1 = x1 + shift < count ? x1 + shift : count;
            const char *w = weight + (int64_t)(ky * op->kw + kx) * op->ic * L * 4;
            for (int s = 0; s < segments && q0 < q1; s++, w += SEGMENT * L * 4)
                for (int y = y0; y < y1; y++) {
                    const int iy = y * op->stride + ky - op->pad;
                    if (iy < 0 || iy >= op->ih) continue;
                    const Row row = stream_row(op, f->arena, op->in, iy, s);
                    if (row.first[base + q0] == row.first[base + q1]) continue;
                    const int r = y - y0;
                    float *acc = f->acc + (int64_t)r * width * L;
                    if (!(touched[r / 64] >> r % 64 & 1)) {
                        touched[r / 64] |= 1ull << r % 64;
                        for (int x = 0; x < width; x++)
                            memcpy(acc + x * L, bias, (size_t)L * 4);
                    }
                    acc += (int64_t)(q0 - shift - x0) * L;
                    if (row.values)
                        add_row(acc, w, row, base + q0, base + q1, L, 1);
                    else if (HAS_DENSE && *row.is_dense)
                        dense_row(acc, w, row, base + q0, base + q1, L, segment_size(op->ic, s));
                    else
                        add_row(acc, w, row, base + q0, base + q1, L, 0);
                }
        }

    const int lanes = lanes_of(op->oc), words = blocks;
    for (int y = y0; y < y1; y++) {
        const int r = y - y0, any = touched[r / 64] >> r % 64 & 1;
        const float *sums = any ? f->acc + (int64_t)r * width * L : bias;
        const int64_t pixel = (int64_t)y * op->ow + x0;
        if (op->state < 0) {
            float *out = (float *)(f->arena + op->out) + pixel * lanes + block * BLOCK;
            for (int x = 0; x < width; x++) memcpy(out + (int64_t)x * lanes, sums + (any ? x * L : 0), (size_t)L * 4);
        } else
            fire_pixels(op, f, pixel, width, block, sums, any ? L : 0, L, words);
    }
}

INLINE void conv(const Op *op, const Frame *f, int item) {
    switch (block_lanes(op->oc, item % blocks_of(op->oc))) {
    case 64: conv_tile(op, f, item, 64); break;
    case 32: conv_tile(op, f, item, 32); break;
    default: conv_tile(op, f, item, 16);
    }
}

#endif
