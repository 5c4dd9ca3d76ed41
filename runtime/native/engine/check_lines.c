/* Whether the lines of a neuron's program may run; machine.h has them, and check.c calls this. Registers are read only after
 * they were written, and what lines read and write elsewhere are states, parameters and maps as large as the neurons'. */
#include "check.h"
#include "tensor.h"

/* What the fields of a line are: registers that it reads, a register that it writes. */
enum { A = 1, B = 2, C = 4, D = 8, OUT = 16, MEMORY = 32 }; /* MEMORY: differs from block to block */

#define READS(name, reads, gives) [LINE_##name] = (1 << (reads)) - 1,
static const uint8_t read_by[LINE_OPS] = {COMPUTING(READS)};

static int uses(int op) {
    switch (op) {
    case LINE_NUMBER:
    case LINE_CHANNEL: return OUT;
    case LINE_EACH:
    case LINE_INPUT:
    case LINE_MAP:
    case LINE_VIEW:
    case LINE_STATE: return OUT | MEMORY;
    case LINE_KEEP: return B | MEMORY;
    case LINE_GIVE:
    case LINE_PUT:
    case LINE_FIRE: return A | MEMORY;
    case LINE_FIRE_GREATER:
    case LINE_FIRE_AT_LEAST: return A | B | MEMORY;
    default: return OUT | read_by[op];
    }
}

static int64_t map_floats(const Op *op) { return (int64_t)lanes_of(op->oc) * op->oh * op->ow; }

static int check_kept(const Check *c, const Op *op, int at, int64_t state) {
    REQUIRE(between(0, state, c->program->states - 1), PLIF_WRONG_FIELD, "line %d: state %lld of %d", at,
            (long long)state, c->program->states);
    REQUIRE(map_floats(op) <= c->program->v_floats[state], PLIF_WRONG_MEMORY,
            "line %d: its neurons are %lld numbers, those of state %lld %lld", at, (long long)map_floats(op),
            (long long)state, (long long)c->program->v_floats[state]);
    return 0;
}

/* Of tensors; their views are checked by check_tensor.c. */
static int check_view(const Check *c, const Op *op, int at, const Line *line) {
    const int computes = line->op >= LINE_ADD && !line->into, views = (int)((const Tensor *)op->weight)->views;
    REQUIRE(computes || line->op == LINE_NUMBER || line->op == LINE_PUT || line->op == LINE_VIEW, PLIF_WRONG_FIELD,
            "line %d is of kind %d, which tensors have not", at, line->op);
    REQUIRE(line->op != LINE_VIEW || between(1, line->a, views - 1), PLIF_WRONG_FIELD, "line %d: view %d of %d", at,
            line->a, views);
    return 0;
}

/* A line says which operation makes what it reads, so that nobody has to look for it. */
static int check_map_of(const Check *c, const Op *op, int at, const Line *line) {
    REQUIRE(between(0, line->b, c->at - 1), PLIF_WRONG_SOURCE, "line %d reads a map of operation %d", at, line->b);
    const Op *maker = &c->program->ops[line->b];
    REQUIRE(plif_check_result(maker) == FLOATS && maker->out == (int64_t)64 * line->a && maker->oc == op->oc &&
                maker->oh == op->oh && maker->ow == op->ow,
            PLIF_WRONG_SOURCE, "line %d reads a map [%d, %d, %d] at %lld, which operation %d does not make", at, op->oc,
            op->oh, op->ow, (long long)64 * line->a, line->b);
    return 0;
}

/* What a line reads or writes beside registers. */
static int check_memory(const Check *c, const Op *op, int at, const Line *line, int64_t *parameters) {
    const int32_t a = line->a;
    if (op->kind == OP_TENSOR) return check_view(c, op, at, line);
    REQUIRE(line->op != LINE_VIEW && line->op != LINE_PUT, PLIF_WRONG_FIELD,
            "line %d is of kind %d, which neurons have not", at, line->op);
    if (line->into) TRY(check_kept(c, op, at, (int64_t)line->into - 1));
    switch (line->op) {
    case LINE_CHANNEL:
    case LINE_EACH:
        REQUIRE(a >= 0, PLIF_WRONG_FIELD, "line %d reads parameters at %d", at, a);
        const int64_t end = (int64_t)16 * a + (line->op == LINE_CHANNEL ? lanes_of(op->oc) : map_floats(op));
        if (end > *parameters) *parameters = end;
        return 0;
    case LINE_MAP: return check_map_of(c, op, at, line);
    case LINE_STATE:
    case LINE_KEEP: return check_kept(c, op, at, a);
    case LINE_GIVE:
    case LINE_FIRE:
    case LINE_FIRE_GREATER:
    case LINE_FIRE_AT_LEAST:
        REQUIRE((line->op == LINE_GIVE) == (op->gives == FROM_FLOATS), PLIF_WRONG_FIELD,
                "line %d gives %s, and it says kind %d", at, line->op == LINE_GIVE ? "numbers" : "spikes", op->gives);
        return 0;
    default: return 0;
    }
}

COLD int plif_check_lines(const Check *c, const Op *op) {
    uint8_t written[MOST_REGISTERS] = {0};
    int64_t parameters = 0; /* floats that lines read, which are looked for once */
    REQUIRE(between(1, op->lines, MOST_LINES) && between(0, op->once, op->lines) &&
                between(1, op->registers, MOST_REGISTERS) && between(FROM_FLOATS, op->gives, FROM_SPIKES),
            PLIF_WRONG_FIELD, "%d lines, %d of them once, %d registers, gives kind %d", op->lines, op->once,
            op->registers, op->gives);
    TRY(plif_check_pointer(c, "its lines", op->code, op->lines * (int64_t)sizeof(Line)));
    const int64_t needs = tile_floats(op) + (int64_t)op->registers * MACHINE_FLOATS;
    REQUIRE(needs <= c->program->acc_floats, PLIF_WRONG_MEMORY, "%lld sums and registers, with room for %lld",
            (long long)needs, (long long)c->program->acc_floats);
    for (int i = 0; i < op->lines; i++) {
        const Line *line = &op->code[i];
        REQUIRE(between(0, line->op, LINE_OPS - 1), PLIF_WRONG_FIELD, "line %d is of kind %d", i, line->op);
        const int use = uses(line->op);
        REQUIRE(!(use & MEMORY || line->into) || i >= op->once, PLIF_WRONG_FIELD,
                "line %d, of kind %d, cannot run only once", i, line->op);
        REQUIRE(line->into == 0 || line->op >= LINE_ADD, PLIF_WRONG_FIELD, "line %d cannot lie in a state", i);
        const int32_t reads[4] = {line->a, line->b, line->c, line->d};
        for (int k = 0; k < 4; k++) {
            const int is_read = use >> k & 1; /* from LINE_FIRE on the kernels look up where all four lie */
            REQUIRE((!is_read && line->op < LINE_FIRE) || between(0, reads[k], op->registers - 1), PLIF_WRONG_FIELD,
                    "line %d names register %d of %d", i, reads[k], op->registers);
            REQUIRE(!is_read || written[reads[k]], PLIF_WRONG_FIELD,
                    "line %d reads register %d, which nothing before it wrote", i, reads[k]);
        }
        TRY(check_memory(c, op, i, line, &parameters));
        if (!(use & OUT)) continue;
        REQUIRE(between(0, line->out, op->registers - 1), PLIF_WRONG_FIELD, "line %d writes register %d of %d", i,
                line->out, op->registers);
        written[line->out] = 1;
    }
    return parameters ? plif_check_pointer(c, "its parameters", op->alpha, parameters * 4) : 0;
}
