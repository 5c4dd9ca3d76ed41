/* Operations on views of floats (tensor.h): correct for every shape, and vectors of the processor where they follow each other. */
#pragma once

#include "../tensor.h"
#include "lines.h"

/* A place in the index of a tensor: `count` axes from `first` on. */
typedef struct {
    const Tensor *t;
    int first, count;
    int64_t at[MOST_AXES];
} Index;

static __attribute__((noinline)) Index index_at(const Tensor *t, int first, int count, int64_t element) {
    Index x = {t, first, count, {0}};
    for (int i = count - 1; i >= 0; i--) {
        x.at[i] = element % t->size[first + i];
        element /= t->size[first + i];
    }
    return x;
}

static int64_t offset(const Index *x, const View *v) {
    int64_t at = 0;
    for (int i = 0; i < x->count; i++) at += x->at[i] * v->stride[x->first + i];
    return at;
}

/* `n` places on, which do not pass the end of the last axis. */
static void advance(Index *x, int64_t n) {
    int i = x->count - 1;
    for (x->at[i] += n; i > 0 && x->at[i] == x->t->size[x->first + i]; i--) {
        x->at[i] = 0;
        x->at[i - 1]++;
    }
}

static float *base_of(const Op *op, const Context *ctx, const View *v) {
    return (v->maker < 0 ? (float *)op->alpha : (float *)ctx->arena) + v->at;
}

/* n elements from `x` on, of a view that begins at `base`: to `row`, where they lie one after the other, or from
 * there. */
INLINE void copy_run(Index x, const View *v, float *base, int n, float *row, int to_row) {
    const int last = x.count - 1;
    const int64_t stride = v->stride[x.first + last], size = x.t->size[x.first + last];
    while (n > 0) {
        float *at = base + offset(&x, v);
        const int run = size - x.at[last] < n ? (int)(size - x.at[last]) : n;
        if (stride == 1)
            memcpy(to_row ? row : at, to_row ? at : row, (size_t)run * 4);
        else if (to_row)
            SHORT for (int i = 0; i < run; i++) row[i] = at[i * stride];
        else
            SHORT for (int i = 0; i < run; i++) at[i * stride] = row[i];
        row += run;
        n -= run;
        advance(&x, run);
    }
}
static __attribute__((noinline)) void gather(Index x, const View *v, const float *base, int n, float *to) {
    copy_run(x, v, (float *)base, n, to, 1);
}
static __attribute__((noinline)) void scatter(Index x, const View *v, float *base, int n, const float *from) {
    copy_run(x, v, base, n, (float *)from, 0);
}

static __attribute__((noinline)) void tensor_lines(const Op *op, const Context *ctx, Machine *m, const Index *x, int n,
                                                   int from, int to) {
    const Tensor *t = op->weight;
    for (const Line *line = op->code + from; line < op->code + to; line++) switch (line->op) {
        case LINE_NUMBER: number(m, line->out, line->a); break;
        case LINE_VIEW: gather(*x, &t->view[line->a], base_of(op, ctx, &t->view[line->a]), n, own(m, line->out)); break;
        case LINE_PUT: scatter(*x, &t->view[0], base_of(op, ctx, &t->view[0]), n, m->place[line->a].at); break;
        default: compute(m, line, (Place){m->own + (int64_t)line->out * MACHINE_FLOATS, m->floats}, 1);
        }
}

static void tensor(const Op *op, const Context *ctx, int item) {
    const Tensor *t = op->weight;
    const int64_t all = elements(t, 0, t->axes), from = (int64_t)item * PIECE_ELEMENTS,
                  to = from + PIECE_ELEMENTS < all ? from + PIECE_ELEMENTS : all;
    Machine m;
    m.own = ctx->acc;
    m.floats = MACHINE_FLOATS;
    for (int i = 0; i < op->registers; i++) own(&m, i);
    tensor_lines(op, ctx, &m, 0, 0, 0, op->once);
    for (int64_t i = from; i < to; i += MACHINE_FLOATS) {
        const int n = to - i < MACHINE_FLOATS ? (int)(to - i) : MACHINE_FLOATS;
        const Index x = index_at(t, 0, (int)t->axes, i);
        m.floats = (n + 15) / 16 * 16;
        tensor_lines(op, ctx, &m, &x, n, op->once, op->lines);
    }
}

static void reduce(const Op *op, const Context *ctx, int item) {
    const Tensor *t = op->weight;
    const int outer = (int)(t->axes - t->inner);
    const int64_t count = elements(t, 0, outer), from = (int64_t)item * PIECE_ELEMENTS,
                  to = from + PIECE_ELEMENTS < count ? from + PIECE_ELEMENTS : count,
                  terms = elements(t, outer, t->axes);
    const View *in = &t->view[1];
    fr *sum = (fr *)ctx->acc, *next = (fr *)(ctx->acc + MACHINE_FLOATS);
    for (int64_t i = from; i < to; i += MACHINE_FLOATS) {
        const int n = to - i < MACHINE_FLOATS ? (int)(to - i) : MACHINE_FLOATS,
                  registers = (n + REGISTER - 1) / REGISTER;
        const Index x = index_at(t, 0, outer, i);
        Index k = index_at(t, outer, (int)t->inner, 0);
        for (int64_t term = 0; term < terms; term++, advance(&k, 1)) {
            gather(x, in, base_of(op, ctx, in) + offset(&k, in), n, (float *)(term ? next : sum));
            if (!term) continue;
            if (t->how == REDUCE_MAX)
                for (int j = 0; j < registers; j++) sum[j] = greater(sum[j], next[j]);
            else
                for (int j = 0; j < registers; j++) sum[j] += next[j];
        }
        if (t->how == REDUCE_MEAN)
            for (int j = 0; j < registers; j++) sum[j] /= all((float)terms);
        scatter(x, &t->view[0], base_of(op, ctx, &t->view[0]), n, (float *)sum);
    }
}

/* What is not zero on the left of a product, and the rows on its right that it multiplies. */
typedef struct {
    int count;
    float value[MACHINE_FLOATS];
    const float *row[MACHINE_FLOATS];
} Terms;

typedef float anywhere __attribute__((vector_size(4 * REGISTER), aligned(4), may_alias)); /* a register's floats */

/* `width` registers of columns from `at` on stay in registers of the processor. */
INLINE void add_columns(float *sums, const Terms *terms, int at, int width) {
    fr sum[4];
    UNROLL for (int j = 0; j < width; j++) sum[j] = *(const fr *)(sums + at + j * REGISTER);
    for (int i = 0; i < terms->count; i++)
        UNROLL for (int j = 0; j < width; j++)
            sum[j] += all(terms->value[i]) * *(const anywhere *)(terms->row[i] + at + j * REGISTER);
    UNROLL for (int j = 0; j < width; j++) * (fr *)(sums + at + j * REGISTER) = sum[j];
}

/* sums[j] += value * row[j], term by term; n columns. */
static __attribute__((noinline)) void add_terms(float *sums, Terms *terms, int n) {
    int at = 0;
    for (; at + 4 * REGISTER <= n; at += 4 * REGISTER) add_columns(sums, terms, at, 4);
    for (; at + REGISTER <= n; at += REGISTER) add_columns(sums, terms, at, 1);
    for (; at < n; at++) SHORT for (int i = 0; i < terms->count; i++) sums[at] += terms->value[i] * terms->row[i][at];
    terms->count = 0;
}

static void product(const Op *op, const Context *ctx, int item) {
    const Tensor *t = op->weight;
    const int rows_axis = (int)(t->axes - t->inner) - 1, inner = (int)t->inner, last = (int)t->axes - 1;
    const int64_t all = elements(t, 0, rows_axis), from = (int64_t)item * PIECE_ROWS,
                  to = from + PIECE_ROWS < all ? from + PIECE_ROWS : all, width = t->size[rows_axis];
    const View *a = &t->view[1], *b = &t->view[2];
    Terms terms = {.count = 0};
    for (int64_t i = from; i < to; i++) {
        const Index row = index_at(t, 0, rows_axis, i);
        const float *left = base_of(op, ctx, a) + offset(&row, a), *right = base_of(op, ctx, b) + offset(&row, b);
        for (int64_t j = 0; j < width; j += MACHINE_FLOATS) {
            const int n = width - j < MACHINE_FLOATS ? (int)(width - j) : MACHINE_FLOATS;
            memset(ctx->acc, 0, (size_t)n * 4);
            Index k = index_at(t, rows_axis + 1, inner, 0);
            for (int64_t left_over = elements(t, rows_axis + 1, t->axes); left_over > 0; left_over -= t->size[last]) {
                const float *p = left + offset(&k, a), *q = right + offset(&k, b) + j;
                for (int64_t s = 0; s < t->size[last];) {
                    const int64_t left_here = t->size[last] - s, room = MACHINE_FLOATS - terms.count;
                    const int64_t end = s + (left_here < room ? left_here : room);
                    for (; s < end;
                         s++, p += a->stride[last], q += b->stride[last]) { /* spikes come as they like: no branch */
                        terms.value[terms.count] = *p;
                        terms.row[terms.count] = q;
                        terms.count += *p != 0;
                    }
                    if (terms.count == MACHINE_FLOATS) add_terms(ctx->acc, &terms, n);
                }
                advance(&k, t->size[last]);
            }
            add_terms(ctx->acc, &terms, n);
            scatter(index_at(t, 0, rows_axis + 1, i * width + j), &t->view[0], base_of(op, ctx, &t->view[0]), n,
                    ctx->acc);
        }
    }
}
