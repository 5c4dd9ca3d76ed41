/* Pooling of planes [H, W] with kernel 2 and stride 2, a rest of one row or column left out. Of a maximum `which` keeps the
   place, the first of equals and NaN before everything, as PyTorch does, in one byte instead of eight; a mean, added up in
   the order of the window, keeps nothing.

   Rows are short (28 or 34 elements), which leaves vectors half empty, but outputs lie together across rows. So the upper and
   lower rows of many windows are put side by side first, PAIRS windows at a time, and one long loop goes over them. */

#include "train.h"

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

INLINE void average_pairs(const void *restrict upper, const void *restrict lower, void *restrict out, int64_t n,
                          int half) {
    for (int64_t i = 0; i < n; i++) {
        float v0, v1, v2, v3;
        split(upper, i, half, &v0, &v1);
        split(lower, i, half, &v2, &v3);
        store(out, i, (v0 + v1 + v2 + v3) / 4.0f, half);
    }
}

INLINE void spread_pairs(const void *restrict g, void *restrict upper, void *restrict lower, int64_t n, int half) {
    for (int64_t i = 0; i < n; i++) {
        const float f = load(g, i, half) / 4.0f;
        for (int64_t k = 2 * i; k < 2 * i + 2; k++) {
            store(upper, k, f, half);
            store(lower, k, f, half);
        }
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

/* `group` rows of windows fit; a row wider than all of it goes in pieces. */
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
            if (which)
                pool_pairs(upper, lower, out + (row * ow + x) * size, which + row * ow + x, rows * n, half);
            else
                average_pairs(upper, lower, out + (row * ow + x) * size, rows * n, half);
        }
    }
}

INLINE void unpool_planes(const char *g, const uint8_t *which, char *in, int64_t H, int64_t W, int64_t from, int64_t to,
                          int half) {
    const int64_t oh = H / 2, ow = W / 2, size = half ? 2 : 4, wide = at_most(ow, PAIRS), group = PAIRS / wide;
    char upper[PAIRS * 8], lower[PAIRS * 8];
    if (H % 2 || W % 2) memset(in + from * H * W * size, 0, (size_t)((to - from) * H * W * size));
    for (int64_t row = from * oh; row < to * oh; row += group) {
        const int64_t rows = at_most(group, to * oh - row);
        for (int64_t x = 0; x < ow; x += wide) {
            const int64_t n = at_most(wide, ow - x);
            if (which)
                unpool_pairs(g + (row * ow + x) * size, which + row * ow + x, upper, lower, rows * n, half);
            else
                spread_pairs(g + (row * ow + x) * size, upper, lower, rows * n, half);
            for (int64_t j = 0; j < rows; j++) {
                char *a = in + (((row + j) / oh * H + (row + j) % oh * 2) * W + 2 * x) * size;
                memcpy(a, upper + j * n * 2 * size, (size_t)(n * 2 * size));
                memcpy(a + W * size, lower + j * n * 2 * size, (size_t)(n * 2 * size));
            }
        }
    }
}

struct pool { /* in, gin [planes, H, W]; out, g, which [planes, H / 2, W / 2]; which is null for the mean */
    const void *in, *g;
    void *out, *gin;
    uint8_t *which;
    int64_t H, W, half;
};

EACH_CPU void plif_pool_forward(const struct pool *p, int64_t from, int64_t to) {
    EITHER(half, p->half, pool_planes(p->in, p->out, p->which, p->H, p->W, from, to, half));
}

EACH_CPU void plif_pool_backward(const struct pool *p, int64_t from, int64_t to) {
    EITHER(half, p->half, unpool_planes(p->g, p->which, p->gin, p->H, p->W, from, to, half));
}
