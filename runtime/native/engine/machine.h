/* Programs of neurons: a neuron's equation as a short list of lines, for any neuron that has no kernel of its own
 * (runtime/model/neurons.py has the equations, runtime/engines/event/neurons.py makes lines of them).
 *
 * A register is MACHINE_FLOATS floats, of as many neurons that lie together: pixels, each with some of its channels. A line does
 * one operation on whole registers, which stay in the first-level cache. Its result is that of NumPy in float32, rounded after
 * each operation; truth values are all bits or none.
 *
 * The first `Op.once` lines make what is the same for all blocks of a piece of work. Lines are checked by check_lines.c.
 */
#ifndef PLIF_MACHINE_H
#define PLIF_MACHINE_H

#include <stdint.h>

enum { MACHINE_FLOATS = 512, MOST_LINES = 4096, MOST_REGISTERS = 256 };

typedef struct {
    int32_t op, out, a, b, c, d; /* line_op; registers, or what the comment says; 0 where there is none */
    int32_t into; /* the state, from 1 on, in which register `out` lies after this line; 0: its own memory */
} Line;

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
    LINE_ADD,           /* out = a + b; from here on lines compute */
    LINE_SUB,
    LINE_MUL,
    LINE_DIV,
    LINE_MIN,
    LINE_MAX,
    LINE_NEG, /* out = -a */
    LINE_ABS,
    LINE_ROUND, /* half to even */
    LINE_FLOOR,
    LINE_CEIL,
    LINE_COPY,
    LINE_EXP, /* functions.h */
    LINE_TANH,
    LINE_SQRT,
    LINE_LOG,
    LINE_GREATER, /* out = a > b */
    LINE_AT_LEAST,
    LINE_EQUAL,
    LINE_NOT,
    LINE_AND,
    LINE_OR,
    LINE_CAST,  /* out = a ? 1 : 0 */
    LINE_WHERE, /* out = a ? b : c */
    /* Two operations in one, each rounded: a register less to write and to read. */
    LINE_ADD_ADD,  /* out = a + b + c */
    LINE_ADD_SUB,  /* out = a + b - c */
    LINE_ADD_FROM, /* out = c - (a + b) */
    LINE_ADD_MUL,  /* out = (a + b) c */
    LINE_SUB_ADD,
    LINE_SUB_SUB,
    LINE_SUB_FROM,
    LINE_SUB_MUL,
    LINE_MUL_ADD,
    LINE_MUL_SUB,
    LINE_MUL_FROM,
    LINE_MUL_MUL,
    LINE_CAST_GREATER, /* out = a > b ? 1 : 0 */
    LINE_CAST_AT_LEAST,
    LINE_WHERE_GREATER, /* out = a > b ? c : d */
    LINE_WHERE_AT_LEAST,
    LINE_OPS
};

#endif
