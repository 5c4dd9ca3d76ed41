/* Kernels of a training step on a CPU: the neuron's recurrence over T, forward and backward, and max-pooling.

   A training step on a processor with fast matrix units is bound by memory, not by arithmetic. PyTorch's operations go
   through a layer's tensors some fifteen times; these go once. The equations are those of plif_train/recurrence.py, in
   their order of operations (compiled without contraction), so that spikes are the same bit for bit.

   Tensors are [T, N] with N neurons next to each other; `step` counts the elements from one time-step to the next (0 where
   one image is shown T times). A half is bfloat16 as raw 16 bits. Every function works on neurons or planes from..to, so
   that threads share a call. Nothing is allocated. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && (defined(__GNUC__) && !defined(__clang__))
#define EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH_CPU
#endif
#define INLINE static inline __attribute__((always_inline))

enum { BLOCK = 2048 }; /* neurons at a time: their membranes and gradients stay in the first-level cache */

enum charge { CHARGE_IF, CHARGE_DECAY_INPUT, CHARGE_PLAIN_INPUT };
enum surrogate { ATAN, PIECEWISE };

struct rule {
    int32_t charge, soft, surrogate, half; /* half: x, s, gs and gx are bfloat16 */
    float v_threshold, v_reset;
};

INLINE float from_half(uint16_t b) {
    uint32_t bits = (uint32_t)b << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

INLINE uint16_t to_half(float f) { /* to nearest, ties to even; NaN stays NaN */
    uint32_t bits;
    memcpy(&bits, &f, 4);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (bits & 0x7fffffff) > 0x7f800000 ? (uint16_t)(bits >> 16 | 0x40) : (uint16_t)rounded;
}

INLINE float load(const void *p, int64_t i, int half) {
    return half ? from_half(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

INLINE void store(void *p, int64_t i, float f, int half) {
    if (half)
        ((uint16_t *)p)[i] = to_half(f);
    else
        ((float *)p)[i] = f;
}

/* x [T, N], v0 [N] -> h [T, N], s [T, N], v_end [N]. alpha has one value, or one for each neuron (each = 1). */
INLINE void forward(const void *restrict x, int64_t x_step, const float *restrict v0, const float *restrict alpha, int64_t each, float *restrict h, void *restrict s,
                    float *v_end, int64_t T, int64_t N, int64_t from, int64_t to, const struct rule *rule, int charge,
                    int soft, int half) {
    const float th = rule->v_threshold, r = rule->v_reset;
    for (int64_t at = from; at < to; at += BLOCK) {
        const int64_t n = to - at < BLOCK ? to - at : BLOCK;
        float v[BLOCK];
        memcpy(v, v0 + at, (size_t)n * sizeof *v);
        for (int64_t t = 0; t < T; t++) {
            const int64_t in = t * x_step + at, out = t * N + at;
            for (int64_t i = 0; i < n; i++) {
                const float xi = load(x, in + i, half), above = v[i] - r;
                float hi;
                if (charge == CHARGE_IF)
                    hi = v[i] + xi;
                else if (charge == CHARGE_DECAY_INPUT)
                    hi = v[i] + (xi - above) * alpha[each * (at + i)];
                else
                    hi = v[i] - above * alpha[each * (at + i)] + xi;
                const int fires = hi >= th;
                h[out + i] = hi;
                store(s, out + i, fires ? 1.0f : 0.0f, half);
                v[i] = soft ? hi - (fires ? th : 0.0f) : (fires ? r : hi);
            }
        }
        memcpy(v_end + at, v, (size_t)n * sizeof *v);
    }
}

/* The way back, from T to 1. gs [T, N] and gv [N] (of v_end) -> gx [T, N], gv0 [N], and galpha: one value for each neuron,
   or, where alpha is one value, one sum for each BLOCK, so that it does not depend on the number of threads. */
INLINE void backward(const void *restrict x, int64_t x_step, const float *restrict v0, const float *restrict alpha, int64_t each, const float *h,
                     const void *gs, const float *gv_end, void *gx, float *gv0, float *galpha, int64_t T, int64_t N,
                     int64_t from, int64_t to, const struct rule *rule, int charge, int soft, int surrogate, int half) {
    const float th = rule->v_threshold, r = rule->v_reset;
    for (int64_t at = from; at < to; at += BLOCK) {
        const int64_t n = to - at < BLOCK ? to - at : BLOCK;
        float gv[BLOCK], ga[BLOCK];
        memcpy(gv, gv_end + at, (size_t)n * sizeof *gv);
        memset(ga, 0, sizeof ga);
        for (int64_t t = T - 1; t >= 0; t--) {
            const int64_t in = t * x_step + at, out = t * N + at;
            const float *ht = h + out, *hb = t ? ht - N : v0 + at;
            const int first = t == 0;
            for (int64_t i = 0; i < n; i++) {
                const float u = ht[i] - th;
                float slope;
                if (surrogate == ATAN) {
                    const float w = u * 3.14159265358979323846f;
                    slope = 1.0f / (w * w + 1.0f);
                } else {
                    slope = 1.0f - fabsf(u);
                    slope = slope > 0.0f ? slope : 0.0f;
                }
                float gh = load(gs, out + i, half) * slope;
                gh = gh + (soft || !(ht[i] >= th) ? gv[i] : 0.0f);
                if (charge == CHARGE_IF) {
                    gv[i] = gh;
                    store(gx, out + i, gh, half);
                    continue;
                }
                const int fired = !first && hb[i] >= th; /* hb of the first step is v0, whose spike is past */
                const float before = soft ? hb[i] - (fired ? th : 0.0f) : (fired ? r : hb[i]), above = before - r;
                if (charge == CHARGE_DECAY_INPUT)
                    ga[i] += gh * (load(x, in + i, half) - above);
                else
                    ga[i] -= gh * above;
                const float leaked = gh * alpha[each * (at + i)];
                gv[i] = gh - leaked;
                store(gx, out + i, charge == CHARGE_DECAY_INPUT ? leaked : gh, half);
            }
        }
        memcpy(gv0 + at, gv, (size_t)n * sizeof *gv);
        if (each)
            memcpy(galpha + at, ga, (size_t)n * sizeof *ga);
        else {
            double sum = 0;
            for (int64_t i = 0; i < n; i++)
                sum += ga[i];
            galpha[at / BLOCK] = (float)sum;
        }
    }
}

/* One compiled loop for each rule: the branches above are on constants. */

#define FORWARD(CHARGE, SOFT, HALF) \
    forward(x, x_step, v0, alpha, each, h, s, v_end, T, N, from, to, rule, CHARGE, SOFT, HALF)
#define FORWARD_OF(CHARGE) \
    do { \
        if (rule->soft) { \
            if (rule->half) FORWARD(CHARGE, 1, 1); else FORWARD(CHARGE, 1, 0); \
        } else { \
            if (rule->half) FORWARD(CHARGE, 0, 1); else FORWARD(CHARGE, 0, 0); \
        } \
    } while (0)

EACH_CPU void plif_train_forward(const void *restrict x, int64_t x_step, const float *restrict v0, const float *restrict alpha, int64_t each,
                                 float *h, void *s, float *v_end, int64_t T, int64_t N, int64_t from, int64_t to,
                                 const struct rule *rule) {
    if (rule->charge == CHARGE_IF)
        FORWARD_OF(CHARGE_IF);
    else if (rule->charge == CHARGE_DECAY_INPUT)
        FORWARD_OF(CHARGE_DECAY_INPUT);
    else
        FORWARD_OF(CHARGE_PLAIN_INPUT);
}

#define BACKWARD(CHARGE, SOFT, SURROGATE, HALF) \
    backward(x, x_step, v0, alpha, each, h, gs, gv_end, gx, gv0, galpha, T, N, from, to, rule, CHARGE, SOFT, SURROGATE, HALF)
#define BACKWARD_OF(CHARGE, SURROGATE) \
    do { \
        if (rule->soft) { \
            if (rule->half) BACKWARD(CHARGE, 1, SURROGATE, 1); else BACKWARD(CHARGE, 1, SURROGATE, 0); \
        } else { \
            if (rule->half) BACKWARD(CHARGE, 0, SURROGATE, 1); else BACKWARD(CHARGE, 0, SURROGATE, 0); \
        } \
    } while (0)
#define BACKWARD_WITH(SURROGATE) \
    do { \
        if (rule->charge == CHARGE_IF) \
            BACKWARD_OF(CHARGE_IF, SURROGATE); \
        else if (rule->charge == CHARGE_DECAY_INPUT) \
            BACKWARD_OF(CHARGE_DECAY_INPUT, SURROGATE); \
        else \
            BACKWARD_OF(CHARGE_PLAIN_INPUT, SURROGATE); \
    } while (0)

EACH_CPU void plif_train_backward(const void *restrict x, int64_t x_step, const float *restrict v0, const float *restrict alpha, int64_t each,
                                  const float *h, const void *gs, const float *gv_end, void *gx, float *gv0,
                                  float *galpha, int64_t T, int64_t N, int64_t from, int64_t to,
                                  const struct rule *rule) {
    if (rule->surrogate == ATAN)
        BACKWARD_WITH(ATAN);
    else
        BACKWARD_WITH(PIECEWISE);
}

/* Max-pooling of planes [H, W] with kernel 2 and stride 2, a rest of one row or column left out. `which` keeps the place of
   the maximum, the first of equals and NaN before everything, as PyTorch does, in one byte instead of eight.

   Rows are short (28 or 34 elements), which leaves vectors half empty, but outputs lie together across rows. So the upper and
   lower rows of many windows are put side by side first, PAIRS windows at a time, and one long loop goes over them. */
enum { PAIRS = 1024 };

INLINE void split(const void *row, int64_t i, int half, float *left, float *right) {
    if (half) { /* two neighbours are one word */
        const uint32_t word = ((const uint32_t *)row)[i], high = word & 0xffff0000u, low = word << 16;
        memcpy(left, &low, 4);
        memcpy(right, &high, 4);
    } else {
        *left = ((const float *)row)[2 * i];
        *right = ((const float *)row)[2 * i + 1];
    }
}

INLINE void pool_pairs(const void *restrict upper, const void *restrict lower, void *restrict out,
                       uint8_t *restrict which, int64_t n, int half) {
    for (int64_t i = 0; i < n; i++) {
        float v0, v1, v2, v3;
        split(upper, i, half, &v0, &v1);
        split(lower, i, half, &v2, &v3);
        float m = v0;
        uint32_t k = 0;
        k = v1 > m || v1 != v1 ? 1 : k;
        m = v1 > m || v1 != v1 ? v1 : m;
        k = v2 > m || v2 != v2 ? 2 : k;
        m = v2 > m || v2 != v2 ? v2 : m;
        k = v3 > m || v3 != v3 ? 3 : k;
        m = v3 > m || v3 != v3 ? v3 : m;
        if (half) {
            uint32_t bits; /* exact: it was a bfloat16 */
            memcpy(&bits, &m, 4);
            ((uint16_t *)out)[i] = (uint16_t)(bits >> 16);
        } else
            ((float *)out)[i] = m;
        which[i] = (uint8_t)k;
    }
}

INLINE void unpool_pairs(const void *restrict g, const uint8_t *restrict which, void *restrict upper,
                         void *restrict lower, int64_t n, int half) {
    for (int64_t i = 0; i < n; i++) {
        const uint32_t k = which[i];
        if (half) {
            const uint32_t word = ((const uint16_t *)g)[i];
            ((uint32_t *)upper)[i] = k == 0 ? word : k == 1 ? word << 16 : 0;
            ((uint32_t *)lower)[i] = k == 2 ? word : k == 3 ? word << 16 : 0;
        } else {
            const float f = ((const float *)g)[i];
            ((float *)upper)[2 * i] = k == 0 ? f : 0.0f;
            ((float *)upper)[2 * i + 1] = k == 1 ? f : 0.0f;
            ((float *)lower)[2 * i] = k == 2 ? f : 0.0f;
            ((float *)lower)[2 * i + 1] = k == 3 ? f : 0.0f;
        }
    }
}

/* How many rows of windows fit; a row wider than all of it goes in pieces. */
INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }

INLINE void pool_planes(const char *in, char *out, uint8_t *which, int64_t H, int64_t W, int64_t from, int64_t to,
                        int half) {
    const int64_t oh = H / 2, ow = W / 2, size = half ? 2 : 4, wide = at_most(ow, PAIRS), group = PAIRS / wide;
    char upper[PAIRS * 8], lower[PAIRS * 8];
    for (int64_t row = from * oh; row < to * oh; row += group) {
        const int64_t rows = at_most(group, to * oh - row);
        for (int64_t x = 0; x < ow; x += wide) { /* one round, unless a row is wider than PAIRS: then rows is 1 */
            const int64_t n = at_most(wide, ow - x);
            for (int64_t j = 0; j < rows; j++) {
                const char *a = in + (((row + j) / oh * H + (row + j) % oh * 2) * W + 2 * x) * size;
                memcpy(upper + j * n * 2 * size, a, (size_t)(n * 2 * size));
                memcpy(lower + j * n * 2 * size, a + W * size, (size_t)(n * 2 * size));
            }
            pool_pairs(upper, lower, out + (row * ow + x) * size, which + row * ow + x, rows * n, half);
        }
    }
}

INLINE void unpool_planes(const char *g, const uint8_t *which, char *in, int64_t H, int64_t W, int64_t from, int64_t to,
                          int half) {
    const int64_t oh = H / 2, ow = W / 2, size = half ? 2 : 4, wide = at_most(ow, PAIRS), group = PAIRS / wide;
    char upper[PAIRS * 8], lower[PAIRS * 8];
    if (H % 2 || W % 2)
        memset(in + from * H * W * size, 0, (size_t)((to - from) * H * W * size));
    for (int64_t row = from * oh; row < to * oh; row += group) {
        const int64_t rows = at_most(group, to * oh - row);
        for (int64_t x = 0; x < ow; x += wide) {
            const int64_t n = at_most(wide, ow - x);
            unpool_pairs(g + (row * ow + x) * size, which + row * ow + x, upper, lower, rows * n, half);
            for (int64_t j = 0; j < rows; j++) {
                char *a = in + (((row + j) / oh * H + (row + j) % oh * 2) * W + 2 * x) * size;
                memcpy(a, upper + j * n * 2 * size, (size_t)(n * 2 * size));
                memcpy(a + W * size, lower + j * n * 2 * size, (size_t)(n * 2 * size));
            }
        }
    }
}

EACH_CPU void plif_pool_forward(const void *in, void *out, uint8_t *which, int64_t H, int64_t W, int64_t from, int64_t to,
                                int32_t half) {
    if (half)
        pool_planes(in, out, which, H, W, from, to, 1);
    else
        pool_planes(in, out, which, H, W, from, to, 0);
}

EACH_CPU void plif_pool_backward(const void *g, const uint8_t *which, void *in, int64_t H, int64_t W, int64_t from,
                                 int64_t to, int32_t half) {
    if (half)
        unpool_planes(g, which, in, H, W, from, to, 1);
    else
        unpool_planes(g, which, in, H, W, from, to, 0);
}
