/* Neurons: charge, fire, reset, with the letters and the order of operations of runtime/graph.py.
 *
 * The subtraction of v_reset is left out where v_reset is 0, which changes no bit. Membranes may be updated in place.
 */
#ifndef PLIF_NEURON_H
#define PLIF_NEURON_H

#include "event.h"
#include "simd.h"

/* The sums of a run of pixels, `stride` bytes from one to the next. Pixels that are not `touched` have those at `start`. */
typedef struct {
    const char *at, *start;
    int64_t stride;
    uint64_t touched;
} Sums;

INLINE const char *sums_of(const Sums x, int pixel) { return x.touched >> pixel & 1 ? x.at + pixel * x.stride : x.start; }

/* Register j of the currents of a block: the sums themselves, or whole numbers times the scale of each output. */
INLINE fr current(const Op *op, const char *sums, int block, int j, int kind) {
    const fr *scale = (const fr *)(op->scale + block * BLOCK), *bias = (const fr *)(op->bias + block * BLOCK);
    if (kind == SUM_FLOAT) return ((const fr *)sums)[j];
    if (kind == SUM_EXACT) return ((const fr *)sums)[j] * scale[j] + bias[j];
    const ir whole = kind == SUM_INT16 ? widen((const int16_t *)sums + j * REGISTER) : ((const ir *)sums)[j];
    return __builtin_convertvector(whole, fr) * scale[j] + bias[j];
}

INLINE void fire_block(const Op *op, const float *v, float *v_next, const char *x, const float *alpha, uint64_t *spikes,
                       int block, int L, int kind, int charge, int soft) {
    const fr threshold = all(op->v_threshold), r = all(op->v_reset);
    uint64_t fired = 0;
    for (int j = 0; j < L / REGISTER; j++) {
        const fr before = ((const fr *)v)[j], in = current(op, x, block, j, kind);
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

/* `width` (at most 64) pixels from `pixel` on, L outputs from `block` on: one block of them, or two. */
INLINE void fire_run(const Op *op, const Frame *f, int64_t pixel, int width, int block, const Sums x, int L, int kind,
                     int charge, int soft) {
    const int lanes = lanes_of(op->oc), words = blocks_of(op->oc), part = L < BLOCK ? L : BLOCK, bytes = kind == SUM_INT16 ? 2 : 4;
    const int64_t at = f->row * f->v_stride[op->state] + pixel * lanes + block * BLOCK;
    const float *v = f->v[op->state] + at;
    float *v_next = f->v_next[op->state] + at;
    const float *alpha = op->alpha + block * BLOCK;
    uint64_t *out = (uint64_t *)(f->arena + op->out) + pixel * words + block;
    const int here = op->oc - block * BLOCK;
    for (int i = 0; i < width; i++) {
        const char *sums = sums_of(x, i);
        for (int b = 0; b < L; b += BLOCK) {
            const uint64_t valid = here - b >= 64 ? ~0ull : (1ull << (here - b)) - 1;
            const int64_t from = (int64_t)i * lanes + b;
            uint64_t fired;
            fire_block(op, v + from, v_next + from, sums + b * bytes, alpha + b, &fired, block + b / BLOCK, part, kind, charge, soft);
            out[(int64_t)i * words + b / BLOCK] = fired & valid;
        }
    }
}

INLINE void fire_pixels(const Op *op, const Frame *f, int64_t pixel, int width, int block, const Sums x, int L, int kind) {
    if (op->charge == CHARGE_FOLDED && !op->soft)       /* what an export writes unless told otherwise */
        fire_run(op, f, pixel, width, block, x, L, kind, CHARGE_FOLDED, 0);
    else if (op->charge == CHARGE_EXACT && !op->soft)
        fire_run(op, f, pixel, width, block, x, L, kind, CHARGE_EXACT, 0);
    else
        fire_run(op, f, pixel, width, block, x, L, kind, op->charge, op->soft);
}

/* A neuron that no convolution feeds directly: one row of pixels. */
INLINE void neuron_row(const Op *op, const Frame *f, int y) {
    const int lanes = lanes_of(op->oc);
    for (int from = 0; from < op->ow; from += 64) {
        const int64_t pixel = (int64_t)y * op->ow + from;
        const int width = op->ow - from < 64 ? op->ow - from : 64;
        for (int b = 0; b < blocks_of(op->oc); b++) {
            const Sums in = {f->arena + op->in + (pixel * lanes + b * BLOCK) * 4, 0, lanes * 4, ~0ull};
            switch (block_lanes(op->oc, b)) {
            case 64: fire_pixels(op, f, pixel, width, b, in, 64, SUM_FLOAT); break;
            case 32: fire_pixels(op, f, pixel, width, b, in, 32, SUM_FLOAT); break;
            default: fire_pixels(op, f, pixel, width, b, in, 16, SUM_FLOAT);
            }
        }
    }
}

#endif
