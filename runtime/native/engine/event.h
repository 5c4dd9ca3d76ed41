/* The program of one network as the event engine runs it: a list of operations over one arena of scratch memory.
 *
 * Python makes the program from the artifact's card (runtime/engines/event_program/program.py). Nothing of it is believed here: whoever
 * opens a program has plif_program_check go through it first, once, and plif_call_check through each set of arrays that is
 * bound to it. The kernels then check nothing. Neither may be changed afterwards.
 *
 * These structures are mirrored field by field in runtime/native/__init__.py.
 *
 * Layouts. A map of C channels has lanes(C) floats per pixel: 64 for each whole 64 channels, and 16, 32 or 64 for the rest.
 *   floats   [H][W][lanes(C)]                  lanes past C may hold anything
 *   spikes   [H][W][ceil(C / 64)] 64-bit words, bit c % 64 of word c / 64 is channel c; bits past C are 0
 *   states   like floats, but in the caller's memory, which NumPy sees as [C, H, W] with strides: membranes, and whatever
 *            else a neuron keeps
 *   weights  float: [block of 64 outputs][ky][kx][input][16, 32 or 64 outputs]
 *            int16: [block of 128 outputs][ky][kx][input][32, 64 or 128 outputs]; a last block of 80 or 96 lanes as two
 *            pairs: int8 [block of 128 outputs][ky][kx][input][each 64 outputs][32]{output k + 128, output 32 + k} (rows.h)
 *            NIBBLES: uint16 [block of 128 outputs][ky][kx][input][32]{four of 4 bits, plus 8, of outputs k + 32 n} (rows.h)
 *            bytes: [16 outputs][ky][kx][64 inputs][4 inputs at a time: 16][16 outputs][4 inputs], for dense8.h
 *   active   the active lists that a convolution reads: for each row of the input map and each segment of 128 channels, the
 *            nonzero inputs in the order of pixels (see active.h) */
#pragma once

#include "machine.h"

#if defined(__x86_64__) && defined(__linux__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define PLIF_HAS_AMX 1
#endif

enum { BLOCK = 64, SEGMENT = 128, WIDE_BLOCK = 128, OWED_FLOATS = 64, MOST_SIDE = 65535, NIBBLES = 4 };

/* BEFORE: a state as a value, as it was before the step; it comes before the neuron that changes it. SPACE: room for a
 * map, in which TENSOR, REDUCE and PRODUCT write, see tensor.h. SETTLE: of plif_settle alone, no program has it. */
#define OPERATIONS(X) \
    X(ACTIVE), X(CONV), X(NEURON), X(SPIKE_POOL), X(MAX_POOL), X(AVG_POOL), X(AFFINE), X(ADD), X(UNPACK), X(LOAD), \
        X(FLATTEN), X(VOTE), X(OUTPUT), X(RATE), X(BEFORE), X(AFTER), X(SPACE), X(TENSOR), X(REDUCE), X(PRODUCT)
#define NAMED(name) OP_##name
enum op_kind { OPERATIONS(NAMED), OP_SETTLE };
#undef NAMED
enum value_kind { FROM_X, FROM_FLOATS, FROM_SPIKES };
/* How a convolution sums. EXACT: whole numbers in floats, below 2^24. INT16, INT32: int8 weights, kept as `pairs`
 * says; which of the two can hold every possible sum is proven when the artifact is opened. All but FLOAT: current
 * = sum * scale + bias. */
enum sum_kind { SUM_FLOAT, SUM_EXACT, SUM_INT16, SUM_INT32 };
enum charge_kind { CHARGE_IF, CHARGE_FOLDED, CHARGE_EXACT, CHARGE_NO_DECAY_INPUT, CHARGE_PROGRAM };

typedef struct {
    int32_t kind, from;             /* op_kind; what `in` is */
    int32_t ih, iw, ic, oh, ow, oc; /* the maps that go in and come out */
    int32_t kh, kw, stride, pad;    /* of convolutions and pools */
    int32_t charge, soft, state;    /* of neurons; state: which membrane, -1 for none */
    int32_t items, parallel;        /* independent pieces of work, and whether they are worth sharing out */
    int32_t tile_h, tile_w;         /* output pixels of one piece of a convolution */
    int32_t voters;
    float v_threshold, v_reset;
    float dense_from;    /* of active lists: from this share of spikes on a row is dense (see active.h) */
    float area;          /* of active lists of averages of spikes: value * area is a whole count; 0: no averages */
    int32_t sums, block; /* sum_kind; outputs of one piece of a convolution, BLOCK or WIDE_BLOCK */
    int32_t pairs,
        eager; /* int8 weights are kept as int16 (0), as pairs of bytes (1) or as NIBBLES; no step may wait */
    int32_t lines, once, registers, gives; /* of CHARGE_PROGRAM: see machine.h; FROM_SPIKES or FROM_FLOATS */
    int32_t stride_y, pad_y;               /* of convolutions and pools, where `stride` and `pad` are those of x */
    int32_t dilation, dilation_y;          /* places between the taps of a kernel */
    int64_t in, in2, out;                  /* byte offsets into the arena */
    int64_t index, values, dense;          /* the other parts of active lists (the entries are at `in` or `out`) */
    int64_t row_capacity;                  /* entries that the list of one row and segment can hold */
    int64_t dense_row;                     /* bytes of one row of `dense` where it holds bytes (see active.h), else 0 */
    const void *weight;                    /* packed. Affine: scale. Of tensors: a Tensor, see tensor.h */
    const int8_t *weight_bytes;            /* the same as bytes, or NULL */
    const float *bias, *scale;             /* lanes(oc) floats. Affine: bias is the shift */
    const float *alpha; /* per lane: alpha, or 1 - alpha when folded. Programs, tensors: all their parameters */
    const Line *code;   /* [lines] */
} Op;

/* Memory that the operations may point into. Of weights, biases and the like a file may have one buffer or many. */
typedef struct {
    const void *at;
    int64_t bytes;
} Buffer;

typedef struct {
    const Op *ops;
    int32_t count, states;
    int32_t path, flush; /* which kernels, PATH_*; whether subnormals become zero */
    /* what the program may touch: */
    int64_t acc_floats, arena_bytes; /* the sums and the arena of one thread, at multiples of 64 bytes */
    int64_t x_floats, y_floats;      /* of one row of the batch at one time-step */
    const int64_t *v_floats;         /* [states], of one row of the batch, lanes counted in */
    const Buffer *buffers;           /* [buffer_count] */
    int64_t buffer_count;
} Program;

/* One call: `rows` rows of the batch, `steps` time-steps of each. Strides in floats. */
typedef struct {
    const float *x;
    float *y;
    const float *const *v; /* [states] */
    float *const *v_next;
    float *const *rates;     /* [states] or NULL */
    uint8_t *const *owed;    /* [states] or NULL: see plif_settle */
    const int64_t *v_stride; /* of a row, per state */
    int64_t x_row, x_step, y_row, y_step;
    int32_t rows, steps;
} Call;

/* How many floats the arrays of a call have. */
typedef struct {
    int64_t x, y;
    const int64_t *v, *v_next, *rates; /* [states]; rates NULL where the call has none */
} CallSizes;

enum { PLIF_FINE, PLIF_WRONG_FIELD, PLIF_WRONG_MEMORY, PLIF_WRONG_SOURCE };

/* Whether a program may run: PLIF_FINE, or why not, and one line about it in `text`, which has room for `room` bytes.
 *
 *   PLIF_WRONG_FIELD   a number is out of range, or does not follow from the others
 *   PLIF_WRONG_MEMORY  it needs more than its buffers, its arena, its state or y have, or writes where something was written
 *   PLIF_WRONG_SOURCE  it reads what no operation before it wrote, or as another map than it was written
 *
 * A program that passes touches nothing but what Program lists, whatever its weights, inputs and membranes are: every count
 * and offset is checked against the sizes there. `ops`, `v_floats` and `buffers` have as many elements as the program says. */
int plif_program_check(const Program *program, char *text, int64_t room);

/* The same for the arrays of a call of a program that has passed. `threads` arenas and sums come on top, see
 * Program. */
int plif_call_check(const Program *program, const Call *call, const CallSizes *sizes, char *text, int64_t room);

enum { PATH_SCALAR, PATH_AVX2, PATH_AVX512, PATH_NEON, PATH_AMX };
int plif_paths(int amx); /* which of them this build and this processor have: bit PATH_* is set */

/* Before the arrays of `rows` rows are allocated: whether they may take as much as they need, membranes, x and y of
 * each row, an arena and its sums, and `more` bytes. The limit is a promise of docs/limits.md. */
int plif_room_check(const Program *program, int64_t rows, int64_t more, char *text, int64_t room);

/* One call, by the threads of a pool (NULL: in the calling thread). arenas, accs: for each thread the memory that
 * Program names, at multiples of 64 bytes, zeros at first; a call of one row takes the first arena only. */
typedef struct Pool Pool;
void plif_run(const Program *program, Pool *pool, const Call *call, char **arenas, float **accs);

/* A call with `owed` leaves out steps of neurons that get no input and cannot fire, and keeps there what it left
 * out: for each OWED_FLOATS membranes a byte (owed_bytes of all rows of a state together), zero at first. Its
 * membranes are updated in place and their rows follow each other. Between two such calls plif_settle takes the
 * steps that were left out; before it, nobody may read or change the membranes. Who overwrites all membranes of all
 * rows may instead set the bytes to zero. */
void plif_settle(const Program *program, const Call *call);
Pool *plif_pool_new(int threads); /* NULL where there is no memory */
void plif_pool_free(Pool *pool);

/* The first of n numbers that is not finite; n where all are. A NaN in a frame would silence neurons for ever: h >= v_threshold
 * is false, and h stays. */
int64_t plif_first_not_finite(const float *x, int64_t n);

/* Has this thread make subnormals zero (or keep them), and gives its control register as it was, for plif_unflush: what a
 * run of another engine begins and ends with, so that a program's own arithmetic stays as it is. */
uint64_t plif_flush(int on);
void plif_unflush(uint64_t before);

/* What an operation works on: one row of the batch at one time-step. */
typedef struct {
    const float *x;
    float *y;
    const float *const *v;
    float *const *v_next;
    float *const *rates;
    uint8_t *const *owed;
    const int64_t *v_stride;
    int32_t row, rate_index;
    char *arena;
    float *acc; /* scratch of this thread */
    int tiles;  /* rows of bytes are multiplied in AMX tiles */
} Context;

typedef void run_item(const Op *op, const Context *ctx, int item);
run_item plif_item_scalar, plif_item_avx2, plif_item_avx512, plif_item_neon;

static inline int between(int64_t low, int64_t n, int64_t high) { return low <= n && n <= high; }
static inline int64_t up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

static inline int lanes_of(int channels) {
    int rest = channels % BLOCK;
    return channels - rest + (rest == 0 ? 0 : rest <= 16 ? 16 : rest <= 32 ? 32 : 64);
}
/* Floats of the largest tile of sums of a convolution; the registers of a program lie behind it, or, where there is no
 * convolution, in its place. */
static inline int64_t tile_floats(const Op *op) {
    if (op->kind != OP_CONV) return 0;
    return (int64_t)op->tile_h * (op->dense_row ? (op->tile_w + 15) / 16 * 16 : op->tile_w) * op->block;
}
/* Of one weight of a convolution in memory. */
static inline int weight_bits(const Op *op) {
    return op->pairs == NIBBLES ? 4 : op->pairs ? 8 : op->sums >= SUM_INT16 ? 16 : 32;
}
static inline int64_t owed_bytes(int64_t floats) { return (floats + OWED_FLOATS - 1) / OWED_FLOATS; }
static inline int blocks_of(int channels) { return (channels + BLOCK - 1) / BLOCK; }
static inline int block_lanes(int channels, int block) {
    return block < channels / BLOCK ? BLOCK : lanes_of(channels) - block * BLOCK;
}
