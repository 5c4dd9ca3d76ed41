/* Active lists: the nonzero inputs of a convolution, listed once per layer and step.
 *
 * There is one list for each row of the input map and each segment of 128 channels. It holds the pixels that have a nonzero
 * input, in the order in which a convolution visits them (for stride s: first those with x % s == 0, then 1, ...), and for
 * each of these pixels its nonzero channels in rising order:
 *
 *   lists   uint16 [entry]      channel within the segment, times 64
 *   values  float  [entry]      only where inputs are not spikes
 *   first   uint32 [iw + 1]     for each pixel, how many listed pixels come before it
 *   starts  uint32 [iw + 1]     for each listed pixel, its first entry
 *   pixels  uint32 [iw + 1]     for each listed pixel, its place in the order of the convolution
 *   is_dense uint32             whether the row is also in `dense`
 *   dense   float [iw][size]    a row with many spikes as zeros and ones, in the order of the convolution, beside its list;
 *           or, for int8 weights, bytes [pad + iw + ...][channels, filled up to 64s] in the order of the map, with zeros on
 *           both sides, instead of its list
 *
 * Nine taps and every block of outputs read the same list, so the bits are taken apart once and not eighteen times. In a
 * frame of events one pixel in thirty is listed, and the others cost nothing. */
#pragma once

#include "../event.h"
#include "simd.h"

enum { UNIT = 64 }; /* a list entry is a row of weights in units of 64 bytes */

typedef struct {
    uint32_t *first, *starts, *pixels;
    uint16_t *lists;
    float *values;
    char *dense;
    uint32_t *is_dense;
    int size; /* channels of the segment */
} ActiveRow;

INLINE int segments_of(int channels) { return (channels + SEGMENT - 1) / SEGMENT; }
INLINE int segment_size(int channels, int s) {
    return channels - s * SEGMENT < SEGMENT ? channels - s * SEGMENT : SEGMENT;
}

/* A whole number near a value that came from outside; from 2^23 on a float has no fraction, and no int may hold it. */
INLINE float whole_count(float count) {
    const float more = count + 0.5f;
    return more > -8388608.0f && more < 8388608.0f ? (float)(int32_t)more : more;
}

INLINE int pixel_bytes(int channels) { return (channels + 63) / 64 * 64; } /* of a row written out as bytes */

INLINE ActiveRow active_row(const Op *op, char *arena, int64_t lists, int y, int segment) {
    int64_t r = (int64_t)y * segments_of(op->ic) + segment;
    uint32_t *index = (uint32_t *)(arena + op->index) + r * (3 * (op->iw + 1) + 1);
    return (ActiveRow){index,
                       index + op->iw + 1,
                       index + 2 * (op->iw + 1),
                       (uint16_t *)(arena + lists) + r * op->row_capacity,
                       op->values < 0 ? 0 : (float *)(arena + op->values) + r * op->row_capacity,
                       op->dense < 0   ? 0
                       : op->dense_row ? arena + op->dense + y * op->dense_row + segment * SEGMENT
                                       : arena + op->dense + r * op->iw * SEGMENT * 4,
                       index + 3 * (op->iw + 1),
                       segment_size(op->ic, segment)};
}

/* Writes the numbers of the set bits, plus `first`, to a list; up to 64 entries after them may be overwritten.
 * Returns how many bits are set. */
INLINE int list_bits(uint16_t *list, uint64_t bits, int first) {
#if defined(PLIF_AVX512)
    const __m512i count = _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13,
                                           12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m512i low = _mm512_slli_epi16(_mm512_add_epi16(count, _mm512_set1_epi16((short)first)), 6);
    __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(32 * UNIT));
    uint32_t a = (uint32_t)bits, b = (uint32_t)(bits >> 32);
    int n = __builtin_popcount(a);
    _mm512_storeu_si512(list, _mm512_maskz_compress_epi16(a, low));
    _mm512_storeu_si512(list + n, _mm512_maskz_compress_epi16(b, high));
    return n + __builtin_popcount(b);
#else
    int n = 0;
    while (bits) {
        list[n++] = (uint16_t)((first + __builtin_ctzll(bits)) * UNIT);
        bits &= bits - 1;
    }
    return n;
#endif
}

/* Writes a row with many spikes as bytes; returns 0, and writes nothing, where it has few. `in`: first word of its
 * segment. */
INLINE int write_bytes(const Op *op, const ActiveRow row, const uint64_t *in, int size) {
#if defined(PLIF_AVX512)
    const int words = blocks_of(op->ic), mine = blocks_of(size);
    int n = 0;
    for (int x = 0; x < op->iw; x++)
        for (int w = 0; w < mine; w++) n += __builtin_popcountll(in[x * words + w]);
    if ((float)n < op->dense_from * (float)(op->iw * size)) return 0;
    for (int x = 0; x < op->iw; x++)
        for (int w = 0; w < mine; w++)
            _mm512_store_si512(row.dense + (int64_t)(op->pad + x) * pixel_bytes(op->ic) + w * 64,
                               _mm512_maskz_set1_epi8(in[x * words + w], 1));
    return 1;
#else
    return (void)op, (void)row, (void)in, (void)size, 0;
#endif
}

/* Lists the pixels of a row that have a bit in `some`, in the order of the convolution; `starts` says where each is
 * in the map. */
INLINE uint32_t list_pixels(const Op *op, const ActiveRow row, const uint16_t *some) {
    uint32_t listed = 0, q = 0, any = 0;
    for (int x = 0; x < op->iw; x += 16) any |= some[x / 16];
    if (!any) {
        memset(row.first, 0, (size_t)(op->iw + 1) * sizeof *row.first);
        return 0;
    }
    for (int phase = 0; phase < op->stride; phase++)
        for (int x = phase; x < op->iw; x += op->stride, q++) {
            row.first[q] = listed;
            row.starts[listed] = (uint32_t)x;
            row.pixels[listed] = q;
            listed += some[x / 16] >> x % 16 & 1;
        }
    row.first[q] = listed;
    return listed;
}

/* The list of a row of spikes. */
INLINE void active_spikes(const Op *op, const Context *ctx, int y, int s) {
    ActiveRow row = active_row(op, ctx->arena, op->out, y, s);
    int words = blocks_of(op->ic), mine = blocks_of(segment_size(op->ic, s));
    const uint64_t *in = (const uint64_t *)(ctx->arena + op->in) + (int64_t)y * op->iw * words + s * (SEGMENT / BLOCK);
    if (HAS_BYTES && op->dense_row && (*row.is_dense = write_bytes(op, row, in, segment_size(op->ic, s)))) return;
    uint16_t some[MOST_SIDE / 16 + 1];
    for (int x = 0; x < op->iw; x += 16) {
        uint32_t bits = 0;
        for (int j = 0; j < 16 && x + j < op->iw; j++) {
            const uint64_t *w = in + (int64_t)(x + j) * words;
            bits |= (uint32_t)((w[0] | (mine > 1 ? w[1] : 0)) != 0) << j;
        }
        some[x / 16] = (uint16_t)bits;
    }
    const uint32_t listed = list_pixels(op, row, some);
    uint32_t n = 0;
    for (uint32_t k = 0; k < listed; k++) {
        const uint64_t *w = in + (int64_t)row.starts[k] * words;
        row.starts[k] = n;
        n += (uint32_t)list_bits(row.lists + n, w[0], 0);
        if (mine > 1) n += (uint32_t)list_bits(row.lists + n, w[1], BLOCK);
    }
    row.starts[listed] = n;

    const int size = segment_size(op->ic, s);
    *row.is_dense = HAS_DENSE && row.dense && !op->dense_row && (float)n >= op->dense_from * (float)(op->iw * size);
    if (!*row.is_dense) return;
    float *dense = (float *)row.dense;
    memset(dense, 0, (size_t)op->iw * (size_t)size * 4);
    for (uint32_t k = 0; k < listed; k++)
        for (uint32_t i = row.starts[k]; i < row.starts[k + 1]; i++)
            dense[row.pixels[k] * (uint32_t)size + row.lists[i] / UNIT] = 1;
}

/* The list of a row of real-valued inputs: the caller's x [C][H][W], or floats [H][W][lanes]. */
INLINE void active_values(const Op *op, const Context *ctx, int y, int s) {
    ActiveRow row = active_row(op, ctx->arena, op->out, y, s);
    const int size = segment_size(op->ic, s), from_x = op->from == FROM_X;
    const int64_t channel = from_x ? (int64_t)op->ih * op->iw : 1, pixel = from_x ? 1 : lanes_of(op->ic);
    const float *in = from_x ? ctx->x : (const float *)(ctx->arena + op->in);
    in += (int64_t)y * op->iw * pixel + (int64_t)s * SEGMENT * channel;
    uint16_t some[MOST_SIDE / 16 + 1];
    for (int x = 0; x < op->iw; x += 16) {
        const int width = op->iw - x < 16 ? op->iw - x : 16;
        uint32_t bits = 0;
        for (int c = 0; c < size && from_x; c++) bits |= nonzero(in + x + c * channel, width);
        for (int i = 0; i < width && !from_x; i++)
            for (int c = 0; c < size; c += 16)
                bits |= (uint32_t)!!nonzero(in + (x + i) * pixel + c, size - c < 16 ? size - c : 16) << i;
        some[x / 16] = (uint16_t)bits;
    }
    *row.is_dense = 0;
    const uint32_t listed = list_pixels(op, row, some);
    uint32_t n = 0;
    for (uint32_t k = 0; k < listed; k++) {
        const float *here = in + row.starts[k] * pixel;
        row.starts[k] = n;
        for (int c = 0; c < size; c++) {
            const float given = here[c * channel];
            const float value = op->area > 0 ? whole_count(given * op->area) : given;
            row.lists[n] = (uint16_t)(c * UNIT);
            row.values[n] = value;
            n += value != 0;
        }
    }
    row.starts[listed] = n;
}
