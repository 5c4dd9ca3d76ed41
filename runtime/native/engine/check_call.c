/* Whether the arrays of a call are as large as its program and its strides need them, and not too large to be made.
 * event.h has the contract. */
#include "check.h"

enum { MOST_ROWS = 1 << 20 };
#define MOST_ROOM ((int64_t)(sizeof(size_t) > 4 ? 4 : 1) << 30) /* as plif.h says; a 32-bit size_t holds no 4 GiB */
#define MOST_STRIDE ((int64_t)1 << 40)

/* `count` rows of `row` numbers, `stride` apart, in an array of `size`. */
static int check_array(const Check *c, const char *name, const void *at, int64_t count, int64_t stride, int64_t row,
                       int64_t size) {
    REQUIRE(at && (uintptr_t)at % 4 == 0 && between(0, stride, MOST_STRIDE) && (count - 1) * stride + row <= size,
            PLIF_WRONG_MEMORY, "%s has %lld numbers; expected %lld rows of %lld, %lld apart", name, (long long)size,
            (long long)count, (long long)row, (long long)stride);
    return 0;
}

static uint32_t bits_of(const float *x) {
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    return bits;
}

/* An exponent of ones, and one more, is the sign. */
static uint32_t not_finite(uint32_t bits) { return (bits & 0x7f800000u) + 0x00800000u; }

int64_t plif_first_not_finite(const float *x, int64_t n) {
    uint32_t any = 0;
    for (int64_t i = 0; i < n; i++) any |= not_finite(bits_of(x + i));
    if (!(any >> 31)) return n;
    int64_t i = 0;
    while (!(not_finite(bits_of(x + i)) >> 31)) i++;
    return i;
}

int plif_room_check(const Program *program, int64_t rows, int64_t more, char *text, int64_t room) {
    const Check check = {program, -1, 0, text, room}, *c = &check;
    REQUIRE(between(1, rows, MOST_ROWS), PLIF_WRONG_FIELD, "%lld rows; expected 1 to %d", (long long)rows, MOST_ROWS);
    int64_t row = program->x_floats + program->y_floats;
    for (int s = 0; s < program->states; s++) row += program->v_floats[s];
    const int64_t bytes = 4 * (rows * row + program->acc_floats) + program->arena_bytes + more;
    REQUIRE(bytes <= MOST_ROOM, PLIF_WRONG_MEMORY,
            "a session of %lld row%s would take %lld MiB; expected at most %lld MiB", (long long)rows,
            rows > 1 ? "s" : "", (long long)(bytes >> 20), (long long)(MOST_ROOM >> 20));
    return 0;
}

int plif_call_check(const Program *program, const Call *call, const CallSizes *sizes, char *text, int64_t room) {
    const Check check = {program, -1, 0, text, room}, *c = &check;
    REQUIRE(between(1, call->rows, MOST_ROWS) && between(1, call->steps, MOST_ROWS), PLIF_WRONG_FIELD,
            "%d rows and %d steps; expected 1 to %d of each", call->rows, call->steps, MOST_ROWS);
    REQUIRE(between(0, call->x_step, MOST_STRIDE), PLIF_WRONG_FIELD, "steps of x %lld apart", (long long)call->x_step);
    TRY(check_array(c, "x", call->x, call->rows, call->x_row, (call->steps - 1) * call->x_step + program->x_floats,
                    sizes->x));
    TRY(check_array(c, "y", call->y, (int64_t)call->rows * call->steps, call->y_row, program->y_floats, sizes->y));
    for (int s = 0; s < program->states; s++) {
        const int64_t stride = call->v_stride[s], row = program->v_floats[s];
        TRY(check_array(c, "v", call->v[s], call->rows, stride, row, sizes->v[s]));
        TRY(check_array(c, "v_next", call->v_next[s], call->rows, stride, row, sizes->v_next[s]));
        REQUIRE((uintptr_t)call->v[s] % 64 == 0 && (uintptr_t)call->v_next[s] % 64 == 0 && stride % 16 == 0,
                PLIF_WRONG_MEMORY, "membranes of state %d at addresses that are no multiples of 64", s);
        if (call->owed)
            REQUIRE(call->owed[s] && call->v[s] == call->v_next[s] && stride == row, PLIF_WRONG_MEMORY,
                    "steps of state %d cannot wait: its membranes are not updated in place, or not together", s);
        if (call->rates)
            TRY(check_array(c, "rates", call->rates[s], (int64_t)call->rows * call->steps, 1, 1, sizes->rates[s]));
    }
    return 0;
}
