/* Which format a recording has, and what its header says. */
#pragma once

#include "formats.h"

#include <stdio.h>

typedef struct {
    enum file_format format;
    long begin;                 /* where the header ends */
    int width, height, upright; /* width 0: the file does not say */
} Header;

/* Whether the words of a file without a header, of which these are the first, are of EVT 2.0 or EVT 3.0: (nearly)
 * all of known types, and with a clock that runs forward. */
int plif_looks_like(int format, const uint8_t *head, int64_t bytes);
/* size: of the file, in bytes. 0, or a code below zero and its text. */
int plif_header_read(Header *h, FILE *file, const char *path, int64_t size);
