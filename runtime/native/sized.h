/* Structures of callers say their own size, which is that of this version of plif.h, of an older or of a newer one:
 * what both know is read and written. */
#pragma once

#include "error.h"

#include <string.h>

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
