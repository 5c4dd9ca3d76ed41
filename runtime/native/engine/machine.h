/* Programs of neurons: a neuron's equation as a short list of lines, for any neuron that has no kernel of its own
 * (runtime/core/model/neurons.py has the equations, runtime/engines/event_program/neurons.py makes lines of them).
 *
 * A register is MACHINE_FLOATS floats, of as many neurons that lie together: pixels, each with some of its channels. A
 * line does one operation on whole registers, which stay in the first-level cache. Its result is that of NumPy in
 * float32, rounded after each operation; truth values are all bits or none.
 *
 * The first `Op.once` lines make what is the same for all blocks of a piece of work. Lines are checked by
 * check_lines.c. */
#pragma once

#include <stdint.h>

enum { MACHINE_FLOATS = 512, MOST_LINES = 4096, MOST_REGISTERS = 256 };

typedef struct {
    int32_t op, out, a, b, c, d; /* line_op; registers, or what the comment says; 0 where there is none */
    int32_t into; /* the state, from 1 on, in which register `out` lies after this line; 0: its own memory */
} Line;

/* Lines that compute: the name, how many of the registers a, b, c, d it reads, and what it gives; p and q are the bits
 * of a and b. The first names are of one operation, the others of two, each rounded: a register less to write and to
 * read. */
#define COMPUTING(X) \
    X(ADD, 2, a + b) \
    X(SUB, 2, a - b) \
    X(MUL, 2, (a * b)) \
    X(DIV, 2, a / b) \
    X(MIN, 2, lesser(a, b)) \
    X(MAX, 2, greater(a, b)) \
    X(NEG, 1, (fr)(p ^ whole(INT32_MIN))) \
    X(ABS, 1, magnitude(a)) \
    X(ROUND, 1, nearest(a)) /* half to even */ \
    X(FLOOR, 1, floor_of(a)) \
    X(CEIL, 1, ceil_of(a)) \
    X(COPY, 1, a) \
    X(EXP, 1, exp_of(a)) \
    X(TANH, 1, tanh_of(a)) \
    X(SQRT, 1, root(a)) \
    X(LOG, 1, log_of(a)) \
    X(GREATER, 2, (fr)(a > b)) \
    X(AT_LEAST, 2, (fr)(a >= b)) \
    X(EQUAL, 2, (fr)(a == b)) \
    X(NOT, 1, (fr)~p) \
    X(AND, 2, (fr)(p & q)) \
    X(OR, 2, (fr)(p | q)) \
    X(CAST, 1, (fr)(p & (ir)all(1.0f))) /* a ? 1 : 0 */ \
    X(WHERE, 3, choose(p, b, c))        /* a ? b : c */ \
    X(ADD_ADD, 3, a + b + c) \
    X(ADD_SUB, 3, a + b - c) \
    X(ADD_FROM, 3, c - (a + b)) \
    X(ADD_MUL, 3, (a + b) * c) \
    X(SUB_ADD, 3, a - b + c) \
    X(SUB_SUB, 3, a - b - c) \
    X(SUB_FROM, 3, c - (a - b)) \
    X(SUB_MUL, 3, (a - b) * c) \
    X(MUL_ADD, 3, (a * b) + c) \
    X(MUL_SUB, 3, (a * b) - c) \
    X(MUL_FROM, 3, c - a * b) \
    X(MUL_MUL, 3, a * b * c) \
    X(CAST_GREATER, 2, pick(greater_than(a, b), (ir)(a > b), all(1.0f), all(0.0f))) \
    X(CAST_AT_LEAST, 2, pick(at_least(a, b), (ir)(a >= b), all(1.0f), all(0.0f))) \
    X(WHERE_GREATER, 4, pick(greater_than(a, b), (ir)(a > b), c, d)) /* a > b ? c : d */ \
    X(WHERE_AT_LEAST, 4, pick(at_least(a, b), (ir)(a >= b), c, d))

#define NAMED(name, reads, gives) LINE_##name,
enum line_op {
    LINE_NUMBER,        /* out = the float whose bits are in a */
    LINE_CHANNEL,       /* out = a parameter of each channel, lanes(oc) floats from Op.alpha + 16 a on */
    LINE_EACH,          /* out = a parameter of each neuron, a whole map from Op.alpha + 16 a on */
    LINE_INPUT,         /* out = the sums of the convolution, or the map at Op.in */
    LINE_MAP,           /* out = the floats at 64 a in the arena, a map as large as the neurons', of operation b */
    LINE_STATE,         /* out = state a before the step */
    LINE_KEEP,          /* state a after the step = register b */
    LINE_GIVE,          /* the floats that go out = register a */
    LINE_VIEW,          /* of tensors: out = what view a holds */
    LINE_PUT,           /* of tensors: what view 0 is to hold = register a */
    LINE_FIRE,          /* the spikes that go out = truth of register a */
    LINE_FIRE_GREATER,  /* = a > b */
    LINE_FIRE_AT_LEAST, /* = a >= b */
    COMPUTING(NAMED)    /* every line from LINE_ADD on */
    LINE_OPS
};
#undef NAMED
