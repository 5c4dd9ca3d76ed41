/* Neurons that are programs (machine.h): blocks of pixels with the outputs of one piece of a convolution, or of a map.
 *
 * What the convolution summed is read where it lies, in its tile, which is still in the cache. */
#pragma once

#include "lines.h"
#include "neuron.h"

/* A piece of work: `machine.floats` channels from `lane` on, of some pixels. */
typedef struct {
    const Op *op;
    const Context *ctx;
    int lane, lanes;
    Machine machine;
} Piece;

/* `count` pixels, and their currents, of which `kind` says what they are; at: floats before them in a map. */
typedef struct {
    int64_t pixel, at;
    int count, kind;
    Sums x;
} Span;

INLINE void sums_to(const Piece *p, const Span *s, fr *to, int kind) {
    const int n = p->machine.floats / REGISTER;
    const float *bias = kind == SUM_FLOAT ? 0 : p->op->bias + p->lane,
                *scale = kind == SUM_FLOAT ? 0 : p->op->scale + p->lane;
    for (int i = 0; i < s->count; i++, to += n) {
        const char *sums = sums_of(s->x, i);
        for (int j = 0; j < n; j++) to[j] = current(sums, scale, bias, j, kind);
    }
}

static __attribute__((noinline)) void read_sums(Piece *p, const Span *s, int out) {
    Machine *m = &p->machine;
    const uint64_t mine = s->count < 64 ? (1ull << s->count) - 1 : ~0ull;
    if (s->kind == SUM_FLOAT && (s->x.touched & mine) == mine) {
        m->place[out] = (Place){(float *)s->x.at, s->x.stride / 4}; /* which no line writes */
        return;
    }
    fr *to = (fr *)own(m, out);
    switch (s->kind) {
    case SUM_FLOAT: sums_to(p, s, to, SUM_FLOAT); break;
    case SUM_EXACT: sums_to(p, s, to, SUM_EXACT); break;
    case SUM_INT16: sums_to(p, s, to, SUM_INT16); break;
    default: sums_to(p, s, to, SUM_INT32);
    }
}

static __attribute__((noinline)) void write_map(const Machine *m, int count, Place to, int from) {
    const Place a = m->place[from];
    if (a.at == to.at) return;
    each(LINE_COPY, &a, &a, &a, &a, &to, count, m->floats / REGISTER);
}

/* Words of 64 channels; those that are no channels are 0. how: LINE_FIRE, LINE_FIRE_GREATER or LINE_FIRE_AT_LEAST. */
INLINE void fire(const Piece *p, const Span *s, const Line *line, int how) {
    const Machine *m = &p->machine;
    const int words = blocks_of(p->op->oc), n = m->floats / REGISTER, each = BLOCK / REGISTER;
    const Place a = m->place[line->a], b = m->place[line->b];
    uint64_t *out = (uint64_t *)(p->ctx->arena + p->op->out) + s->pixel * words + p->lane / BLOCK;
    for (int i = 0; i < s->count; i++, out += words) {
        const fr *q = (const fr *)(a.at + i * a.step), *r = (const fr *)(b.at + i * b.step);
        for (int j = 0; j < n;) {
            const int word = j / each, left = p->op->oc - p->lane - word * BLOCK;
            uint64_t fired = 0;
            for (int k = 0; k < each && j < n; k++, j++)
                fired |= (uint64_t)(how == LINE_FIRE           ? signs((ir)q[j])
                                    : how == LINE_FIRE_GREATER ? greater_than(q[j], r[j])
                                                               : at_least(q[j], r[j]))
                         << (k * REGISTER);
            out[word] = left < BLOCK ? fired & ((1ull << left) - 1) : fired;
        }
    }
}

static __attribute__((noinline)) void channels(Piece *p, int out, const float *from) {
    float *to = own(&p->machine, out);
    for (int at = 0; at + p->machine.floats <= MACHINE_FLOATS; at += p->machine.floats)
        memcpy(to + at, from + p->lane, (size_t)p->machine.floats * 4);
}

static __attribute__((noinline)) void number(Machine *m, int out, int32_t bits) {
    int32_t *to = (int32_t *)own(m, out);
    for (int i = 0; i < MACHINE_FLOATS; i++) to[i] = bits;
}

static Place in_map(const Piece *p, const Span *s, const float *map) { return (Place){(float *)map + s->at, p->lanes}; }
static Place in_state(const Piece *p, const Span *s, const float *const *states, int which) {
    return in_map(p, s, states[which] + p->ctx->row * p->ctx->v_stride[which]);
}

static __attribute__((noinline)) void run_lines(Piece *p, const Span *s, int from, int to) {
    const Op *op = p->op;
    const Context *ctx = p->ctx;
    Machine *m = &p->machine;
    const float *const *v = ctx->v, *const *v_next = (const float *const *)ctx->v_next;
    for (const Line *line = op->code + from; line < op->code + to; line++) switch (line->op) {
        case LINE_NUMBER: number(m, line->out, line->a); break;
        case LINE_CHANNEL: channels(p, line->out, op->alpha + (int64_t)16 * line->a); break;
        case LINE_EACH: m->place[line->out] = in_map(p, s, op->alpha + (int64_t)16 * line->a); break;
        case LINE_INPUT: read_sums(p, s, line->out); break;
        case LINE_MAP: m->place[line->out] = in_map(p, s, (const float *)(ctx->arena + (int64_t)64 * line->a)); break;
        case LINE_STATE: m->place[line->out] = in_state(p, s, v, line->a); break;
        case LINE_KEEP: write_map(m, s->count, in_state(p, s, v_next, line->a), line->b); break;
        case LINE_GIVE: write_map(m, s->count, in_map(p, s, (const float *)(ctx->arena + op->out)), line->a); break;
        case LINE_FIRE: fire(p, s, line, LINE_FIRE); break;
        case LINE_FIRE_GREATER: fire(p, s, line, LINE_FIRE_GREATER); break;
        case LINE_FIRE_AT_LEAST: fire(p, s, line, LINE_FIRE_AT_LEAST); break;
        default: {
            const Place own = {m->own + (int64_t)line->out * MACHINE_FLOATS, m->floats};
            compute(m, line, line->into ? in_state(p, s, v_next, line->into - 1) : own,
                    s ? s->count : MACHINE_FLOATS / m->floats);
        }
        }
}

static __attribute__((noinline)) void program_begin(Piece *p, const Op *op, const Context *ctx, int lane, int outputs,
                                                    float *registers) {
    p->op = op;
    p->ctx = ctx;
    p->lane = lane;
    p->lanes = lanes_of(op->oc);
    p->machine.own = registers;
    p->machine.floats = outputs;
    for (int i = 0; i < op->registers; i++) own(&p->machine, i);
    run_lines(p, 0, 0, op->once);
}

/* `width` pixels, at most 64, of one row. */
static __attribute__((noinline)) void program_pixels(Piece *p, int64_t pixel, int width, Sums x, int kind) {
    const int most = MACHINE_FLOATS / p->machine.floats;
    for (int i = 0; i < width; i += most) {
        const Span s = {pixel + i,
                        (pixel + i) * p->lanes + p->lane,
                        width - i < most ? width - i : most,
                        kind,
                        {x.at + i * x.stride, x.start, x.stride, x.touched >> i}};
        run_lines(p, &s, p->op->once, p->op->lines);
    }
}

/* A neuron that is not fused with a convolution: one row of the map. */
static __attribute__((noinline)) void program_row(const Op *op, const Context *ctx, int y) {
    const int lanes = lanes_of(op->oc);
    for (int lane = 0; lane < lanes; lane += MACHINE_FLOATS) {
        Piece p;
        program_begin(&p, op, ctx, lane, lanes - lane < MACHINE_FLOATS ? lanes - lane : MACHINE_FLOATS, ctx->acc);
        for (int from = 0; from < op->ow; from += 64) {
            const int64_t pixel = (int64_t)y * op->ow + from;
            const Sums in = {ctx->arena + op->in + (pixel * lanes + lane) * 4, 0, lanes * 4, ~0ull};
            program_pixels(&p, pixel, op->ow - from < 64 ? op->ow - from : 64, in, SUM_FLOAT);
        }
    }
}
