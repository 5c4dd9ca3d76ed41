/* Lazy neurons: where nothing comes in, nothing is stepped, and what was left out is made up for later, bit for
 * bit.
 *
 * A unit is UNIT_PIXELS pixels of a row and the outputs of one piece of a convolution. Where none of its windows
 * has an input, a step of it is v = v * alpha + bias, with these two roundings. It waits: its byte in Call.owed
 * counts the steps, and they are taken one after the other, in registers, when an input comes, when somebody looks
 * (plif_settle), or after some steps, so that no later step pays for all. A unit in which such a step changes no
 * bit owes nothing from then on.
 *
 * Only units that cannot fire meanwhile wait. Charge is monotone in v, in floats, too: if the largest float below
 * the threshold is charged to less than the threshold, so is every v below it. A unit of which nobody knows whether
 * it is below is stepped. */
#pragma once

#include "neuron.h"

#include <float.h>

enum { UNIT_PIXELS = 8, MOST_OWED = 16 };
/* What the byte of a unit says: membranes of any value; STEPPED + n: n steps are owed; a step changes nothing. */
enum { UNKNOWN = 0, STEPPED = 1, AT_REST = 255 };

INLINE uint8_t *owed_by(const Op *op, const Context *ctx, int64_t pixel, int lane) {
    return ctx->owed[op->state] + (ctx->row * ctx->v_stride[op->state] + pixel * lanes_of(op->oc) + lane) / OWED_FLOATS;
}

/* Whether no output of L from `lane` on can fire by its bias alone. */
INLINE int can_wait(const Op *op, int lane, int L) {
    if (op->eager || op->charge != CHARGE_FOLDED || op->soft || !(op->v_threshold >= FLT_MIN) ||
        !(op->v_reset < op->v_threshold))
        return 0;
    uint32_t bits;
    float below;
    memcpy(&bits, &op->v_threshold, sizeof bits);
    bits--;
    memcpy(&below, &bits, sizeof below);
    uint32_t fires = 0, rises = ~0u;
    for (int j = 0; j < L; j += REGISTER) {
        const fr a = *(const fr *)(op->alpha + lane + j), in = *(const fr *)(op->bias + lane + j);
        fires |= at_least(all(below) * a + in, all(op->v_threshold));
        rises &= at_least(a, all(0));
    }
    return !fires && (rises & ((1u << REGISTER) - 1)) == (1u << REGISTER) - 1;
}

/* Takes the steps that a unit owes; whether the last one changed no bit. All pixels at once: each is a chain of
 * operations. */
static __attribute__((noinline)) int make_up(const Op *op, const Context *ctx, int64_t pixel, int lane, int L,
                                             int steps) {
    const int lanes = lanes_of(op->oc);
    float *v = ctx->v_next[op->state] + ctx->row * ctx->v_stride[op->state] + pixel * lanes + lane;
    ir moved = {0};
    for (int j = 0; j < L; j += REGISTER) {
        const fr a = *(const fr *)(op->alpha + lane + j), in = *(const fr *)(op->bias + lane + j);
        fr h[UNIT_PIXELS];
        UNROLL for (int i = 0; i < UNIT_PIXELS; i++) h[i] = *(const fr *)(v + i * lanes + j);
        for (int k = 1; k < steps; k++) UNROLL for (int i = 0; i < UNIT_PIXELS; i++) h[i] = h[i] * a + in;
        UNROLL for (int i = 0; i < UNIT_PIXELS; i++) {
            const fr before = h[i];
            h[i] = before * a + in;
            moved |= (ir)before ^ (ir)h[i];
            *(fr *)(v + i * lanes + j) = h[i];
        }
    }
    int32_t any = 0;
    for (int i = 0; i < REGISTER; i++) any |= moved[i];
    return !any;
}

/* One unit without input. */
INLINE void keep_waiting(const Op *op, const Context *ctx, int64_t pixel, int lane, int L, uint8_t *owed) {
    const int words = blocks_of(op->oc), mine = blocks_of(L);
    uint64_t *out = (uint64_t *)(ctx->arena + op->out) + pixel * words + lane / BLOCK;
    if (mine == words)
        memset(out, 0, (size_t)(UNIT_PIXELS * words) * 8);
    else
        for (int i = 0; i < UNIT_PIXELS; i++, out += words)
            for (int b = 0; b < mine; b++) out[b] = 0;
    if (*owed == AT_REST) return;
    const int steps = ++*owed - STEPPED,
              due = MOST_OWED + (int)(pixel / UNIT_PIXELS % MOST_OWED); /* not all in one step */
    if (steps >= due) *owed = make_up(op, ctx, pixel, lane, L, steps) ? AT_REST : STEPPED;
}

INLINE int is_waiting(const Sums x, int p, uint8_t owed) {
    return owed != UNKNOWN && !(x.touched >> p & ((1u << UNIT_PIXELS) - 1));
}

/* As fire_pixels, for whole units of SUM_FLOAT that can_wait. */
INLINE void fire_or_wait(const Op *op, const Context *ctx, int64_t pixel, int width, int lane, const Sums x, int L) {
    const int apart = (int)(owed_by(op, ctx, pixel + UNIT_PIXELS, lane) - owed_by(op, ctx, pixel, lane));
    uint8_t *owed = owed_by(op, ctx, pixel, lane);
    for (int p = 0; p < width;) {
        const int from = p;
        for (; p < width && !is_waiting(x, p, *owed); p += UNIT_PIXELS, owed += apart) {
            if (*owed > STEPPED && *owed != AT_REST) make_up(op, ctx, pixel + p, lane, L, *owed - STEPPED);
            *owed = STEPPED;
        }
        const Sums here = {x.at + from * x.stride, x.start, x.stride, x.touched >> from};
        if (p > from) fire_pixels(op, ctx, pixel + from, p - from, lane, here, L, SUM_FLOAT);
        for (; p < width && is_waiting(x, p, *owed); p += UNIT_PIXELS, owed += apart)
            keep_waiting(op, ctx, pixel + p, lane, L, owed);
    }
}

/* One row of a map: nothing is owed, and the membranes may be read and changed. */
INLINE void settle(const Op *op, const Context *ctx, int y) {
    const int lanes = lanes_of(op->oc);
    for (int lane = 0, L; lane < lanes && op->ow % UNIT_PIXELS == 0; lane += L) {
        L = op->block < lanes - lane ? op->block : lanes - lane;
        if (L > BLOCK && L < WIDE_BLOCK) L = BLOCK;
        for (int64_t pixel = (int64_t)y * op->ow; pixel < (int64_t)(y + 1) * op->ow; pixel += UNIT_PIXELS) {
            uint8_t *owed = owed_by(op, ctx, pixel, lane);
            if (*owed > STEPPED && *owed != AT_REST) make_up(op, ctx, pixel, lane, L, *owed - STEPPED);
            *owed = UNKNOWN;
        }
    }
}
