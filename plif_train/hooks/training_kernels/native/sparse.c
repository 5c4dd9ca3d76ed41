/* A convolution of spikes, and the gradient of its weights, from the inputs that are not zero.

       y[o, q]    = sum over (c, k) of W[o, c, k] x[c, p(q, k)]          p(q, k) = stride q - padding + k
       dW[o, c, k] = sum over images and q of dy[o, q] x[c, p(q, k)]

   A layer of spikes is silent at 85 to 98 % of its places, and a product of matrices multiplies them all. Here each place that is
   not silent adds one row, of all output channels: W[., c, k] to y[., q], or dy[., q] to dW[., c, k]. Rows are float32, padded
   with zeros to `width`, whole vectors; sums are float32 in one order, whatever the number of threads. */

#include "train.h"

enum { WIDE = 8, SOME = 512 }; /* vectors of a row in registers; inputs of a channel at once */
typedef float vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

struct sparse {
    const void *x, *g; /* x [N, C, H, W]; g, y [N, O, OH, OW] */
    const float *w;    /* [KH, KW, C, width] */
    void *y;
    /* forward, one row of pixels of y of each image: [N, OW, width]; backward, all of g: [N, OH OW, width] */
    float *rows;
    float *gw;         /* [C, KH KW, width], added to */
    int32_t *counts;   /* [N, 2]: how many inputs are not zero, and how many are one */
    const int64_t *at; /* [N]: where an image begins in the lists of all images, which follow */
    int32_t *places;   /* the inputs that are not zero, channel by channel: y << 16 | x */
    int32_t *first;    /* [N, C + 1]: where each channel begins in them */
    int32_t *inputs;   /* the same inputs, pixel by pixel: x C + c */
    int32_t *of_pixel; /* [N, H W + 1]: where each pixel begins in them */
    float *values;     /* the values of `inputs`; not there if all are one */
    const int32_t *reach_y,
        *reach_x; /* [KH, H], [KW, W]: OW qy and qx of the output that an input reaches through the kernel, or -1 */
    int64_t N, C, H, W, O, OH, OW, KH, KW, stride_y, stride_x, pad_y, pad_x, width, half, ones;
};

/* The bits of input i as a float32's. Inputs are told from zero and one by them: no mode of the processor changes
 * the answer. */
INLINE uint32_t bits_of(const void *x, int64_t i, int half) {
    return half ? (uint32_t)((const uint16_t *)x)[i] << 16 : ((const one_float *)x)[i];
}

INLINE int is_zero(uint32_t bits) { return !(bits & 0x7fffffff); } /* -0, too */

INLINE void count(const struct sparse *s, int64_t n, int half) {
    const int64_t size = s->C * s->H * s->W;
    int32_t some = 0, ones = 0;
    for (int64_t i = n * size; i < (n + 1) * size; i++) {
        const uint32_t bits = bits_of(s->x, i, half);
        some += !is_zero(bits);
        ones += bits == 0x3f800000;
    }
    s->counts[2 * n] = some;
    s->counts[2 * n + 1] = ones;
}

/* The lists of an image: of each channel, and from these of each pixel. */
INLINE void list(const struct sparse *s, int64_t n, int half, int ones) {
    const int64_t C = s->C, H = s->H, W = s->W, pixels = H * W, size = half ? 2 : 4, in_word = 8 / size;
    const uint64_t but_signs = half ? 0x7fff7fff7fff7fff : 0x7fffffff7fffffff;
    const char *x = (const char *)s->x + n * C * pixels * size;
    int32_t *first = s->first + n * (C + 1), *of_pixel = s->of_pixel + n * (pixels + 1), *places = s->places + s->at[n];
    int32_t *inputs = s->inputs + s->at[n], all = 0, before = 0;
    memset(of_pixel, 0, (size_t)(pixels + 1) * sizeof *of_pixel);
    for (int64_t c = 0; c < C; c++) {
        first[c] = all;
        for (int64_t y = 0; y < H; y++)
            for (int64_t i = 0; i < W; i += in_word) { /* words of 64 bits first: most are empty */
                const int64_t there = at_most(in_word, W - i);
                uint64_t word = 0;
                memcpy(&word, x + ((c * H + y) * W + i) * size, (size_t)(there * size));
                if (!(word & but_signs)) continue;
                for (int64_t j = i; j < i + there; j++)
                    if (!is_zero(bits_of(x, (c * H + y) * W + j, half))) {
                        places[all++] = (int32_t)(y << 16 | j);
                        of_pixel[y * W + j]++;
                    }
            }
    }
    first[C] = all;
    for (int64_t p = 0; p < pixels; p++) {
        const int32_t own = of_pixel[p];
        of_pixel[p] = before;
        before += own;
    }
    for (int64_t c = 0; c < C; c++)
        for (int32_t j = first[c]; j < first[c + 1]; j++) {
            const int64_t column = places[j] & 0xffff, pixel = (places[j] >> 16) * W + column, to = of_pixel[pixel]++;
            inputs[to] = (int32_t)(column * C + c);
            if (!ones) s->values[s->at[n] + to] = load(x, c * pixels + pixel, half);
        }
    memmove(of_pixel + 1, of_pixel, (size_t)pixels * sizeof *of_pixel); /* each begin had moved to its end */
    of_pixel[0] = 0;
}

/* One output pixel: the vectors from..from+V of its row. The inputs that a row of the kernel sees lie together, and so do its
   rows of W, [KW, C]. */
INLINE void sum_pixel(const struct sparse *s, int64_t n, int64_t oy, int64_t ox, int64_t from, float *row, int V,
                      int ones) {
    const int64_t C = s->C, H = s->H, W = s->W, width = s->width;
    const int32_t *of_pixel = s->of_pixel + n * (H * W + 1), *inputs = s->inputs + s->at[n];
    const float *values = s->values + (ones ? 0 : s->at[n]);
    const int64_t y0 = oy * s->stride_y - s->pad_y, x0 = ox * s->stride_x - s->pad_x;
    const int64_t left = x0 < 0 ? 0 : x0, right = at_most(W, x0 + s->KW);
    vector sum[WIDE];
    for (int k = 0; k < V; k++) sum[k] = (vector){0};
    for (int64_t y = y0 < 0 ? 0 : y0; y < y0 + s->KH && y < H && left < right; y++) {
        const float *w = s->w + (((y - y0) * s->KW - x0) * C) * width + from * LANES;
        for (int32_t j = of_pixel[y * W + left]; j < of_pixel[y * W + right]; j++) {
            const vector *of = (const vector *)(w + inputs[j] * width);
            for (int k = 0; k < V; k++) sum[k] += of[k] * (ones ? 1.0f : values[j]);
        }
    }
    for (int k = 0; k < V; k++) ((vector *)row)[from + k] = sum[k];
}

/* [m, width] of the pixels q..q+m <-> [O, OH OW]. */
INLINE void from_rows(const float *rows, void *y, int64_t q, int64_t m, int64_t O, int64_t Q, int64_t width, int half) {
    for (int64_t o = 0; o < O; o++)
        for (int64_t i = 0; i < m; i++) store(y, o * Q + q + i, rows[i * width + o], half);
}

INLINE void to_rows(const void *g, float *rows, int64_t O, int64_t Q, int64_t width, int half) {
    for (int64_t o = 0; o < width; o += LANES) /* a line of memory of each row, from so many channels */
        for (int64_t q = 0; q < Q; q++)
            for (int64_t i = o; i < o + LANES; i++) rows[q * width + i] = i < O ? load(g, i * Q + q, half) : 0.0f;
}

/* WHAT(V) for the vectors of a row, V = 8, 4, 2 or 1 of them at once, from the number `from` on, a name that WHAT
 * uses. */
#define VECTORS(ALL, WHAT) \
    for (int64_t from = 0, end = (ALL), V; from < end; from += V) { \
        V = end - from >= 8 ? 8 : end - from >= 4 ? 4 : end - from >= 2 ? 2 : 1; \
        if (V == 8) \
            WHAT(8); \
        else if (V == 4) \
            WHAT(4); \
        else if (V == 2) \
            WHAT(2); \
        else \
            WHAT(1); \
    }
#define SUM_PIXEL(V) sum_pixel(s, n, oy, ox, from, rows + ox * s->width, V, ones)

INLINE void forward(const struct sparse *s, int64_t n, int half, int ones) {
    const int64_t Q = s->OH * s->OW;
    float *rows = s->rows + n * s->OW * s->width;
    char *y = (char *)s->y + n * s->O * Q * (half ? 2 : 4);
    for (int64_t oy = 0; oy < s->OH; oy++) {
        for (int64_t ox = 0; ox < s->OW; ox++) VECTORS(s->width / LANES, SUM_PIXEL)
        from_rows(rows, y, oy * s->OW, s->OW, s->O, Q, s->width, half);
    }
}

/* The pixels of dy that inputs of channel c reach through the place (ky, kx) of the kernel; returns how many. */
INLINE int64_t reached(const struct sparse *s, int64_t n, int64_t c, const int32_t *places, int64_t m, int64_t ky,
                       int64_t kx, int32_t *pixels, float *values, int half, int ones) {
    const int32_t *reach_y = s->reach_y + ky * s->H, *reach_x = s->reach_x + kx * s->W;
    int64_t found = 0;
    for (int64_t j = 0; j < m; j++) {
        const int32_t y = places[j] >> 16, x = places[j] & 0xffff, in_y = reach_y[y], in_x = reach_x[x];
        pixels[found] = in_y + in_x;
        if (!ones) values[found] = load(s->x, ((n * s->C + c) * s->H + y) * s->W + x, half);
        found += (in_y | in_x) >= 0;
    }
    return found;
}

INLINE void sum_rows(const float *rows, const int32_t *pixels, const float *values, int64_t m, int64_t width, float *gw,
                     int64_t from, int V, int ones) {
    vector sum[WIDE];
    for (int k = 0; k < V; k++) sum[k] = (vector){0};
    for (int64_t j = 0; j < m; j++) {
        const vector *of = (const vector *)(rows + pixels[j] * width) + from;
        for (int k = 0; k < V; k++) sum[k] += of[k] * (ones ? 1.0f : values[j]);
    }
    for (int k = 0; k < V; k++) ((vector *)gw)[from + k] += sum[k];
}
#define SUM_ROWS(V) sum_rows(rows, pixels, values, m, s->width, gw, from, V, ones)

/* dW of channel c. */
INLINE void weights(const struct sparse *s, int64_t c, int half, int ones) {
    int32_t pixels[SOME];
    float values[SOME];
    for (int64_t n = 0; n < s->N; n++) {
        const int32_t *first = s->first + n * (s->C + 1) + c, *places = s->places + s->at[n];
        const float *rows = s->rows + n * s->OH * s->OW * s->width;
        for (int32_t j = first[0]; j < first[1]; j += SOME)
            for (int64_t k = 0; k < s->KH * s->KW; k++) {
                const int64_t some = at_most(SOME, first[1] - j);
                const int64_t m = reached(s, n, c, places + j, some, k / s->KW, k % s->KW, pixels, values, half, ones);
                float *gw = s->gw + (c * s->KH * s->KW + k) * s->width;
                VECTORS(s->width / LANES, SUM_ROWS)
            }
    }
}

INLINE void gradient_rows(const struct sparse *s, int64_t n, int half) {
    const int64_t Q = s->OH * s->OW;
    to_rows((const char *)s->g + n * s->O * Q * (half ? 2 : 4), s->rows + n * Q * s->width, s->O, Q, s->width, half);
}

#define PARTS(CALL) \
    for (int64_t n = from; n < to; n++) EITHER(half, s->half, CALL)
#define PARTS_OF_ONES(WHAT) PARTS(EITHER(ones, s->ones, WHAT(s, n, half, ones)))

EACH_CPU void plif_sparse_count(const struct sparse *s, int64_t from, int64_t to) { PARTS(count(s, n, half)); }

EACH_CPU void plif_sparse_list(const struct sparse *s, int64_t from, int64_t to) { PARTS_OF_ONES(list); }

EACH_CPU void plif_sparse_forward(const struct sparse *s, int64_t from, int64_t to) { PARTS_OF_ONES(forward); }

EACH_CPU void plif_sparse_rows(const struct sparse *s, int64_t from, int64_t to) { PARTS(gradient_rows(s, n, half)); }

EACH_CPU void plif_sparse_weights(const struct sparse *s, int64_t from, int64_t to) { PARTS_OF_ONES(weights); }
