/* Neurons: charge, fire, reset, with the letters and the order of operations of runtime/core/model/graph.py.
 *
 * The subtraction of v_reset is left out where v_reset is 0, which changes no bit. Membranes may be updated in
 * place. */
#pragma once

#include "../event.h"
#include "simd.h"

/* The sums of consecutive pixels, `stride` bytes from one to the next. A pixel that is not `touched` has the sums
 * at `start`. */
typedef struct {
    const char *at, *start;
    int64_t stride;
    uint64_t touched;
} Sums;

INLINE const char *sums_of(const Sums x, int pixel) {
    return x.touched >> pixel & 1 ? x.at + pixel * x.stride : x.start;
}

/* Register j of the currents: the sums themselves, or whole numbers times the scale of each output. */
INLINE fr current_of(const char *sums, fr scale, fr bias, int j, int kind) {
    if (kind == SUM_FLOAT) return ((const fr *)sums)[j];
    fr whole;
    if (kind == SUM_EXACT)
        whole = ((const fr *)sums)[j];
    else
        whole = __builtin_convertvector(
            kind == SUM_INT16 ? widen((const int16_t *)sums + j * REGISTER) : ((const ir *)sums)[j], fr);
    return whole * scale + bias;
}
INLINE fr current(const char *sums, const float *scale, const float *bias, int j, int kind) {
    if (kind == SUM_FLOAT) return ((const fr *)sums)[j]; /* which has no scale */
    return current_of(sums, ((const fr *)scale)[j], ((const fr *)bias)[j], j, kind);
}

/* L outputs of one block and pixel; returns the spikes. */
INLINE uint64_t fire_block(const Op *op, const float *v, float *v_next, const char *x, const float *alpha,
                           const float *scale, const float *bias, int L, int kind, int charge, int soft) {
    const fr threshold = all(op->v_threshold), r = all(op->v_reset);
    uint64_t fired = 0;
    for (int j = 0; j < L / REGISTER; j++) {
        const fr before = ((const fr *)v)[j], in = current(x, scale, bias, j, kind);
        fr h;
        if (charge == CHARGE_IF)
            h = before + in;
        else {
            const fr a = ((const fr *)alpha)[j];
            if (charge == CHARGE_FOLDED)
                h = before * a + in;
            else if (charge == CHARGE_EXACT)
                h = before + (in - (before - r)) * a;
            else
                h = before - (before - r) * a + in;
        }
        const uint32_t mask = at_least(h, threshold);
        fr reset = r;
        if (soft) reset = h - threshold;
        ((fr *)v_next)[j] = where_fired(mask, threshold, reset, h);
        fired |= (uint64_t)mask << (REGISTER * j);
    }
    return fired;
}

/* `width` (at most 64) pixels from `pixel` on, L outputs from `lane` on. */
INLINE void fire_run(const Op *op, const Context *ctx, int64_t pixel, int width, int lane, const Sums x, int L,
                     int kind, int charge, int soft) {
    const int lanes = lanes_of(op->oc), words = blocks_of(op->oc), here = op->oc - lane,
              bytes = kind == SUM_INT16 ? 2 : 4;
    const int64_t at = ctx->row * ctx->v_stride[op->state] + pixel * lanes + lane;
    const float *v = ctx->v[op->state] + at, *alpha = op->alpha + lane;
    const float *bias = kind == SUM_FLOAT ? alpha : op->bias + lane,
                *scale = kind == SUM_FLOAT ? alpha : op->scale + lane; /* not read */
    float *v_next = ctx->v_next[op->state] + at;
    uint64_t *out = (uint64_t *)(ctx->arena + op->out) + pixel * words + lane / BLOCK;
    for (int i = 0; i < width; i++, v += lanes, v_next += lanes, out += words) {
        const char *sums = sums_of(x, i);
        for (int b = 0; b < L; b += BLOCK) {
            const char *s = sums + b * bytes;
            if (here - b >= BLOCK)
                out[b / BLOCK] =
                    fire_block(op, v + b, v_next + b, s, alpha + b, scale + b, bias + b, BLOCK, kind, charge, soft);
            else
                out[b / BLOCK] = ((1ull << (here - b)) - 1) & fire_block(op, v + b, v_next + b, s, alpha + b, scale + b,
                                                                         bias + b, L - b < BLOCK ? L - b : BLOCK, kind,
                                                                         charge, soft);
        }
    }
}

/* Functions that are not inlined, for the reason given in rows.h. */
#define FIRE(name, kind) \
    static __attribute__((noinline)) void name(const Op *op, const Context *ctx, int64_t pixel, int width, int lane, \
                                               Sums x, int L) { \
        if (op->charge == CHARGE_FOLDED && !op->soft) /* what an export writes unless told otherwise */ \
            fire_run(op, ctx, pixel, width, lane, x, L, kind, CHARGE_FOLDED, 0); \
        else if (op->charge == CHARGE_EXACT && !op->soft) \
            fire_run(op, ctx, pixel, width, lane, x, L, kind, CHARGE_EXACT, 0); \
        else \
            fire_run(op, ctx, pixel, width, lane, x, L, kind, op->charge, op->soft); \
    }
FIRE(fire_float, SUM_FLOAT)
FIRE(fire_exact, SUM_EXACT)
FIRE(fire_int16, SUM_INT16)
FIRE(fire_int32, SUM_INT32)

/* As fire_run for exactly L channels with folded charge and hard reset: what is the same for all pixels stays in
 * registers. */
INLINE void fire_same(const Op *op, const Context *ctx, int64_t pixel, int width, int lane, const Sums x, int L,
                      int kind) {
    const int lanes = lanes_of(op->oc), words = blocks_of(op->oc), bytes = kind == SUM_INT16 ? 2 : 4;
    const int n = (L < BLOCK ? L : BLOCK) / REGISTER; /* registers of one word of spikes */
    const int64_t at = ctx->row * ctx->v_stride[op->state] + pixel * lanes + lane;
    const float *v = ctx->v[op->state] + at;
    float *v_next = ctx->v_next[op->state] + at;
    uint64_t *out = (uint64_t *)(ctx->arena + op->out) + pixel * words + lane / BLOCK;
    const fr threshold = all(op->v_threshold), reset = all(op->v_reset);
    fr alpha[WIDE_BLOCK / REGISTER], bias[WIDE_BLOCK / REGISTER], scale[WIDE_BLOCK / REGISTER];
    UNROLL for (int j = 0; j < L / REGISTER; j++) {
        alpha[j] = ((const fr *)(op->alpha + lane))[j];
        bias[j] = kind == SUM_FLOAT ? (fr){0} : ((const fr *)(op->bias + lane))[j]; /* float sums contain it */
        scale[j] = kind == SUM_FLOAT ? (fr){0} : ((const fr *)(op->scale + lane))[j];
    }
    for (int i = 0; i < width; i++, v += lanes, v_next += lanes, out += words) {
        const char *sums = sums_of(x, i);
        UNROLL for (int b = 0; b < (L + BLOCK - 1) / BLOCK; b++) {
            uint64_t fired = 0;
            UNROLL for (int k = 0; k < n; k++) {
                const int j = b * n + k;
                const fr in = current_of(sums + b * BLOCK * bytes, scale[j], bias[j], k, kind);
                const fr h = ((const fr *)v)[j] * alpha[j] + in;
                const uint32_t mask = at_least(h, threshold);
                ((fr *)v_next)[j] = where_fired(mask, threshold, reset, h);
                fired |= (uint64_t)mask << (REGISTER * k);
            }
            out[b] = fired;
        }
    }
}

#define FIRE_SAME(name, L, kind) \
    static __attribute__((noinline)) void name(const Op *op, const Context *ctx, int64_t pixel, int width, int lane, \
                                               Sums x) { \
        fire_same(op, ctx, pixel, width, lane, x, L, kind); \
    }
#define FIRE_ALL(L) \
    FIRE_SAME(fire_##L##_float, L, SUM_FLOAT) \
    FIRE_SAME(fire_##L##_int16, L, SUM_INT16) \
    FIRE_SAME(fire_##L##_int32, L, SUM_INT32)
FIRE_ALL(16)
FIRE_ALL(32)
FIRE_ALL(64)
FIRE_ALL(128)

/* One of these, where registers are enough for the constants of all its outputs and there are pixels that share
 * them; else 0. */
typedef void fire_all(const Op *op, const Context *ctx, int64_t pixel, int width, int lane, Sums x);
INLINE fire_all *fire_all_of(const Op *op, int width, int lane, int L, int kind) {
    static fire_all *const all[][3] = {{fire_16_float, fire_16_int16, fire_16_int32},
                                       {fire_32_float, fire_32_int16, fire_32_int32},
                                       {fire_64_float, fire_64_int16, fire_64_int32},
                                       {fire_128_float, fire_128_int16, fire_128_int32}};
    const int size = L == 16 ? 0 : L == 32 ? 1 : L == 64 ? 2 : L == 128 ? 3 : -1;
    if (REGISTER < 16 || op->charge != CHARGE_FOLDED || op->soft || width < 4 || op->oc - lane < L || size < 0 ||
        kind == SUM_EXACT)
        return 0;
    return all[size][kind == SUM_FLOAT ? 0 : kind == SUM_INT16 ? 1 : 2];
}

INLINE void fire_pixels(const Op *op, const Context *ctx, int64_t pixel, int width, int lane, const Sums x, int L,
                        int kind) {
    fire_all *const fire = fire_all_of(op, width, lane, L, kind);
    if (fire) {
        fire(op, ctx, pixel, width, lane, x);
        return;
    }
    switch (kind) {
    case SUM_FLOAT: fire_float(op, ctx, pixel, width, lane, x, L); break;
    case SUM_EXACT: fire_exact(op, ctx, pixel, width, lane, x, L); break;
    case SUM_INT16: fire_int16(op, ctx, pixel, width, lane, x, L); break;
    default: fire_int32(op, ctx, pixel, width, lane, x, L);
    }
}

/* A neuron that is not fused with a convolution: one row of the map. */
INLINE void neuron_row(const Op *op, const Context *ctx, int y) {
    const int lanes = lanes_of(op->oc);
    for (int from = 0; from < op->ow; from += 64) {
        const int64_t pixel = (int64_t)y * op->ow + from;
        const Sums in = {ctx->arena + op->in + pixel * lanes * 4, 0, lanes * 4, ~0ull};
        fire_pixels(op, ctx, pixel, op->ow - from < 64 ? op->ow - from : 64, 0, in, lanes, SUM_FLOAT);
    }
}
