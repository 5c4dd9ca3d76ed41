/* What went wrong last in this thread, as plif_error_text gives it to callers of plif.h. */
#pragma once

#include "plif.h"

#include <string.h>

/* Of functions that run once a file or a stream: small rather than fast. */
#define COLD __attribute__((cold))

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

/* Hands a refusal on. */
#define TRY(check) \
    do { \
        const int failed = check; \
        if (failed) return failed; \
    } while (0)

/* --- structures of callers: they say their own size, of this version of plif.h, an older or a newer one; what both
 * know is read and written --- */

enum { MOST_SIZE = 4096 };

/* 0, or the refusal of a size that no version has. name, begin: "plif_options", "PLIF_OPTIONS". */
static inline int size_check(size_t size, const char *name, const char *begin) {
    if (size > sizeof size && size % 8 == 0 && size <= MOST_SIZE) return 0;
    return plif_fail(PLIF_BAD_ARGUMENT, "%s.size is %zu: begin with %s", name, size, begin);
}

/* size: the caller's, which was checked; whole: that of the structure here. */
static inline void size_copy(void *to, const void *from, size_t size, size_t whole) {
    memcpy(to, from, size < whole ? size : whole);
}
