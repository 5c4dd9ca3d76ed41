/* x86-64 with AVX-512 and AMX: as path_avx512.c, but rows of bytes are multiplied in tiles. */
#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define PLIF_512 \
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,avx512vnni,avx2,fma,bmi,bmi2,popcnt,lzcnt,amx-tile,amx-int8"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target(PLIF_512))), apply_to = function)
#else
#pragma GCC target( \
    "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,avx512vnni,avx2,fma,bmi,bmi2,popcnt,lzcnt,amx-tile,amx-int8")
#pragma GCC target("prefer-vector-width=512")
#endif
#define PLIF_AVX512 1
#define PLIF_AMX 1
#define PLIF_ITEM plif_item_amx
#include "kernels.h"

/* Eight tiles of 16 rows of 64 bytes, for this thread, from now until amx_end. */
void plif_amx_begin(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config;
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int i = 0; i < 8; i++) config.row_bytes[i] = 64, config.rows[i] = 16;
    _tile_loadconfig(&config);
}

void plif_amx_end(void) { _tile_release(); }

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int plif_not_empty;
#endif
