/* One line of a program on registers of some floats: arithmetic, as machine.h lists it. */
#ifndef PLIF_LINES_H
#define PLIF_LINES_H

#include "../machine.h"
#include "functions.h"

/* Where a register lies: runs of floats, `step` from one to the next. */
typedef struct {
    float *at;
    int64_t step;
} Place;

/* The registers of a program, in blocks of `runs` runs (pixels) of `floats` floats (channels). */
typedef struct {
    float *own; /* [registers][MACHINE_FLOATS]: the memory of each, where its runs follow each other */
    int runs, floats;
    Place place[MOST_REGISTERS];
} Machine;

INLINE float *own(Machine *m, int which) {
    float *at = m->own + (int64_t)which * MACHINE_FLOATS;
    m->place[which] = (Place){at, m->floats};
    return at;
}

INLINE fr line_result(int op, fr a, fr b, fr c, fr d) {
    const ir p = (ir)a, q = (ir)b;
    switch (op) {
    case LINE_ADD: return a + b;
    case LINE_SUB: return a - b;
    case LINE_MUL: return a * b;
    case LINE_DIV: return a / b;
    case LINE_MIN: return lesser(a, b);
    case LINE_MAX: return greater(a, b);
    case LINE_NEG: return (fr)(p ^ whole(INT32_MIN));
    case LINE_ABS: return magnitude(a);
    case LINE_ROUND: return nearest(a);
    case LINE_FLOOR: return floor_of(a);
    case LINE_CEIL: return ceil_of(a);
    case LINE_COPY: return a;
    case LINE_EXP: return exp_of(a);
    case LINE_TANH: return tanh_of(a);
    case LINE_SQRT: return root(a);
    case LINE_LOG: return log_of(a);
    case LINE_GREATER: return (fr)(a > b);
    case LINE_AT_LEAST: return (fr)(a >= b);
    case LINE_EQUAL: return (fr)(a == b);
    case LINE_NOT: return (fr)~p;
    case LINE_AND: return (fr)(p & q);
    case LINE_OR: return (fr)(p | q);
    case LINE_CAST: return (fr)(p & (ir)all(1.0f));
    case LINE_WHERE: return choose(p, b, c);
    case LINE_ADD_ADD: return a + b + c;
    case LINE_ADD_SUB: return a + b - c;
    case LINE_ADD_FROM: return c - (a + b);
    case LINE_ADD_MUL: return (a + b) * c;
    case LINE_SUB_ADD: return a - b + c;
    case LINE_SUB_SUB: return a - b - c;
    case LINE_SUB_FROM: return c - (a - b);
    case LINE_SUB_MUL: return (a - b) * c;
    case LINE_MUL_ADD: return a * b + c;
    case LINE_MUL_SUB: return a * b - c;
    case LINE_MUL_FROM: return c - a * b;
    case LINE_MUL_MUL: return a * b * c;
    case LINE_CAST_GREATER: return pick(greater_than(a, b), (ir)(a > b), all(1.0f), all(0.0f));
    case LINE_CAST_AT_LEAST: return pick(at_least(a, b), (ir)(a >= b), all(1.0f), all(0.0f));
    case LINE_WHERE_GREATER: return pick(greater_than(a, b), (ir)(a > b), c, d);
    default: return pick(at_least(a, b), (ir)(a >= b), c, d);
    }
}

/* runs: of n registers of the processor each. */
INLINE void each(int op, const Place *a, const Place *b, const Place *c, const Place *d, const Place *to, int runs,
                 int n) {
    for (int r = 0; r < runs; r++) {
        const fr *p = (const fr *)(a->at + r * a->step), *q = (const fr *)(b->at + r * b->step),
                 *s = (const fr *)(c->at + r * c->step), *t = (const fr *)(d->at + r * d->step);
        fr *out = (fr *)(to->at + r * to->step);
        SHORT for (int i = 0; i < n; i++) out[i] = line_result(op, p[i], q[i], s[i], t[i]);
    }
}

/* to: where the register that the line writes is to lie. */
static __attribute__((noinline)) void compute(Machine *m, const Line *line, Place to, int runs) {
    const Place a = m->place[line->a], b = m->place[line->b], c = m->place[line->c], d = m->place[line->d];
    const int together = a.step == m->floats && b.step == m->floats && c.step == m->floats && d.step == m->floats &&
                         to.step == m->floats;
    const int n = m->floats / REGISTER * (together ? runs : 1);
    m->place[line->out] = to;
    if (together) runs = 1;
    switch (line->op) {
#define CASE(kind) \
    case LINE_##kind: each(LINE_##kind, &a, &b, &c, &d, &to, runs, n); break
        CASE(ADD);
        CASE(SUB);
        CASE(MUL);
        CASE(DIV);
        CASE(MIN);
        CASE(MAX);
        CASE(NEG);
        CASE(ABS);
        CASE(ROUND);
        CASE(FLOOR);
        CASE(CEIL);
        CASE(COPY);
        CASE(EXP);
        CASE(TANH);
        CASE(SQRT);
        CASE(LOG);
        CASE(GREATER);
        CASE(AT_LEAST);
        CASE(EQUAL);
        CASE(NOT);
        CASE(AND);
        CASE(OR);
        CASE(CAST);
        CASE(WHERE);
        CASE(ADD_ADD);
        CASE(ADD_SUB);
        CASE(ADD_FROM);
        CASE(ADD_MUL);
        CASE(SUB_ADD);
        CASE(SUB_SUB);
        CASE(SUB_FROM);
        CASE(SUB_MUL);
        CASE(MUL_ADD);
        CASE(MUL_SUB);
        CASE(MUL_FROM);
        CASE(MUL_MUL);
        CASE(CAST_GREATER);
        CASE(CAST_AT_LEAST);
        CASE(WHERE_GREATER);
        CASE(WHERE_AT_LEAST);
    default: break; /* check_lines.c lets no other pass */
    }
#undef CASE
}

#endif
