/* Whether an operation on views may run (tensor.h): what it reads lies in floats that were written before it, or in its
 * parameters; what it writes, in room that was made for it. Nothing else is known of a view, and nothing else needs to be. */
#include "check.h"
#include "tensor.h"

#include <stddef.h>

#define MOST_NUMBERS ((int64_t)1 << 30)
#define MOST_STRIDE ((int64_t)1 << 30)
#define MOST_PLACE ((int64_t)1 << 40)

static int check_sizes(const Check *c, const Op *op, const Tensor *t) {
    const int least_views = op->kind == OP_PRODUCT ? 3 : op->kind == OP_REDUCE ? 2 : 1;
    const int most_views = op->kind == OP_TENSOR ? MOST_VIEWS : least_views, sums = op->kind != OP_TENSOR;
    REQUIRE(between(1, t->axes, MOST_AXES) && between(sums, t->inner, sums * (t->axes - 1)) &&
                between(least_views, t->views, most_views) && between(REDUCE_SUM, t->how, REDUCE_MAX),
            PLIF_WRONG_FIELD, "%lld axes, %lld of them inner, %lld views, reduction %lld", (long long)t->axes,
            (long long)t->inner, (long long)t->views, (long long)t->how);
    int64_t numbers = 1;
    for (int i = 0; i < t->axes; i++) {
        REQUIRE(between(1, t->size[i], MOST_NUMBERS / numbers), PLIF_WRONG_FIELD,
                "%lld places on axis %d; expected at most %lld in all", (long long)t->size[i], i,
                (long long)MOST_NUMBERS);
        numbers *= t->size[i];
    }
    return 0;
}

/* Whether floats [low, high] of the arena are of that operation, and may be written if they are to be. */
static int is_of(const Check *c, int64_t maker, int64_t low, int64_t high, int written) {
    const Op *op = &c->program->ops[maker];
    const int64_t from = op->out / 4, floats = (int64_t)lanes_of(op->oc) * op->oh * op->ow;
    return plif_check_result(op) == FLOATS && op->out >= 0 && (!written || op->kind == OP_SPACE) && low >= from &&
           high < from + floats;
}

static int check_view(const Check *c, const Tensor *t, int which, int64_t *parameters) {
    const View *v = &t->view[which];
    REQUIRE(between(0, v->at, MOST_PLACE) && between(which ? -1 : 0, v->maker, c->at - 1), PLIF_WRONG_FIELD,
            "view %d begins at %lld, of operation %lld", which, (long long)v->at, (long long)v->maker);
    int64_t low = v->at, high = v->at;
    for (int i = 0; i < t->axes; i++) {
        const int64_t stride = v->stride[i];
        REQUIRE(between(-MOST_STRIDE, stride, MOST_STRIDE), PLIF_WRONG_FIELD, "view %d has a stride of %lld", which,
                (long long)stride);
        if (which == 0 && i >= t->axes - t->inner) continue; /* what is summed over is not written */
        *(stride < 0 ? &low : &high) += (t->size[i] - 1) * stride;
    }
    REQUIRE(low >= 0, PLIF_WRONG_MEMORY, "view %d goes from %lld to %lld", which, (long long)low, (long long)high);
    if (v->maker < 0) {
        if (high >= *parameters) *parameters = high + 1;
        return 0;
    }
    REQUIRE(is_of(c, v->maker, low, high, which == 0), which ? PLIF_WRONG_SOURCE : PLIF_WRONG_MEMORY,
            "view %d goes from %lld to %lld, where operation %lld made no %s", which, (long long)low, (long long)high,
            (long long)v->maker, which ? "numbers" : "room");
    return 0;
}

COLD int plif_check_tensor(const Check *c, const Op *op) {
    const Tensor *t = op->weight;
    TRY(plif_check_pointer(c, "its tensor", t, offsetof(Tensor, view)));
    TRY(check_sizes(c, op, t));
    TRY(plif_check_pointer(c, "its views", t, (int64_t)offsetof(Tensor, view) + t->views * (int64_t)sizeof(View)));
    REQUIRE(op->out < 0, PLIF_WRONG_FIELD, "has a place of its own");
    int64_t parameters = 0; /* floats that views read, which are looked for once */
    for (int i = 0; i < t->views; i++) TRY(check_view(c, t, i, &parameters));
    if (parameters) TRY(plif_check_pointer(c, "its parameters", op->alpha, parameters * 4));
    const int64_t expected = pieces(t, op->kind == OP_PRODUCT);
    REQUIRE(op->items == expected, PLIF_WRONG_FIELD, "has %d pieces of work; expected %lld", op->items,
            (long long)expected);
    REQUIRE(c->program->acc_floats >= 2 * MACHINE_FLOATS, PLIF_WRONG_MEMORY, "two registers, with room for %lld floats",
            (long long)c->program->acc_floats);
    if (op->kind == OP_TENSOR) return plif_check_lines(c, op);
    const int rows = (int)(t->axes - t->inner) - 1;
    if (op->kind == OP_PRODUCT)
        REQUIRE(t->view[1].stride[rows] == 0 && t->view[2].stride[rows] == 1, PLIF_WRONG_FIELD,
                "rows with strides %lld and %lld; expected 0 and 1", (long long)t->view[1].stride[rows],
                (long long)t->view[2].stride[rows]);
    return 0;
}
