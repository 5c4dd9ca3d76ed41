/* Layers without weights and without state, the input and the output. One item is one row of the output map, unless
 * a comment says otherwise. */
#pragma once

#include "../event.h"
#include "simd.h"

INLINE const float *floats(const Context *ctx, int64_t at) { return (const float *)(ctx->arena + at); }
INLINE const uint64_t *words_at(const Context *ctx, int64_t at) { return (const uint64_t *)(ctx->arena + at); }
/* The row of the output map that an item writes. */
INLINE float *row_out(const Op *op, const Context *ctx, int y) {
    return (float *)(ctx->arena + op->out) + (int64_t)y * op->ow * lanes_of(op->oc);
}
INLINE int bit(const uint64_t *words, int c) { return (int)(words[c / 64] >> c % 64 & 1); }

/* The place that a tap of a window reads; -1 outside of the map. */
INLINE int64_t tap_at(const Op *op, int y, int x, int ky, int kx) {
    const int iy = y * op->stride_y + ky * op->dilation_y - op->pad_y,
              ix = x * op->stride + kx * op->dilation - op->pad;
    return iy < 0 || iy >= op->ih || ix < 0 || ix >= op->iw ? -1 : (int64_t)iy * op->iw + ix;
}

/* Max-pooling of spikes is an OR. */
INLINE void spike_pool(const Op *op, const Context *ctx, int y) {
    const int words = blocks_of(op->oc);
    const uint64_t *in = words_at(ctx, op->in);
    uint64_t *out = (uint64_t *)(ctx->arena + op->out) + (int64_t)y * op->ow * words;
    const int plain = !(op->pad | op->pad_y) && op->dilation == 1 && op->dilation_y == 1;
    if (plain && op->kh == 2 && op->kw == 2 && op->stride == 2 && op->stride_y == 2) {
        const uint64_t *top = in + (int64_t)2 * y * op->iw * words, *low = top + (int64_t)op->iw * words;
        for (int x = 0; x < op->ow; x++, top += 2 * words, low += 2 * words)
            for (int w = 0; w < words; w++) *out++ = top[w] | top[w + words] | low[w] | low[w + words];
        return;
    }
    memset(out, 0, (size_t)op->ow * (size_t)words * 8);
    for (int x = 0; x < op->ow; x++, out += words)
        for (int ky = 0; ky < op->kh; ky++)
            for (int kx = 0; kx < op->kw; kx++) {
                const int64_t at = tap_at(op, y, x, ky, kx);
                for (int w = 0; at >= 0 && w < words; w++) out[w] |= in[at * words + w];
            }
}

/* Zeros of the padding count in an average; the largest of none is minus infinity. */
INLINE void float_pool(const Op *op, const Context *ctx, int y, int average) {
    const int lanes = lanes_of(op->oc);
    const float *in = floats(ctx, op->in);
    float *out = row_out(op, ctx, y);
    const float size = (float)op->kh * (float)op->kw;
    for (int x = 0; x < op->ow; x++, out += lanes) {
        int taps = 0;
        for (int ky = 0; ky < op->kh; ky++)
            for (int kx = 0; kx < op->kw; kx++) {
                const int64_t at = tap_at(op, y, x, ky, kx);
                const float *p = in + at * lanes;
                if (at < 0) continue;
                if (!taps++)
                    memcpy(out, p, (size_t)lanes * 4);
                else if (average)
                    for (int c = 0; c < lanes; c++) out[c] += p[c];
                else
                    for (int c = 0; c < lanes; c++) out[c] = p[c] > out[c] || p[c] != p[c] ? p[c] : out[c];
            }
        if (average || !taps)
            for (int c = 0; c < lanes; c++) out[c] = taps ? out[c] / size : average ? 0 : -__builtin_inff();
    }
}

INLINE void affine(const Op *op, const Context *ctx, int y) {
    const int lanes = lanes_of(op->oc);
    const float *in = floats(ctx, op->in) + (int64_t)y * op->ow * lanes;
    float *out = row_out(op, ctx, y);
    const float *scale = op->weight;
    for (int x = 0; x < op->ow; x++, in += lanes, out += lanes)
        for (int c = 0; c < lanes; c++) out[c] = in[c] * scale[c] + op->bias[c];
}

INLINE void add(const Op *op, const Context *ctx, int y) {
    const int64_t size = (int64_t)op->ow * lanes_of(op->oc);
    const float *a = floats(ctx, op->in) + y * size, *b = floats(ctx, op->in2) + y * size;
    float *out = row_out(op, ctx, y);
    for (int64_t i = 0; i < size; i++) out[i] = a[i] + b[i];
}

/* spikes -> floats */
INLINE void unpack(const Op *op, const Context *ctx, int y) {
    const int lanes = lanes_of(op->oc), words = blocks_of(op->oc);
    const uint64_t *in = words_at(ctx, op->in) + (int64_t)y * op->ow * words;
    float *out = row_out(op, ctx, y);
    for (int x = 0; x < op->ow; x++, in += words, out += lanes)
        for (int c = 0; c < lanes; c++) out[c] = (float)bit(in, c);
}

/* the caller's x [C][H][W] -> floats */
INLINE void load(const Op *op, const Context *ctx, int y) {
    const int lanes = lanes_of(op->oc);
    float *out = row_out(op, ctx, y);
    for (int x = 0; x < op->ow; x++, out += lanes)
        for (int c = 0; c < lanes; c++) out[c] = c < op->oc ? ctx->x[((int64_t)c * op->oh + y) * op->ow + x] : 0.0f;
}

/* floats [H][W][lanes(C)] -> one pixel of C * H * W channels, in the order of [C][H][W]; one item in all */
INLINE void flatten(const Op *op, const Context *ctx) {
    const int lanes = lanes_of(op->ic);
    const float *in = floats(ctx, op->in);
    float *out = (float *)(ctx->arena + op->out);
    for (int c = 0; c < op->ic; c++)
        for (int p = 0; p < op->ih * op->iw; p++) *out++ = in[(int64_t)p * lanes + c];
    for (int c = op->oc; c < lanes_of(op->oc); c++) *out++ = 0;
}

INLINE float channel(const Op *op, const Context *ctx, int c) {
    return op->from == FROM_SPIKES ? (float)bit(words_at(ctx, op->in), c) : floats(ctx, op->in)[c];
}

/* one item: y[k] = mean of its voters */
INLINE void vote(const Op *op, const Context *ctx) {
    float *out = op->out < 0 ? ctx->y : (float *)(ctx->arena + op->out);
    for (int k = 0; k < op->oc; k++) {
        float sum = 0;
        for (int i = 0; i < op->voters; i++) sum += channel(op, ctx, k * op->voters + i);
        out[k] = sum / (float)op->voters;
    }
}

INLINE void output(const Op *op, const Context *ctx) {
    for (int c = 0; c < op->oc; c++) ctx->y[c] = channel(op, ctx, c);
}

/* A state as a map of floats. */
INLINE void state_row(const Op *op, const Context *ctx, const float *v, int y) {
    const int64_t size = (int64_t)op->ow * lanes_of(op->oc);
    memcpy(row_out(op, ctx, y), v + ctx->row * ctx->v_stride[op->state] + y * size, (size_t)size * 4);
}

/* one item: the share of neurons that fired; of floats, those that are not zero */
INLINE void rate(const Op *op, const Context *ctx) {
    if (!ctx->rates) return;
    const int64_t n = (int64_t)op->ih * op->iw * blocks_of(op->ic);
    const uint64_t *in = words_at(ctx, op->in);
    int64_t fired = 0;
    if (op->from == FROM_SPIKES)
        for (int64_t i = 0; i < n; i++) fired += __builtin_popcountll(in[i]);
    else
        for (int64_t p = 0; p < (int64_t)op->ih * op->iw; p++)
            for (int c = 0; c < op->ic; c++) fired += floats(ctx, op->in)[p * lanes_of(op->ic) + c] != 0;
    ctx->rates[op->state][ctx->rate_index] = (float)((double)fired / ((double)op->ih * op->iw * op->ic));
}
