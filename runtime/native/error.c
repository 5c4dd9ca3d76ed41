/* Errors of libplif: a code, and one line of text for each thread, so that threads do not overwrite each other's. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

_Thread_local Failure plif_failure;

int plif_fail(int code, const char *format, ...) {
    va_list values;
    va_start(values, format);
    vsnprintf(plif_failure.text, sizeof plif_failure.text, format, values);
    va_end(values);
    return plif_failure.code = code;
}

int plif_fail_in(const char *where) {
    const Failure why = plif_failure;
    return plif_fail(why.code, "%.120s: %.470s", where, why.text);
}

int plif_error_code(void) { return plif_failure.code; }

const char *plif_error_text(void) { return plif_failure.text; }
