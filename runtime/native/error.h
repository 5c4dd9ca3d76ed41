/* What went wrong last in this thread, as plif_error_text gives it to callers of plif.h. */
#ifndef PLIF_ERROR_H
#define PLIF_ERROR_H

#include "plif.h"

/* Keeps the text, and gives the code back. */
__attribute__((format(printf, 2, 3))) int plif_fail(int code, const char *format, ...);

/* Puts the name of a file before the text of the last error. */
int plif_fail_in(const char *where);

#endif
