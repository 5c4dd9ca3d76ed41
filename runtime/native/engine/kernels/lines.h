/* One line of a program on registers of some floats: arithmetic, as machine.h lists it. */
#pragma once

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
#define RESULT(name, reads, gives) \
    case LINE_##name: return gives;
        COMPUTING(RESULT)
    default: return a;
    }
#undef RESULT
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
#define CASE(name, reads, gives) \
    case LINE_##name: each(LINE_##name, &a, &b, &c, &d, &to, runs, n); break;
        COMPUTING(CASE)
    default: break; /* check_lines.c lets no other pass */
    }
#undef CASE
}
