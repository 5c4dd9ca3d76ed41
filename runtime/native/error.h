/* What went wrong last in this thread, as plif_error_text gives it to callers of plif.h. */
#pragma once

#include "plif.h"

/* What went wrong: `code` of the last call, `text` of the last one that failed. Who handles a failure puts back
 * what there was before. */
typedef struct {
    int code;
    char text[600];
} Failure;
extern _Thread_local Failure plif_failure;

/* Every function of plif.h that can fail begins with it. */
static inline void plif_call_begins(void) { plif_failure.code = PLIF_OK; }

/* Keeps the text, and gives the code back. */
__attribute__((format(printf, 2, 3))) int plif_fail(int code, const char *format, ...);

/* Puts the name of a file before the text of the last error. */
int plif_fail_in(const char *where);
