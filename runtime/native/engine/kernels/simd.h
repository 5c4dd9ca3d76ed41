/* One vector register, written once: `fr` is as many floats as this path's registers hold.
 *
 * Compiler vector types rather than a library of intrinsics: no dependency, and the same additions in the same order on
 * every path, so all paths give the same bits. Only comparisons that end in a bit mask need an instruction by name. */
#pragma once

#include <stdint.h>
#include <string.h>

/* REGISTER: floats in one. AT_ONCE: outputs of a pixel that are summed at once, as many as registers hold (int16:
 * twice as many). DENSE: outputs of DENSE_PIXELS pixels that are summed at once where most inputs are spikes.
 * HAS_BYTES: whether rows with many spikes are multiplied as bytes where the weights are int8 (dense8.h). */
#if defined(PLIF_AVX512)
#include <immintrin.h>
enum { REGISTER = 16, AT_ONCE = 64, HAS_DENSE = 1, DENSE = 64, HAS_BYTES = 1 };
#elif defined(PLIF_AVX2)
#include <immintrin.h>
enum { REGISTER = 8, AT_ONCE = 64, HAS_DENSE = 1, DENSE = 16, HAS_BYTES = 0 };
#elif defined(PLIF_NEON)
#include <arm_neon.h>
enum { REGISTER = 4, AT_ONCE = 64, HAS_DENSE = 1, DENSE = 16, HAS_BYTES = 0 };
#else
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
enum { REGISTER = 4, AT_ONCE = 32, HAS_DENSE = 0, DENSE = 4, HAS_BYTES = 0 };
#endif

enum { DENSE_PIXELS = 6 };

typedef float fr __attribute__((vector_size(4 * REGISTER), may_alias));
typedef int32_t ir __attribute__((vector_size(4 * REGISTER), may_alias));
typedef int16_t sr __attribute__((vector_size(4 * REGISTER), may_alias)); /* a register of int16 */
typedef int16_t half_sr
    __attribute__((vector_size(2 * REGISTER), may_alias)); /* as many of them as floats in a register */

typedef uint32_t uir __attribute__((vector_size(4 * REGISTER), may_alias));
typedef uint16_t usr __attribute__((vector_size(4 * REGISTER), may_alias));
typedef uint8_t ucr __attribute__((vector_size(4 * REGISTER), may_alias));

#define INLINE static inline __attribute__((always_inline))

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define SHORT _Pragma("clang loop unroll(disable) vectorize(disable)") /* in code, where nothing is gained by more */
#else
#define UNROLL _Pragma("GCC unroll 16")
#define SHORT _Pragma("GCC unroll 1")
#endif

/* Keeps the compiler from loading a value a second time instead of keeping it. */
#if defined(__x86_64__)
#define IN_REGISTER(x) __asm__("" : "+v"(x))
#elif defined(PLIF_NEON)
#define IN_REGISTER(x) __asm__("" : "+w"(x))
#else
#define IN_REGISTER(x) (void)(x)
#endif

INLINE fr all(float value) { return value - (fr){0}; } /* x - 0 is x, -0 and all: one broadcast */

/* Sums of whole numbers that wrap around, as the hardware's do: where a program's weights are other than it says,
 * its sums are wrong, and nothing else is. */
INLINE sr plus16(sr a, sr b) { return (sr)((usr)a + (usr)b); }
INLINE ir plus32(ir a, ir b) { return (ir)((uir)a + (uir)b); }

INLINE ir widen(const int16_t *p) { return __builtin_convertvector(*(const half_sr *)p, ir); }

/* sum + s * w, with s zero or one: s * w is exact, so a fused operation rounds as a multiplication and an addition
 * do. */
INLINE fr add_if(fr s, fr w, fr sum) {
#if defined(PLIF_AVX512)
    return (fr)_mm512_fmadd_ps((__m512)s, (__m512)w, (__m512)sum);
#elif defined(PLIF_AVX2)
    return (fr)_mm256_fmadd_ps((__m256)s, (__m256)w, (__m256)sum);
#elif defined(PLIF_NEON)
    return (fr)vfmaq_f32((float32x4_t)sum, (float32x4_t)s, (float32x4_t)w);
#else
    return sum + s * w;
#endif
}

/* Bit j is set where the sign of a[j] is. */
INLINE uint32_t signs(ir a) {
#if defined(PLIF_AVX512)
    return _mm512_movepi32_mask((__m512i)a);
#elif defined(PLIF_AVX2)
    return (uint32_t)_mm256_movemask_ps((__m256)a);
#elif defined(PLIF_NEON)
    const uint32x4_t bit = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32((uint32x4_t)(a < 0), bit));
#elif defined(__SSE2__)
    return (uint32_t)_mm_movemask_ps((__m128)a);
#else
    const ir bit = {1, 2, 4, 8}, set = (a < 0) & bit;
    return (uint32_t)(set[0] | set[1] | set[2] | set[3]);
#endif
}

/* Bit j is set where a[j] >= b[j]; a NaN is not. */
INLINE uint32_t at_least(fr a, fr b) {
#if defined(PLIF_AVX512)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ);
#elif defined(PLIF_AVX2)
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GE_OQ));
#elif defined(PLIF_NEON)
    const uint32x4_t bit = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgeq_f32((float32x4_t)a, (float32x4_t)b), bit));
#else
    return signs((ir)(a >= b));
#endif
}

/* Bit j is set where a[j] > b[j]. */
INLINE uint32_t greater_than(fr a, fr b) {
#if defined(PLIF_AVX512)
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
#elif defined(PLIF_AVX2)
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ));
#else
    return signs((ir)(a > b));
#endif
}

/* `fired` where h >= threshold, which is where mask has a bit, and h elsewhere. */
INLINE fr where_fired(uint32_t mask, fr threshold, fr fired, fr h) {
#if defined(PLIF_AVX512)
    (void)threshold;
    return (fr)_mm512_mask_mov_ps((__m512)h, (__mmask16)mask, (__m512)fired);
#else
    (void)mask;
    const ir wide = (ir)(h >= threshold);
    return (fr)(((ir)fired & wide) | ((ir)h & ~wide));
#endif
}

/* Bit j is set where p[j] is not zero, for j below n, at most 16. */
INLINE uint32_t nonzero(const float *p, int n) {
    float part[16] = {0};
    if (n < 16) p = memcpy(part, p, (size_t)n * sizeof *p);
#if defined(PLIF_AVX512)
    return _mm512_cmp_ps_mask(_mm512_loadu_ps(p), _mm512_setzero_ps(), _CMP_NEQ_UQ);
#elif defined(PLIF_AVX2)
    const __m256 zero = _mm256_setzero_ps(), low = _mm256_loadu_ps(p), high = _mm256_loadu_ps(p + 8);
    return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(low, zero, _CMP_NEQ_UQ)) |
           (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(high, zero, _CMP_NEQ_UQ)) << 8;
#else
    uint32_t bits = 0;
    for (int j = 0; j < 16; j++) bits |= (uint32_t)(p[j] != 0) << j;
    return bits;
#endif
}
