/* Which format a recording has, and what its header says. */
#ifndef PLIF_HEADER_H
#define PLIF_HEADER_H

#include "formats.h"

typedef struct {
    enum file_format format;
    long begin;                         /* where the header ends */
    int width, height, upright;         /* width 0: the file does not say */
} Header;

/* size: of the file, in bytes. 0, or a code below zero and its text. */
int plif_header_read(Header *h, FILE *file, const char *path, int64_t size);

#endif
