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
#include "stream.h"

/* Pixels q0 to q1 of one row: sums += the weights of each one's inputs. The sums of a pixel stay in registers meanwhile.
 * `seen`: which pixels from q0 on have sums already; the others begin with `start`. Returns which have them now. */
INLINE uint64_t add_row(float *acc, const char *weight, const float *start, uint64_t seen, const Row *row, int q0, int q1,
                        int L, int valued) {
    const int part = L < AT_ONCE ? L : AT_ONCE, n = part / REGISTER;
    const uint32_t *starts = row->starts, *pixels = row->pixels, from_k = row->first[q0], to_k = row->first[q1];
    const uint16_t *lists = row->lists;
    uint64_t now = seen;
    for (int at = 0; at < L; at += part, acc += part, start += part, weight += part * 4)
        for (uint32_t k = from_k; k < to_k; k++) {
            const uint32_t to = starts[k + 1], p = pixels[k] - (uint32_t)q0;
            uint32_t i = starts[k];
            fr *a = (fr *)(acc + (int64_t)p * L), sum[AT_ONCE / REGISTER];
            const fr *from = seen >> p & 1 ? a : (const fr *)start;
            now |= 1ull << p;
            for (int j = 0; j < n; j++) sum[j] = from[j];
            for (; i < to; i++) {
                const fr *w = (const fr *)(weight + (uint32_t)lists[i] * (uint32_t)(L / 16));
                if (valued)
                    for (int j = 0; j < n; j++) sum[j] += w[j] * row->values[i];
                else
                    for (int j = 0; j < n; j++) sum[j] += w[j];
            }
            for (int j = 0; j < n; j++) a[j] = sum[j];
        }
    return now;
}

/* The same with int8 weights, kept as int16. A segment has at most 128 inputs, so int16 holds the sum of one tap and segment
 * (128 * 128 < 2^15) whatever the weights; `wide` adds it to sums of int32. */
INLINE uint64_t add_row_int(char *acc, const char *weight, const char *start, uint64_t seen, const Row *row, int q0, int q1,
                            int L, int wide) {
    const int part = L < 2 * AT_ONCE ? L : 2 * AT_ONCE, n = part / (2 * REGISTER), bytes = wide ? 4 : 2;
    const uint32_t *starts = row->starts, *pixels = row->pixels, from_k = row->first[q0], to_k = row->first[q1];
    const uint16_t *lists = row->lists;
    uint64_t now = seen;
    for (int at = 0; at < L; at += part, acc += part * bytes, start += part * bytes, weight += part * 2)
        for (uint32_t k = from_k; k < to_k; k++) {
            const uint32_t to = starts[k + 1], p = pixels[k] - (uint32_t)q0;
            uint32_t i = starts[k];
            char *a = acc + (int64_t)p * L * bytes;
            const char *from = seen >> p & 1 ? a : start;
            sr sum[2 * AT_ONCE / (2 * REGISTER)];
            now |= 1ull << p;
            for (int j = 0; j < n; j++) sum[j] = wide ? (sr){0} : ((const sr *)from)[j];
            for (; i < to; i++) {
                const uint32_t entry = lists[i];
                const sr *w = (const sr *)(weight + (L >= 32 ? entry * (uint32_t)(L / 32) : entry / 2));
                for (int j = 0; j < n; j++) sum[j] += w[j];
            }
            if (wide)
                for (int j = 0; j < 2 * n; j++) ((ir *)a)[j] = ((const ir *)from)[j] + widen((const int16_t *)sum + j * REGISTER);
            else
                for (int j = 0; j < n; j++) ((sr *)a)[j] = sum[j];
        }
    return now;
}

/* Functions of their own: written into the loops around them, they leave too few registers for these inner ones. */
#define ADD_ROW(name, L, valued)                                                                                         \
    static __attribute__((noinline)) uint64_t name(float *acc, const char *weight, const float *start, uint64_t seen,    \
                                                   const Row *row, int q0, int q1) {                                     \
        return add_row(acc, weight, start, seen, row, q0, q1, L, valued);                                                \
    }
#define ADD_ROW_INT(name, L, wide)                                                                                       \
    static __attribute__((noinline)) uint64_t name(float *acc, const char *weight, const float *start, uint64_t seen,    \
                                                   const Row *row, int q0, int q1) {                                     \
        return add_row_int((char *)acc, weight, (const char *)start, seen, row, q0, q1, L, wide);                        \
    }
ADD_ROW(add_spikes_16, 16, 0) ADD_ROW(add_spikes_32, 32, 0) ADD_ROW(add_spikes_64, 64, 0) ADD_ROW(add_spikes_128, 128, 0)
ADD_ROW(add_values_16, 16, 1) ADD_ROW(add_values_32, 32, 1) ADD_ROW(add_values_64, 64, 1) ADD_ROW(add_values_128, 128, 1)
ADD_ROW_INT(add_int16_16, 16, 0) ADD_ROW_INT(add_int16_32, 32, 0) ADD_ROW_INT(add_int16_64, 64, 0) ADD_ROW_INT(add_int16_128, 128, 0)
ADD_ROW_INT(add_int32_16, 16, 1) ADD_ROW_INT(add_int32_32, 32, 1) ADD_ROW_INT(add_int32_64, 64, 1) ADD_ROW_INT(add_int32_128, 128, 1)

typedef uint64_t adder(float *acc, const char *weight, const float *start, uint64_t seen, const Row *row, int q0, int q1);

INLINE adder *adder_of(int L, int sums, int valued) {
    if (sums == SUM_INT16)
        return L == 128 ? add_int16_128 : L == 64 ? add_int16_64 : L == 32 ? add_int16_32 : add_int16_16;
    if (sums == SUM_INT32)
        return L == 128 ? add_int32_128 : L == 64 ? add_int32_64 : L == 32 ? add_int32_32 : add_int32_16;
    if (valued) return L == 128 ? add_values_128 : L == 64 ? add_values_64 : L == 32 ? add_values_32 : add_values_16;
    return L == 128 ? add_spikes_128 : L == 64 ? add_spikes_64 : L == 32 ? add_spikes_32 : add_spikes_16;
}

/* The same sums in the same order where most inputs are spikes: `pixels` of them share each row of weights. */
INLINE void dense_pixels(float *acc, const char *weight, const float *start, uint64_t seen, const float *in, int size, int L,
                         int pixels) {
    const int part = L < DENSE ? L : DENSE, n = part / REGISTER;
    for (int at = 0; at < L; at += part) {
        fr sum[DENSE_PIXELS][DENSE / REGISTER];         /* in registers, once the loops over it are written out */
        UNROLL for (int p = 0; p < pixels; p++) {
            const fr *from = (const fr *)((seen >> p & 1 ? acc + p * L : start) + at);
            UNROLL for (int j = 0; j < n; j++) sum[p][j] = from[j];
        }
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

INLINE void dense_row(float *acc, const char *weight, const float *start, uint64_t seen, const Row *row, int q0, int q1, int L,
                      int size) {
    const float *in = (const float *)row->dense;
    int q = q0;
    for (; q + DENSE_PIXELS <= q1; q += DENSE_PIXELS)
        dense_pixels(acc + (int64_t)(q - q0) * L, weight, start, seen >> (q - q0), in + (int64_t)q * size, size, L, DENSE_PIXELS);
    for (; q < q1; q++)
        dense_pixels(acc + (int64_t)(q - q0) * L, weight, start, seen >> (q - q0), in + (int64_t)q * size, size, L, 1);
}

INLINE int floor_div(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
INLINE uint64_t ones(int n) { return n >= 64 ? ~0ull : (1ull << n) - 1; }

INLINE void add_taps(const Op *op, const Frame *f, const Tile *t, const float *start, uint64_t *touched, int lane, int L, int sums) {
    const int segments = segments_of(op->ic), bytes = sums == SUM_INT16 ? 2 : 4, row_bytes = L * (sums >= SUM_INT16 ? 2 : 4);
    const char *weight = (const char *)op->weight + (int64_t)op->kh * op->kw * op->ic * lane * (sums >= SUM_INT16 ? 2 : 4);
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
                    if (sums >= SUM_INT16 && *row.is_dense) continue;       /* dense8.h did it */
                    if (row.first[from] == row.first[to]) continue;
                    char *acc = (char *)f->acc + ((int64_t)r * t->across + x) * L * bytes;
                    const uint64_t seen = touched[r] >> x;
                    uint64_t now = ones(q1 - q0);
                    if (HAS_DENSE && sums < SUM_INT16 && *row.is_dense)
                        dense_row((float *)acc, w, start, seen, &row, from, to, L, segment_size(op->ic, s));
                    else
                        now = adder_of(L, sums, op->values >= 0)((float *)acc, w, start, seen, &row, from, to);
                    touched[r] |= now << x;
                }
        }
}

static const float nothing[WIDE_BLOCK] __attribute__((aligned(64)));

/* One tile and the L outputs from `lane` on. */
INLINE void conv_tile(const Op *op, const Frame *f, const Tile *t, uint64_t *touched, int lane, int L, int sums) {
    const float *start = sums == SUM_FLOAT ? op->bias + lane : nothing;
    add_taps(op, f, t, start, touched, lane, L, sums);
    const int lanes = lanes_of(op->oc), bytes = sums == SUM_INT16 ? 2 : 4;
    for (int r = 0; r < t->height; r++) {
        const Sums x = {(const char *)f->acc + (int64_t)r * t->across * L * bytes, (const char *)start, L * bytes, touched[r]};
        const int64_t pixel = (int64_t)(t->y0 + r) * op->ow + t->x0;
        if (op->state >= 0)
            fire_pixels(op, f, pixel, t->width, lane / BLOCK, x, L, sums);
        else
            for (int i = 0; i < t->width; i++)
                for (int j = 0; j < L / REGISTER; j++)
                    ((fr *)((float *)(f->arena + op->out) + (pixel + i) * lanes + lane))[j] =
                        current(op, sums_of(x, i), lane / BLOCK, j, sums);
    }
}

/* int8: rows with many spikes as bytes, the others spike by spike. The sum is the same whole number either way. */
INLINE void conv_int(const Op *op, const Frame *f, const Tile *t, int lane, int L) {
    uint64_t touched[MOST_TILE_ROWS];
    const int dense = HAS_BYTES && op->dense_row && dense8_rows(op, f, t);
    for (int r = 0; r < t->height; r++) touched[r] = dense ? ~0ull : 0;
    if (dense) dense8(op, f, t, lane, L);
    if (!dense && op->sums == SUM_INT16)
        conv_tile(op, f, t, touched, lane, L, SUM_INT16);
    else
        conv_tile(op, f, t, touched, lane, L, SUM_INT32);
}

INLINE void conv_float(const Op *op, const Frame *f, const Tile *t, int lane, int L) {
    uint64_t touched[MOST_TILE_ROWS];
    for (int r = 0; r < t->height; r++) touched[r] = 0;
    if (op->sums == SUM_FLOAT)
        conv_tile(op, f, t, touched, lane, L, SUM_FLOAT);
    else
        conv_tile(op, f, t, touched, lane, L, SUM_EXACT);
}

INLINE void conv(const Op *op, const Frame *f, int item) {
    const int lanes = lanes_of(op->oc), ints = op->sums >= SUM_INT16, block = op->block;
    const int blocks = (op->oc + block - 1) / block, tile = item / blocks, across = (op->ow + op->tile_w - 1) / op->tile_w;
    Tile t = {tile / across * op->tile_h, tile % across * op->tile_w, op->tile_h, op->tile_w, 0};
    if (t.height > op->oh - t.y0) t.height = op->oh - t.y0;
    if (t.width > op->ow - t.x0) t.width = op->ow - t.x0;
    t.across = op->dense_row ? (t.width + 15) / 16 * 16 : t.width;
    int lane = item % blocks * block, left = lanes - lane < block ? lanes - lane : block;
    if (left == WIDE_BLOCK) {
        if (ints)
            conv_int(op, f, &t, lane, WIDE_BLOCK);
        else
            conv_float(op, f, &t, lane, WIDE_BLOCK);
        return;
    }
    for (; left > 0; left -= BLOCK, lane += BLOCK)
        switch ((left < BLOCK ? left : BLOCK) + ints) {
        case 64: conv_float(op, f, &t, lane, 64); break;
        case 32: conv_float(op, f, &t, lane, 32); break;
        case 16: conv_float(op, f, &t, lane, 16); break;
        case 65: conv_int(op, f, &t, lane, 64); break;
        case 33: conv_int(op, f, &t, lane, 32); break;
        default: conv_int(op, f, &t, lane, 16);
        }
}

#endif
