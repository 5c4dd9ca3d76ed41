/* Neurons: charge, fire, reset, with the letters and the order of operations of runtime/graph.py.
 *
 * The subtraction of v_reset is left out where v_reset is 0, which changes no bit. Membranes may be updated in place.
 */
#ifndef PLIF_NEURON_H
#define PLIF_NEURON_H

#include "event.h"
#include "simd.h"

INLINE void fire_block(const Op *op, const float *v, float *v_next, const float *x, const float *alpha, uint64_t *spikes,
                       int L, int charge, int soft) {
    const fr threshold = all(op->v_threshold), r = all(op->v_reset);
    uint64_t fired = 0;
    for (int j = 0; j < L / REGISTER; j++) {
        const fr before = ((const fr *)v)[j], in = ((const fr *)x)[j];
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
    *spikes = fired;
}

/* `width` pixels from `pixel` on, one block of outputs; x advances by x_stride floats a pixel (0: the same for all). */
INLINE void fire_run(const Op *op, const Frame *f, int64_t pixel, int width, int block, const float *x, int64_t x_stride,
                     int L, int words, int charge, int soft) {
    const int lanes = lanes_of(op->oc);
    const int64_t at = f->row * f->v_stride[op->state] + pixel * lanes + block * BLOCK;
    const float *v = f->v[op->state] + at;
    float *v_next = f->v_next[op->state] + at;
    const float *alpha = op->alpha + block * BLOCK;
    uint64_t *out = (uint64_t *)(f->arena + op->out) + pixel * words + block;
    const int here = op->oc - block * BLOCK;
    const uint64_t valid = here >= 64 ? ~0ull : (1ull << here) - 1;
    for (int i = 0; i < width; i++) {
        uint64_t fired;
        fire_block(op, v + (int64_t)i * lanes, v_next + (int64_t)i * lanes, x + i * x_stride, alpha, &fired, L, charge, soft);
        out[(int64_t)i * words] = fired & valid;
    }
}

INLINE void fire_pixels(const Op *op, const Frame *f, int64_t pixel, int width, int block, const float *x, int64_t x_stride,
                        int L, int words) {
    if (op->charge == CHARGE_FOLDED && !op->soft)       /* what an export writes unless told otherwise */
        fire_run(op, f, pixel, width, block, x, x_stride, L, words, CHARGE_FOLDED, 0);
    else if (op->charge == CHARGE_EXACT && !op->soft)
        fire_run(op, f, pixel, width, block, x, x_stride, L, words, CHARGE_EXACT, 0);
    else
        fire_run(op, f, pixel, width, block, x, x_stride, L, words, op->charge, op->soft);
}

/* A neuron that no convolution feeds directly: one row of pixels. */
INLINE void neuron_row(const Op *op, const Frame *f, int y) {
    const int lanes = lanes_of(op->oc), words = blocks_of(op->oc);
    const float *x = (const float *)(f->arena + op->in) + (int64_t)y * op->ow * lanes;
    for (int b = 0; b < words; b++) {
        const int L = block_lanes(op->oc, b);
        const float *in = x + b * BLOCK;
        if (L == 64)
            fire_pixels(op, f, (int64_t)y * op->ow, op->ow, b, in, lanes, 64, words);
        else if (L == 32)
            fire_pixels(op, f, (int64_t)y * op->ow, op->ow, b, in, lanes, 32, words);
        else
            fire_pixels(op, f, (int64_t)y * op->ow, op->ow, b, in, lanes, 16, words);
    }
}

#endif
