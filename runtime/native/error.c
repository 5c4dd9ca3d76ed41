/* Errors of libplif: a code, and one line of text for each thread, so that threads do not overwrite each other's. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char text[600];
static _Thread_local int last;

int plif_fail(int code, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    return last = code;
}

int plif_fail_in(const char *where) {
    char why[sizeof text];
    memcpy(why, text, sizeof text);
    return plif_fail(last, "%.120s: %.270s", where, why);
}

int plif_error_code(void) { return last; }

const char *plif_error_text(void) { return text; }
