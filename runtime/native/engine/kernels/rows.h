/* The innermost loops of a convolution: one row of the input map, one tap, one segment, and a block of outputs.
 *
 * All have one signature (`adder`), and adder_of chooses one. They are not inlined, since compilers have too few
 * registers left for them inside the loops around them. */
#pragma once

#include "../event.h"
#include "simd.h"
#include "active.h"

INLINE uint64_t ones(int n) { return n >= 64 ? ~0ull : (1ull << n) - 1; }

/* Adds the weights of the listed inputs to the sums of pixels q0 to q1 of one row; the sums of a pixel stay in
 * registers. `seen`: which pixels from q0 on have sums already; the others begin with `start`. Returns which have
 * sums now. */
INLINE uint64_t add_row(float *acc, const char *weight, const float *start, uint64_t seen, const ActiveRow *row, int q0,
                        int q1, int L, int valued) {
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

/* Adds a register of int16 sums to those of the outputs from `output` on. */
INLINE void add_sums(char *a, const char *from, int output, sr sum, int wide) {
    if (wide)
        for (int j = 0; j < 2; j++) {
            const int at = output / REGISTER + j;
            ((ir *)a)[at] = plus32(((const ir *)from)[at], widen((const int16_t *)&sum + j * REGISTER));
        }
    else
        *(sr *)(a + 2 * output) = plus16(*(const sr *)(from + 2 * output), sum);
}

/* The same with int8 weights, kept as int16. A segment has at most 128 inputs, so int16 holds the sum of one tap
 * and segment (128 * 128 < 2^15) whatever the weights; `wide` adds it to sums of int32. */
INLINE uint64_t add_row_int(char *acc, const char *weight, const char *start, uint64_t seen, const ActiveRow *row,
                            int q0, int q1, int L, int wide) {
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
                const sr *w = (const sr *)(weight + entry * (uint32_t)(L / 32));
                for (int j = 0; j < n; j++) sum[j] = plus16(sum[j], w[j]);
            }
            if (wide)
                for (int j = 0; j < n; j++) add_sums(a, from, j * 2 * REGISTER, sum[j], 1);
            else
                for (int j = 0; j < n; j++) ((sr *)a)[j] = sum[j];
        }
    return now;
}

/* The same with int8 weights, kept as pairs of bytes: half the loads. A pair is an int16, x = low + 256 * high,
 * where low is the weight of output k plus 128 (0 to 255) and high that of output 32 + k of each 64 outputs. S is
 * the sum of x modulo 2^16, H that of x >> 8, which is high. The sum of low is then S - 256 H modulo 2^16, and
 * exact: 128 inputs of at most 255 are below 2^16. */
INLINE uint64_t add_row_pairs(char *acc, const char *weight, const char *start, uint64_t seen, const ActiveRow *row,
                              int q0, int q1, int L, int wide) {
    enum { SHORTS = 2 * REGISTER };
    const int part = L < 2 * AT_ONCE ? L : 2 * AT_ONCE, n = part / (2 * SHORTS), bytes = wide ? 4 : 2;
    const uint32_t *starts = row->starts, *pixels = row->pixels, from_k = row->first[q0], to_k = row->first[q1];
    const uint16_t *lists = row->lists;
    uint64_t now = seen;
    for (int at = 0; at < L; at += part, acc += part * bytes, start += part * bytes, weight += part)
        for (uint32_t k = from_k; k < to_k; k++) {
            const uint32_t to = starts[k + 1], p = pixels[k] - (uint32_t)q0;
            uint32_t i = starts[k];
            const usr added = (usr){0} + (uint16_t)(128 * (to - i));
            char *a = acc + (int64_t)p * L * bytes;
            const char *from = seen >> p & 1 ? a : start;
            usr s[2 * AT_ONCE / (2 * SHORTS)] = {{0}}, h[2 * AT_ONCE / (2 * SHORTS)] = {{0}};
            now |= 1ull << p;
            for (; i < to; i++) {
                const sr *w = (const sr *)(weight + (uint32_t)lists[i] * (uint32_t)(L / UNIT));
                for (int j = 0; j < n; j++) {
                    sr x = w[j];
                    IN_REGISTER(x); /* loaded once, not for each use */
                    s[j] += (usr)x;
                    h[j] += (usr)(x >> 8);
                }
            }
            for (int j = 0; j < n; j++) {
                const int output = j * SHORTS / 32 * 64 + j * SHORTS % 32;
                add_sums(a, from, output, (sr)(s[j] - (h[j] << 8) - added), wide);
                add_sums(a, from, output + 32, (sr)h[j], wide);
            }
        }
    return now;
}

/* The same with weights of 4 bits, each plus 8, four in 16 bits: those of outputs k, 32 + k, 64 + k and 96 + k of each
 * 128. Of the bytes, S is the sum modulo 256 and H that of their upper halves. The sum of the lower halves is then
 * S - 16 H modulo 256, and exact: 16 inputs of at most 15 are below 256. After so many the sums of the pixel grow. */
INLINE uint64_t add_row_nibbles(char *acc, const char *weight, const char *start, uint64_t seen, const ActiveRow *row,
                                int q0, int q1, int wide) {
    enum { L = 128, SHORTS = 2 * REGISTER, N = 32 / SHORTS, AT_MOST = 16 };
    const int bytes = wide ? 4 : 2;
    const uint32_t *starts = row->starts, *pixels = row->pixels, from_k = row->first[q0], to_k = row->first[q1];
    const uint16_t *lists = row->lists;
    uint64_t now = seen;
    for (uint32_t k = from_k; k < to_k; k++) {
        const uint32_t to = starts[k + 1], p = pixels[k] - (uint32_t)q0;
        uint32_t i = starts[k];
        char *a = acc + (int64_t)p * L * bytes;
        const char *from = seen >> p & 1 ? a : start;
        now |= 1ull << p;
        do {
            const uint32_t end = to - i < AT_MOST ? to : i + AT_MOST;
            const usr added = (usr){0} + (uint16_t)(8 * (end - i));
            ucr s[N] = {{0}}, h[N] = {{0}};
            for (; i < end; i++) {
                const ucr *w = (const ucr *)(weight + (uint32_t)lists[i] * (uint32_t)(L / 2 / UNIT));
                for (int j = 0; j < N; j++) {
                    ucr x = w[j];
                    IN_REGISTER(x);
                    s[j] += x;
                    h[j] += (ucr)((usr)x >> 4) & 15;
                }
            }
            for (int j = 0; j < N; j++) {
                const usr high = (usr)h[j], low = (usr)(s[j] - ((ucr)(high << 4) & 0xf0));
                const int output = j * SHORTS;
                add_sums(a, from, output, (sr)((low & 255) - added), wide);
                add_sums(a, from, output + 32, (sr)((high & 255) - added), wide);
                add_sums(a, from, output + 64, (sr)((low >> 8) - added), wide);
                add_sums(a, from, output + 96, (sr)((high >> 8) - added), wide);
            }
            from = a;
        } while (i < to);
    }
    return now;
}

/* The same sums in the same order where most inputs are spikes: `pixels` pixels use each loaded row of weights. */
INLINE void dense_pixels(float *acc, const char *weight, const float *start, uint64_t seen, const float *in, int size,
                         int L, int pixels) {
    const int part = L < DENSE ? L : DENSE, n = part / REGISTER;
    for (int at = 0; at < L; at += part) {
        fr sum[DENSE_PIXELS][DENSE / REGISTER]; /* in registers, once the loops over it are written out */
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
            UNROLL for (int j = 0; j < n; j++)((fr *)(acc + p * L + at))[j] = sum[p][j];
    }
}

INLINE uint64_t dense_row(float *acc, const char *weight, const float *start, uint64_t seen, const ActiveRow *row,
                          int q0, int q1, int L) {
    const float *in = (const float *)row->dense;
    const int size = row->size;
    int q = q0;
    for (; q + DENSE_PIXELS <= q1; q += DENSE_PIXELS)
        dense_pixels(acc + (int64_t)(q - q0) * L, weight, start, seen >> (q - q0), in + (int64_t)q * size, size, L,
                     DENSE_PIXELS);
    for (; q < q1; q++)
        dense_pixels(acc + (int64_t)(q - q0) * L, weight, start, seen >> (q - q0), in + (int64_t)q * size, size, L, 1);
    return ones(q1 - q0);
}

typedef uint64_t adder(float *acc, const char *weight, const float *start, uint64_t seen, const ActiveRow *row, int q0,
                       int q1);

#define ADDER(name, call) \
    static __attribute__((noinline)) uint64_t name(float *acc, const char *weight, const float *start, uint64_t seen, \
                                                   const ActiveRow *row, int q0, int q1) { \
        return call; \
    }
#define ADDERS(L) \
    ADDER(add_spikes_##L, add_row(acc, weight, start, seen, row, q0, q1, L, 0)) \
    ADDER(add_values_##L, add_row(acc, weight, start, seen, row, q0, q1, L, 1)) \
    ADDER(multiply_##L, dense_row(acc, weight, start, seen, row, q0, q1, L))
#define ADDERS_INT(L) \
    ADDER(add_int16_##L, add_row_int((char *)acc, weight, (const char *)start, seen, row, q0, q1, L, 0)) \
    ADDER(add_int32_##L, add_row_int((char *)acc, weight, (const char *)start, seen, row, q0, q1, L, 1))
#define ADDERS_PAIRS(L) \
    ADDER(add_pairs16_##L, add_row_pairs((char *)acc, weight, (const char *)start, seen, row, q0, q1, L, 0)) \
    ADDER(add_pairs32_##L, add_row_pairs((char *)acc, weight, (const char *)start, seen, row, q0, q1, L, 1))
ADDER(add_nibbles16, add_row_nibbles((char *)acc, weight, (const char *)start, seen, row, q0, q1, 0))
ADDER(add_nibbles32, add_row_nibbles((char *)acc, weight, (const char *)start, seen, row, q0, q1, 1))
ADDERS(16)
ADDERS(32)
ADDERS(64)
ADDERS(128)
ADDERS_INT(32)
ADDERS_INT(64)
ADDERS_INT(128)
ADDERS_PAIRS(64)
ADDERS_PAIRS(128)

enum add_kind {
    ADD_SPIKES,
    ADD_VALUES,
    MULTIPLY,
    ADD_INT16,
    ADD_INT32,
    ADD_PAIRS16,
    ADD_PAIRS32,
    ADD_NIBBLES16,
    ADD_NIBBLES32
};

INLINE int add_kind_of(const Op *op, int sums) {
    if (sums < SUM_INT16) return op->values >= 0 ? ADD_VALUES : ADD_SPIKES;
    const int kind = op->pairs == NIBBLES ? ADD_NIBBLES16 : op->pairs ? ADD_PAIRS16 : ADD_INT16;
    return kind + (sums == SUM_INT32);
}

/* L is 16, 32, 64 or 128; 16 int16 would not fill a register, nor 32 pairs; NIBBLES are of 128. */
INLINE adder *adder_of(int L, int kind) {
    static adder *const all[][4] = {
        {add_spikes_16, add_spikes_32, add_spikes_64, add_spikes_128},
        {add_values_16, add_values_32, add_values_64, add_values_128},
        {multiply_16, multiply_32, multiply_64, multiply_128},
        {0, add_int16_32, add_int16_64, add_int16_128},
        {0, add_int32_32, add_int32_64, add_int32_128},
        {0, 0, add_pairs16_64, add_pairs16_128},
        {0, 0, add_pairs32_64, add_pairs32_128},
        {0, 0, 0, add_nibbles16},
        {0, 0, 0, add_nibbles32},
    };
    return all[kind][L >= 128 ? 3 : L >= 64 ? 2 : L >= 32];
}
