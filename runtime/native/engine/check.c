/* Whether a program may run: every field against the sizes of the buffers that it came with. event.h has the
 * contract. The kernels check nothing, so what is not refused here must be safe for every input:
 *
 *   sizes     each number lies in a range in which no product of the kernels overflows, and shapes follow from each other
 *   memory    what an operation writes lies in the arena behind all that was written before it, so nothing is overwritten
 *   sources   what it reads was written before it, as the same kind of value with the same shape. Active lists are then
 *             lists of this map, and their entries are places in this map
 *   pointers  weights, and the rest that it points to, lie inside one of the buffers, at a multiple of 64 bytes */
#include "check.h"

enum { MOST_OPERATIONS = 10000, MOST_CHANNELS = 1 << 24, MOST_NUMBERS = 1 << 30 };
enum { MOST_TILE_HEIGHT = 256, MOST_TILE_WIDTH = 64 }; /* `touched` of conv.h: a word each row, a bit each pixel */
enum { LIST_SLACK = 64 };                              /* entries that list_bits may write behind a list */

static int64_t numbers_of(int channels, int h, int w) { return (int64_t)lanes_of(channels) * h * w; }

static int check_map(const Check *c, const char *which, int channels, int h, int w) {
    REQUIRE(between(1, channels, MOST_CHANNELS) && between(1, h, MOST_SIDE) && between(1, w, MOST_SIDE) &&
                numbers_of(channels, h, w) <= MOST_NUMBERS,
            PLIF_WRONG_FIELD,
            "its map %s is [%d, %d, %d]; expected at most %d channels, sides of at most %d and %d numbers", which,
            channels, h, w, MOST_CHANNELS, MOST_SIDE, MOST_NUMBERS);
    return 0;
}

static int same_maps(const Check *c, const Op *op) {
    REQUIRE(op->ic == op->oc && op->ih == op->oh && op->iw == op->ow, PLIF_WRONG_FIELD,
            "reads [%d, %d, %d] and gives [%d, %d, %d]; expected the same map", op->ic, op->ih, op->iw, op->oc, op->oh,
            op->ow);
    return 0;
}

static int check_items(const Check *c, const Op *op, int64_t expected) {
    REQUIRE(op->items == expected, PLIF_WRONG_FIELD, "has %d pieces of work; expected %lld", op->items,
            (long long)expected);
    return 0;
}

/* --- memory --- */

/* `bytes` at `at` become written. */
static int take(Check *c, const char *what, int64_t at, int64_t bytes) {
    const int64_t end = c->program->arena_bytes;
    REQUIRE(at >= c->written && at % 64 == 0 && at <= end - bytes, PLIF_WRONG_MEMORY,
            "writes %s, %lld bytes, at %lld; expected a multiple of 64 from %lld on, in an arena of %lld bytes", what,
            (long long)bytes, (long long)at, (long long)c->written, (long long)end);
    c->written = at + bytes;
    return 0;
}

static int take_floats(Check *c, const Op *op) {
    return take(c, "numbers", op->out, numbers_of(op->oc, op->oh, op->ow) * 4);
}
static int take_spikes(Check *c, const Op *op) {
    return take(c, "spikes", op->out, (int64_t)op->oh * op->ow * blocks_of(op->oc) * 8);
}

/* Whether [at, at + bytes) lies in one of the buffers. */
int plif_check_pointer(const Check *c, const char *what, const void *at, int64_t bytes) {
    const uintptr_t from = (uintptr_t)at;
    int found = 0;
    for (int i = 0; i < c->program->buffer_count && !found; i++) {
        const uintptr_t start = (uintptr_t)c->program->buffers[i].at;
        const int64_t size = c->program->buffers[i].bytes;
        found = from >= start && size >= bytes && from - start <= (uintptr_t)(size - bytes);
    }
    REQUIRE(at && found, PLIF_WRONG_MEMORY, "%s takes %lld bytes, which are in none of its buffers", what,
            (long long)bytes);
    REQUIRE(from % 64 == 0, PLIF_WRONG_MEMORY, "%s lies at an address that is no multiple of 64", what);
    return 0;
}

/* --- sources --- */

int plif_check_result(const Op *op) {
    switch (op->kind) {
    case OP_ACTIVE: return LISTS;
    case OP_CONV:
        if (op->state < 0) return FLOATS;
        /* fallthrough */
    case OP_NEURON: return op->charge == CHARGE_PROGRAM && op->gives == FROM_FLOATS ? FLOATS : SPIKES;
    case OP_SPIKE_POOL: return SPIKES;
    case OP_VOTE: return op->out < 0 ? NOTHING : FLOATS;
    case OP_OUTPUT:
    case OP_TENSOR:
    case OP_REDUCE:
    case OP_PRODUCT:
    case OP_RATE: return NOTHING;
    default: return FLOATS;
    }
}

/* The operation before this one that wrote such a value at `at`; NULL where there is none. */
static const Op *maker_of(const Check *c, int64_t at, int result) {
    for (int i = c->at - 1; i >= 0; i--)
        if (c->program->ops[i].out == at && plif_check_result(&c->program->ops[i]) == result)
            return &c->program->ops[i];
    return 0;
}

static int check_source(const Check *c, const Op *op, int64_t at, int result) {
    const Op *maker = maker_of(c, at, result);
    REQUIRE(maker, PLIF_WRONG_SOURCE, "reads %s at %lld, where no operation before it wrote any",
            result == SPIKES ? "spikes" : "numbers", (long long)at);
    REQUIRE(maker->oc == op->ic && maker->oh == op->ih && maker->ow == op->iw, PLIF_WRONG_SOURCE,
            "reads a map [%d, %d, %d], and it was written as [%d, %d, %d]", op->ic, op->ih, op->iw, maker->oc,
            maker->oh, maker->ow);
    return 0;
}

/* The caller's x, floats or spikes, as `from` says. */
static int check_input(const Check *c, const Op *op) {
    if (op->from != FROM_X) return check_source(c, op, op->in, op->from == FROM_SPIKES ? SPIKES : FLOATS);
    REQUIRE((int64_t)op->ic * op->ih * op->iw <= c->program->x_floats, PLIF_WRONG_SOURCE,
            "reads [%d, %d, %d] numbers of x, which has %lld", op->ic, op->ih, op->iw, (long long)c->program->x_floats);
    return 0;
}

static int check_from(const Check *c, const Op *op, int from) {
    REQUIRE(op->from == from, PLIF_WRONG_FIELD, "reads a value of kind %d; expected kind %d", op->from, from);
    return check_input(c, op);
}

/* --- operations --- */

static int check_active(Check *c, const Op *op) {
    const int64_t segments = (op->ic + SEGMENT - 1) / SEGMENT, rows = op->ih * segments, pixel = up(op->ic, 64);
    const int64_t capacity = (int64_t)op->iw * (op->ic < SEGMENT ? op->ic : SEGMENT) + LIST_SLACK;
    const int spikes = op->from == FROM_SPIKES;
    TRY(check_input(c, op));
    TRY(same_maps(c, op));
    TRY(check_items(c, op, rows));
    REQUIRE(between(1, op->stride, MOST_SIDE) && between(0, op->pad, MOST_SIDE), PLIF_WRONG_FIELD,
            "stride %d, padding %d", op->stride, op->pad);
    REQUIRE(op->row_capacity == capacity, PLIF_WRONG_FIELD, "its lists hold %lld entries a row; expected %lld",
            (long long)op->row_capacity, (long long)capacity);
    REQUIRE((op->values < 0) == spikes, PLIF_WRONG_FIELD, "lists of %s",
            spikes ? "spikes have values" : "numbers have no values");
    REQUIRE(op->dense < 0 || spikes, PLIF_WRONG_FIELD, "writes rows of numbers out; only rows of spikes can be");
    REQUIRE(op->dense_row == 0 || (op->dense >= 0 && op->dense_row % 64 == 0 &&
                                   between((op->pad + op->iw) * pixel, op->dense_row, (int64_t)MOST_NUMBERS * 64)),
            PLIF_WRONG_FIELD, "writes rows of %lld bytes; expected a multiple of 64, from %lld on",
            (long long)op->dense_row, (long long)((op->pad + op->iw) * pixel));
    TRY(take(c, "the index of its lists", op->index, rows * (3 * (op->iw + 1) + 1) * 4));
    if (!spikes) TRY(take(c, "the values of its lists", op->values, rows * capacity * 4));
    if (op->dense >= 0)
        TRY(take(c, "whole rows", op->dense, op->dense_row ? op->ih * op->dense_row : rows * op->iw * SEGMENT * 4));
    return take(c, "its lists", op->out, rows * capacity * 2);
}

static int check_state(const Check *c, const Op *op) {
    REQUIRE(between(0, op->state, c->program->states - 1), PLIF_WRONG_FIELD, "state %d of %d", op->state,
            c->program->states);
    return 0;
}

static int check_membranes(const Check *c, const Op *op) {
    TRY(check_state(c, op));
    REQUIRE(numbers_of(op->oc, op->oh, op->ow) <= c->program->v_floats[op->state], PLIF_WRONG_MEMORY,
            "its membranes are %lld numbers, those of state %d %lld", (long long)numbers_of(op->oc, op->oh, op->ow),
            op->state, (long long)c->program->v_floats[op->state]);
    return 0;
}

/* A neuron, alone or behind a convolution, up to what it writes. */
static int check_neuron(Check *c, const Op *op) {
    TRY(check_membranes(c, op));
    if (op->charge == CHARGE_PROGRAM) {
        TRY(plif_check_lines(c, op));
        return op->gives == FROM_SPIKES ? take_spikes(c, op) : take_floats(c, op);
    }
    REQUIRE(between(CHARGE_IF, op->charge, CHARGE_NO_DECAY_INPUT), PLIF_WRONG_FIELD, "charge %d", op->charge);
    TRY(plif_check_pointer(c, "alpha", op->alpha, lanes_of(op->oc) * 4));
    return take_spikes(c, op);
}

/* Convolutions and pools, along one axis: the size of the output follows from that of the input. */
static int check_axis(const Check *c, char axis, int kernel, int stride, int pad, int dilation, int in, int out) {
    REQUIRE(between(1, kernel, MOST_SIDE) && between(1, stride, MOST_SIDE) && between(0, pad, MOST_SIDE) &&
                between(1, dilation, MOST_SIDE),
            PLIF_WRONG_FIELD, "kernel %d, stride %d, padding %d, dilation %d along %c", kernel, stride, pad, dilation,
            axis);
    const int64_t left = in + 2 * (int64_t)pad - (int64_t)(kernel - 1) * dilation - 1;
    REQUIRE(left >= 0 && out == left / stride + 1, PLIF_WRONG_FIELD,
            "kernel %d, stride %d, padding %d and dilation %d make no %d of %d along %c", kernel, stride, pad, dilation,
            out, in, axis);
    return 0;
}

static int check_window(const Check *c, const Op *op) {
    TRY(check_axis(c, 'y', op->kh, op->stride_y, op->pad_y, op->dilation_y, op->ih, op->oh));
    return check_axis(c, 'x', op->kw, op->stride, op->pad, op->dilation, op->iw, op->ow);
}

/* The active lists that a convolution reads are those of one operation, made for its stride. */
static int check_lists(const Check *c, const Op *op) {
    const Op *a = maker_of(c, op->in, LISTS);
    REQUIRE(a && a->index == op->index && a->values == op->values && a->dense == op->dense &&
                a->dense_row == op->dense_row && a->row_capacity == op->row_capacity && a->from == op->from,
            PLIF_WRONG_SOURCE, "reads active lists at %lld that no operation before it wrote", (long long)op->in);
    REQUIRE(a->ic == op->ic && a->ih == op->ih && a->iw == op->iw && a->stride == op->stride, PLIF_WRONG_SOURCE,
            "reads lists of a map [%d, %d, %d] with stride %d, and they were made of [%d, %d, %d] with stride %d",
            op->ic, op->ih, op->iw, op->stride, a->ic, a->ih, a->iw, a->stride);
    if (!op->dense_row) return 0;
    const int64_t reads = (op->iw + 2 * (int64_t)op->pad + op->kw + 16 * (int64_t)op->stride) * up(op->ic, 64);
    REQUIRE(op->dilation == 1, PLIF_WRONG_FIELD, "reads rows of bytes with dilation %d", op->dilation);
    REQUIRE(a->pad == op->pad && op->dense_row >= reads, PLIF_WRONG_SOURCE,
            "reads rows of %lld bytes with padding %d, and they were made of %lld with padding %d", (long long)reads,
            op->pad, (long long)op->dense_row, a->pad);
    return 0;
}

static int check_conv(Check *c, const Op *op) {
    TRY(check_window(c, op));
    TRY(check_lists(c, op));
    REQUIRE(between(SUM_FLOAT, op->sums, SUM_INT32) && (op->block == BLOCK || op->block == WIDE_BLOCK),
            PLIF_WRONG_FIELD, "sums %d, blocks of %d outputs", op->sums, op->block);
    const int ints = op->sums >= SUM_INT16, lanes = lanes_of(op->oc);
    REQUIRE(ints ? op->from == FROM_SPIKES : op->dense_row == 0, PLIF_WRONG_FIELD,
            "sums of kind %d over inputs of kind %d, with rows of %lld bytes", op->sums, op->from,
            (long long)op->dense_row);
    REQUIRE(between(1, op->tile_h, MOST_TILE_HEIGHT) && between(1, op->tile_w, MOST_TILE_WIDTH), PLIF_WRONG_FIELD,
            "tiles of %d x %d; expected at most %d x %d", op->tile_h, op->tile_w, MOST_TILE_HEIGHT, MOST_TILE_WIDTH);
    REQUIRE(tile_floats(op) <= c->program->acc_floats, PLIF_WRONG_MEMORY, "a tile of %lld sums, with room for %lld",
            (long long)tile_floats(op), (long long)c->program->acc_floats);
    const int64_t down = (op->oh + op->tile_h - 1) / op->tile_h,
                  tiles = down * ((op->ow + op->tile_w - 1) / op->tile_w);
    TRY(check_items(c, op, tiles * ((op->oc + op->block - 1) / op->block)));

    const int64_t inputs = (int64_t)op->kh * op->kw * op->ic;
    REQUIRE(inputs <= INT32_MAX, PLIF_WRONG_FIELD, "an output with %lld inputs", (long long)inputs);
    REQUIRE(!op->pairs || (ints && lanes % BLOCK == 0), PLIF_WRONG_FIELD,
            "pairs of bytes, with %d lanes and sums of kind %d", lanes, op->sums);
    REQUIRE(op->pairs != NIBBLES || (lanes % WIDE_BLOCK == 0 && op->block == WIDE_BLOCK), PLIF_WRONG_FIELD,
            "weights of 4 bits, with %d lanes in blocks of %d", lanes, op->block);
    const int64_t bits = inputs * up(lanes, ints ? 32 : 16) * weight_bits(op);
    TRY(plif_check_pointer(c, "weight", op->weight, bits / 8));
    const int64_t as_bytes = (int64_t)op->kh * op->kw * up(op->ic, 64) * up(lanes, 32);
    if (op->dense_row) TRY(plif_check_pointer(c, "weight_bytes", op->weight_bytes, as_bytes));
    TRY(plif_check_pointer(c, "bias", op->bias, lanes * 4));
    if (op->sums != SUM_FLOAT) TRY(plif_check_pointer(c, "scale", op->scale, lanes * 4));
    if (op->state < 0) return take_floats(c, op);
    return check_neuron(c, op);
}

static int check_pool(Check *c, const Op *op, int from) {
    TRY(check_from(c, op, from));
    TRY(check_window(c, op));
    REQUIRE(op->ic == op->oc, PLIF_WRONG_FIELD, "a pool from %d channels to %d", op->ic, op->oc);
    return from == FROM_SPIKES ? take_spikes(c, op) : take_floats(c, op);
}

/* The value of one pixel that the caller, or the operation behind it, gets as [classes]. */
static int check_vector(const Check *c, const Op *op, int64_t expected) {
    REQUIRE(op->from != FROM_X, PLIF_WRONG_FIELD, "reads x");
    REQUIRE(op->oh == 1 && op->ow == 1 && op->ih == 1 && op->iw == 1 && op->ic == expected, PLIF_WRONG_FIELD,
            "reads [%d, %d, %d] and gives [%d, %d, %d]; expected %lld channels of one pixel", op->ic, op->ih, op->iw,
            op->oc, op->oh, op->ow, (long long)expected);
    TRY(check_input(c, op));
    REQUIRE(op->out >= 0 || op->oc <= c->program->y_floats, PLIF_WRONG_MEMORY, "writes %d numbers to y, which has %lld",
            op->oc, (long long)c->program->y_floats);
    return 0;
}

static int check_operation(Check *c, const Op *op) {
    REQUIRE(between(OP_ACTIVE, op->kind, OP_PRODUCT) && between(FROM_X, op->from, FROM_SPIKES), PLIF_WRONG_FIELD,
            "kind %d, reads a value of kind %d", op->kind, op->from);
    REQUIRE(op->pairs == 0 || ((op->pairs == 1 || op->pairs == NIBBLES) && op->kind == OP_CONV), PLIF_WRONG_FIELD,
            "pairs %d", op->pairs);
    const int is_neuron = op->kind == OP_NEURON || (op->kind == OP_CONV && op->state >= 0);
    const int program = op->kind == OP_TENSOR || (is_neuron && op->charge == CHARGE_PROGRAM);
    REQUIRE(between(0, op->eager, 1) && (program || !(op->lines | op->once | op->registers | op->gives)),
            PLIF_WRONG_FIELD, "eager %d, %d lines, %d of them once, %d registers, gives kind %d", op->eager, op->lines,
            op->once, op->registers, op->gives);
    TRY(check_map(c, "in", op->ic, op->ih, op->iw));
    if (op->kind == OP_RATE) {
        REQUIRE(op->from != FROM_X, PLIF_WRONG_FIELD, "reads x");
        TRY(check_input(c, op));
        TRY(check_state(c, op));
        return check_items(c, op, 1);
    }
    TRY(check_map(c, "out", op->oc, op->oh, op->ow));
    if (op->kind == OP_ACTIVE) return check_active(c, op);
    if (op->kind == OP_CONV) return check_conv(c, op);
    if (between(OP_TENSOR, op->kind, OP_PRODUCT)) return plif_check_tensor(c, op);
    const int whole = op->kind == OP_FLATTEN || op->kind == OP_VOTE || op->kind == OP_OUTPUT || op->kind == OP_SPACE;
    TRY(check_items(c, op, whole ? 1 : op->oh));
    switch (op->kind) {
    case OP_NEURON:
        TRY(check_from(c, op, FROM_FLOATS));
        TRY(same_maps(c, op));
        return check_neuron(c, op);
    case OP_BEFORE:
    case OP_AFTER: TRY(check_membranes(c, op)); break;
    case OP_SPIKE_POOL: return check_pool(c, op, FROM_SPIKES);
    case OP_MAX_POOL:
    case OP_AVG_POOL: return check_pool(c, op, FROM_FLOATS);
    case OP_AFFINE:
        TRY(plif_check_pointer(c, "scale", op->weight, lanes_of(op->oc) * 4));
        TRY(plif_check_pointer(c, "shift", op->bias, lanes_of(op->oc) * 4));
        TRY(check_from(c, op, FROM_FLOATS));
        break;
    case OP_ADD:
        TRY(check_from(c, op, FROM_FLOATS));
        TRY(check_source(c, op, op->in2, FLOATS));
        break;
    case OP_SPACE: return take_floats(c, op);
    case OP_UNPACK: TRY(check_from(c, op, FROM_SPIKES)); break;
    case OP_LOAD: TRY(check_from(c, op, FROM_X)); break;
    case OP_FLATTEN:
        TRY(check_from(c, op, FROM_FLOATS));
        REQUIRE((int64_t)op->ic * op->ih * op->iw == op->oc && op->oh == 1 && op->ow == 1, PLIF_WRONG_FIELD,
                "[%d, %d, %d] to [%d, %d, %d]", op->ic, op->ih, op->iw, op->oc, op->oh, op->ow);
        return take_floats(c, op);
    case OP_VOTE:
        REQUIRE(between(1, op->voters, MOST_CHANNELS), PLIF_WRONG_FIELD, "%d voters", op->voters);
        TRY(check_vector(c, op, (int64_t)op->oc * op->voters));
        return op->out < 0 ? 0 : take_floats(c, op);
    default: REQUIRE(op->out < 0, PLIF_WRONG_FIELD, "writes to the arena"); return check_vector(c, op, op->oc);
    }
    TRY(same_maps(c, op));
    return take_floats(c, op);
}

COLD int plif_program_check(const Program *program, char *text, int64_t room) {
    Check check = {program, -1, 0, text, room}, *c = &check;
    REQUIRE(between(1, program->count, MOST_OPERATIONS) && between(0, program->states, MOST_OPERATIONS),
            PLIF_WRONG_FIELD, "%d operations and %d states; expected at most %d", program->count, program->states,
            MOST_OPERATIONS);
    REQUIRE(between(0, program->path, 30) && plif_paths(program->path == PATH_AMX) >> program->path & 1,
            PLIF_WRONG_FIELD, "path %d, which this processor does not have", program->path);
    REQUIRE(program->arena_bytes >= 0 && program->acc_floats >= 0 && program->x_floats >= 0 && program->y_floats >= 0,
            PLIF_WRONG_FIELD, "a size below zero");
    while (++check.at < program->count) TRY(check_operation(c, &program->ops[check.at]));
    return 0;
}
