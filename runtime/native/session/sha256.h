/* SHA-256 (FIPS 180-4), to find out whether a file is as it was written. */
#pragma once

#include <stdint.h>

typedef struct {
    uint32_t state[8];
    uint8_t block[64];
    int64_t bytes; /* so far */
} Sha256;

void plif_sha256_begin(Sha256 *s);
void plif_sha256_add(Sha256 *s, const void *data, int64_t bytes);
void plif_sha256_end(Sha256 *s, uint8_t digest[32]);
