/* x86-64 with AVX-512 and AMX: what avx512.c does in another way there, rows of bytes multiplied in tiles. */
#include "../event.h"

#if defined(PLIF_HAS_AMX)
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
#include "../kernels/dense8.h"

/* 32 pixels by 32 outputs in four tiles of sums; two of pixels and two of weights feed them. Tile t is 16 rows of
 * 64 bytes. */
void plif_dense8_tiles(const Op *op, const Context *ctx, const Tile *t, int lane, int L) {
    const int64_t pixel = pixel_bytes(op->ic), step = op->stride * pixel, next = (int64_t)op->kh * op->kw * pixel * 16;
    const int across = t->across / 16, groups = across * t->height, segments = segments_of(op->ic);
    for (int at = 0; at < L; at += 32)
        for (int g = 0; g < groups; g += 2) {
            const int two = L - at > 16, other = g + 1 < groups ? g + 1 : g;
            const int ya = t->y0 + g / across, xa = t->x0 + g % across * 16;
            const int yb = t->y0 + other / across, xb = t->x0 + other % across * 16;
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            for (int ky = 0; ky < op->kh; ky++)
                for (int s = 0; s < segments; s++) {
                    const char *a = dense8_pixel(op, ctx, ya, xa, ky, s), *b = dense8_pixel(op, ctx, yb, xb, ky, s);
                    if (!a && !b) continue;
                    for (int kx = 0; kx < op->kw; kx++) {
                        const char *w = dense8_weight(op, lane + at, ky * op->kw + kx) + s * SEGMENT * 16;
                        for (int k = 0; k < segment_size(op->ic, s); k += 64, w += 1024) {
                            _tile_loadd(6, w, 64);
                            if (two) _tile_loadd(7, w + next, 64);
                            if (a) {
                                _tile_loadd(4, a + kx * pixel + k, step);
                                _tile_dpbusd(0, 4, 6);
                                if (two) _tile_dpbusd(1, 4, 7);
                            }
                            if (b) {
                                _tile_loadd(5, b + kx * pixel + k, step);
                                _tile_dpbusd(2, 5, 6);
                                if (two) _tile_dpbusd(3, 5, 7);
                            }
                        }
                    }
                }
            int32_t *sum = (int32_t *)ctx->acc + (int64_t)g * 16 * L + at;
            _tile_stored(0, sum, L * 4);
            if (two) _tile_stored(1, sum + 16, L * 4);
            if (other == g) continue;
            _tile_stored(2, sum + 16 * L, L * 4);
            if (two) _tile_stored(3, sum + 16 * L + 16, L * 4);
        }
}

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
void plif_amx_begin(void) {}
void plif_amx_end(void) {}
#endif
