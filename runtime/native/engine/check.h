/* How a check says what is wrong: a code, and one line that begins with the operation. */
#pragma once

#include "../error.h"
#include "event.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct {
    const Program *program;
    int at;          /* the operation that is checked, -1 for none */
    int64_t written; /* the arena is written up to here */
    char *text;
    int64_t room;
} Check;

__attribute__((format(printf, 3, 4))) static inline int wrong(const Check *c, int code, const char *format, ...) {
#define TEXT_OF(name) #name
    static const char *const names[] = {OPERATIONS(TEXT_OF)};
#undef TEXT_OF
    int n = 0;
    if (c->room > 0) c->text[0] = 0;
    if (c->at >= 0 && c->room > 0) {
        const uint32_t kind = (uint32_t)c->program->ops[c->at].kind;
        n = snprintf(c->text, (size_t)c->room, "operation %d (%s): ", c->at,
                     kind <= OP_PRODUCT ? names[kind] : "unknown");
    }
    if (n >= 0 && n < c->room) {
        va_list values;
        va_start(values, format);
        vsnprintf(c->text + n, (size_t)(c->room - n), format, values);
        va_end(values);
    }
    return code;
}

#define REQUIRE(holds, code, ...) \
    do { \
        if (!(holds)) return wrong(c, code, __VA_ARGS__); \
    } while (0)

/* What an operation writes. */
enum result { NOTHING, FLOATS, SPIKES, LISTS };
int plif_check_pointer(const Check *c, const char *what, const void *at, int64_t bytes);
int plif_check_result(const Op *op);                /* what it writes to `out` */
int plif_check_lines(const Check *c, const Op *op); /* of a neuron that is a program, and of tensors */
int plif_check_tensor(const Check *c, const Op *op);
