/* The neuron's recurrence over T on a CPU, forward and backward, and with the max-pooling that follows it.

   A training step on a processor with fast matrix units is bound by memory, not by arithmetic. PyTorch's operations go
   through a layer's tensors some fifteen times; these go once. Forward keeps no potential: backward computes h again from x,
   a block of neurons at a time, so that all its steps stay in the second-level cache. The equations are those of
   ../recurrence.py, in their order of operations (compiled without contraction): the same spikes, bit for bit. */

#pragma GCC optimize("O2", "tree-vectorize") /* as fast as with -O3, and compiled in half the time */
#include "train.h"

enum { LIMIT = 1 << 15, BLOCK = 2048 }; /* floats of h in a block over all steps; the most neurons in it */
enum charge { CHARGE_IF, CHARGE_DECAY_INPUT, CHARGE_PLAIN_INPUT };
enum surrogate { ATAN = 0, PIECEWISE = 1 };
enum { ONE = 0x3f80 };                                  /* a spike as bfloat16 */
typedef uint32_t __attribute__((may_alias)) two_halves; /* as their bits */
typedef uint64_t __attribute__((may_alias)) two_floats;

/* A layer of N neurons: x, gx [T, N], or [N] for an image shown T times (once); s, gs [T, N]; v0, v_end, gv_end, gv0 [N].
   alpha, galpha: [N] with `each`, else one number, whose gradient comes as one sum for each block, so that it does not depend
   on the number of threads. gv_end and gv0 may be null: zero, and not wanted.
   width: 0, or that of maps with an even number of rows of even width, two rows at a time in a block. Then s and gs are
   pooled, [T, N / 4]: a window of four spikes spikes, too, and its gradient goes to the first of them. */
struct layer {
    const void *x, *gs;
    const float *v0, *alpha, *gv_end;
    void *s, *gx;
    float *v_end, *gv0, *galpha;
    int64_t T, N, block, width, once, each;
    int64_t charge, soft, surrogate, half; /* half: x, s, gs and gx are bfloat16 */
    float v_threshold, v_reset;
};

/* alpha of the n neurons of a block. */
INLINE void alphas(const struct layer *l, float *alpha, int64_t at, int64_t n) {
    for (int64_t i = 0; i < n; i++) alpha[i] = l->alpha[l->each ? at + i : 0];
}

/* One step of n neurons: v -> h, and the v after it. */
INLINE void advance(const struct layer *l, const float *restrict alpha, float *restrict v, float *restrict h, int64_t t,
                    int64_t at, int64_t n, int charge, int soft, int half) {
    const float th = l->v_threshold, r = l->v_reset;
    const void *restrict x = l->x;
    const int64_t in = (l->once ? 0 : t * l->N) + at;
    for (int64_t i = 0; i < n; i++) {
        const float xi = load(x, in + i, half), above = v[i] - r;
        float hi;
        if (charge == CHARGE_IF)
            hi = v[i] + xi;
        else if (charge == CHARGE_DECAY_INPUT)
            hi = v[i] + (xi - above) * alpha[i];
        else
            hi = v[i] - above * alpha[i] + xi;
        const int fires = hi >= th;
        h[i] = hi;
        v[i] = soft ? hi - (fires ? th : 0.0f) : (fires ? r : hi);
    }
}

/* The spikes of n neurons, two of a row in a word, and the two rows of each window: words upper and lower. */
INLINE void spikes(const float *restrict h, uint16_t *restrict s, int64_t n, float th) {
    for (int64_t i = 0; i < n; i++) s[i] = h[i] >= th ? ONE : 0;
}

INLINE void pool(const uint16_t *s, void *out, int64_t at, int64_t n, int64_t width, int half) {
    for (int64_t row = 0; row < n / width; row += 2) {
        const two_halves *upper = (const two_halves *)(s + row * width), *lower = upper + width / 2;
        for (int64_t i = 0; i < width / 2; i++) {
            const uint32_t any = upper[i] | lower[i], bits = (any | any >> 16) & 0xffff;
            if (half)
                ((uint16_t *)out)[at + i] = (uint16_t)bits;
            else
                ((uint32_t *)out)[at + i] = bits << 16;
        }
        at += width / 2;
    }
}

/* The gradient of a window in the left or right half of a word of two neighbours, in its upper row or in its lower. Of four
   zeros, too, the first is the maximum. */
#define UNPOOL(WORD, NUMBER, ROW, IS_THERE) \
    do { \
        WORD *restrict to = (WORD *)g + (ROW) * width / 2; /* NOLINT(bugprone-macro-parentheses): WORD is a type */ \
        const NUMBER *restrict from = (const NUMBER *)gs + at; \
        for (int64_t i = 0; i < count; i++) { \
            const uint32_t above = upper[i], below = lower[i], of_row = above ? above : below; \
            const WORD bits = from[i], word = (of_row & 0xffff) || !of_row ? bits : bits << 8 * sizeof(NUMBER); \
            to[i] = (IS_THERE) ? word : 0; \
        } \
    } while (0)

INLINE void unpool(const uint16_t *s, const void *gs, void *g, int64_t at, int64_t n, int64_t width, int half) {
    const int64_t end = at + n / 4, whole = (width / 2 + LANES - 1) / LANES * LANES;
    for (int64_t row = 0; row < n / width; row += 2) {
        const two_halves *restrict upper = (const two_halves *)(s + row * width), *restrict lower = upper + width / 2;
        /* Rows are short: whole vectors, beyond their end; the next row writes there what belongs there. */
        const int64_t count = at + whole <= end ? whole : width / 2;
        if (half) {
            UNPOOL(two_halves, uint16_t, row, above || !below);
            UNPOOL(two_halves, uint16_t, row + 1, !above && below);
        } else {
            UNPOOL(two_floats, one_float, row, above || !below);
            UNPOOL(two_floats, one_float, row + 1, !above && below);
        }
        at += width / 2;
    }
}

INLINE void forward(const struct layer *l, int64_t at, int64_t n, int charge, int soft, int half) {
    const float th = l->v_threshold;
    _Alignas(64) float alpha[BLOCK], v[BLOCK], h[BLOCK];
    _Alignas(64) uint16_t s[BLOCK];
    alphas(l, alpha, at, n);
    memcpy(v, l->v0 + at, (size_t)n * sizeof *v);
    for (int64_t t = 0; t < l->T; t++) {
        advance(l, alpha, v, h, t, at, n, charge, soft, half);
        if (l->width) {
            spikes(h, s, n, th);
            pool(s, l->s, (t * l->N + at) / 4, n, l->width, half);
        } else
            for (int64_t i = 0; i < n; i++) store(l->s, t * l->N + at + i, h[i] >= th ? 1.0f : 0.0f, half);
    }
    memcpy(l->v_end + at, v, (size_t)n * sizeof *v);
}

/* The way back, from T to 1. */
INLINE void backward(const struct layer *l, int64_t at, int64_t n, int charge, int soft, int surrogate, int half) {
    const float th = l->v_threshold, r = l->v_reset;
    _Alignas(64) float h[LIMIT], alpha[BLOCK], v[BLOCK], g[BLOCK], gv[BLOCK], ga[BLOCK], sum[BLOCK];
    _Alignas(64) uint16_t s[BLOCK + 4 * LANES];
    _Alignas(64) char unpooled[(BLOCK + 4 * LANES) * sizeof(float)];
    const void *restrict x = l->x;
    alphas(l, alpha, at, n);
    memcpy(v, l->v0 + at, (size_t)n * sizeof *v);
    for (int64_t t = 0; t < l->T; t++) advance(l, alpha, v, h + t * l->block, t, at, n, charge, soft, half);
    if (l->gv_end)
        memcpy(gv, l->gv_end + at, (size_t)n * sizeof *gv);
    else
        memset(gv, 0, sizeof gv);
    memset(ga, 0, sizeof ga);
    memset(sum, 0, sizeof sum);
    for (int64_t t = l->T - 1; t >= 0; t--) {
        const int64_t in = (l->once ? 0 : t * l->N) + at, out = t * l->N + at;
        const float *ht = h + t * l->block, *hb = t ? ht - l->block : l->v0 + at;
        const float th_before = t ? th : INFINITY; /* before the first step comes v0, whose spike is past */
        if (l->width) {
            spikes(ht, s, n, th);
            unpool(s, l->gs, unpooled, out / 4, n, l->width, half);
        }
        const void *restrict gs = l->width ? unpooled : (const char *)l->gs + out * (half ? 2 : 4);
        for (int64_t i = 0; i < n; i++) {
            const float hi = ht[i], hbi = hb[i], gvi = gv[i], u = hi - th;
            float slope;
            if (surrogate == ATAN) {
                const float w = u * 3.14159265358979323846f;
                slope = 1.0f / (w * w + 1.0f);
            } else {
                slope = 1.0f - fabsf(u);
                slope = slope > 0.0f ? slope : 0.0f;
            }
            const float gh = load(gs, i, half) * slope + (soft || !(hi >= th) ? gvi : 0.0f);
            g[i] = gv[i] = gh;
            if (charge == CHARGE_IF) continue;
            const int fired = hbi >= th_before;
            const float before = soft ? hbi - (fired ? th : 0.0f) : (fired ? r : hbi), above = before - r;
            if (charge == CHARGE_DECAY_INPUT)
                ga[i] += gh * (load(x, in + i, half) - above);
            else
                ga[i] -= gh * above;
            const float leaked = gh * alpha[i];
            gv[i] = gh - leaked;
            g[i] = charge == CHARGE_DECAY_INPUT ? leaked : gh;
        }
        if (l->once)
            for (int64_t i = 0; i < n; i++) sum[i] += g[i];
        else
            for (int64_t i = 0; i < n; i++) store(l->gx, out + i, g[i], half);
    }
    if (l->once)
        for (int64_t i = 0; i < n; i++) store(l->gx, at + i, sum[i], half);
    if (l->gv0) memcpy(l->gv0 + at, gv, (size_t)n * sizeof *gv);
    if (l->each)
        memcpy(l->galpha + at, ga, (size_t)n * sizeof *ga);
    else {
        double total = 0;
        for (int64_t i = 0; i < n; i++) total += ga[i];
        l->galpha[at / l->block] = (float)total;
    }
}

/* One compiled loop for each rule: the branches above are on constants, which CALL finds under their names. */
#define OF_CHARGE(CHARGE, CALL) \
    do { \
        const int charge = CHARGE; \
        EITHER(soft, l->soft, EITHER(half, l->half, CALL)); \
    } while (0)
#define OF_RULE(CALL) \
    do { \
        if (l->charge == CHARGE_IF) \
            OF_CHARGE(CHARGE_IF, CALL); \
        else if (l->charge == CHARGE_DECAY_INPUT) \
            OF_CHARGE(CHARGE_DECAY_INPUT, CALL); \
        else \
            OF_CHARGE(CHARGE_PLAIN_INPUT, CALL); \
    } while (0)

EACH_CPU void plif_train_forward(const struct layer *l, int64_t from, int64_t to) {
    for (int64_t at = from; at < to; at += l->block)
        OF_RULE(forward(l, at, at_most(l->block, to - at), charge, soft, half));
}

EACH_CPU void plif_train_backward(const struct layer *l, int64_t from, int64_t to) {
    for (int64_t at = from; at < to; at += l->block) {
        const int64_t n = at_most(l->block, to - at);
        OF_RULE(EITHER(surrogate, l->surrogate, backward(l, at, n, charge, soft, surrogate, half)));
    }
}
