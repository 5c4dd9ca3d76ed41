/* exp, log, tanh and the like, for a register at a time: the same bits on every path and machine, so no library's.
 *
 * Polynomials of Cephes (S. Moshier), within two units in the last place of the true value; rounded after each
 * operation. */
#pragma once

#include "simd.h"

INLINE fr choose(ir where, fr yes, fr no) { return (fr)(((ir)yes & where) | ((ir)no & ~where)); }
INLINE ir whole(int32_t value) { return value - (ir){0}; }
INLINE fr magnitude(fr x) { return (fr)((ir)x & whole(INT32_MAX)); }
INLINE fr with_sign_of(fr x, fr of) { return (fr)(((ir)x & whole(INT32_MAX)) | ((ir)of & whole(INT32_MIN))); }

/* yes where `fires` has a bit, no elsewhere; fires and where say the same. */
INLINE fr pick(uint32_t fires, ir where, fr yes, fr no) {
#if defined(PLIF_AVX512)
    (void)where;
    return (fr)_mm512_mask_mov_ps((__m512)no, (__mmask16)fires, (__m512)yes);
#else
    (void)fires;
    return choose(where, yes, no);
#endif
}

/* To the nearest whole number, half to even: beside 2^23 floats have no fraction. */
INLINE fr nearest(fr x) {
    const fr large = with_sign_of(all(8388608.0f), x), near = (x + large) - large;
    return choose(magnitude(x) < all(8388608.0f), with_sign_of(near, x), x);
}
INLINE fr floor_of(fr x) {
    const fr near = nearest(x);
    return with_sign_of(choose(near > x, near - all(1.0f), near), x);
}
INLINE fr ceil_of(fr x) {
    const fr near = nearest(x);
    return with_sign_of(choose(near < x, near + all(1.0f), near), x);
}

/* The number that is not greater, and a NaN where there is one: as NumPy, whose MINPS would drop it. */
INLINE fr lesser(fr a, fr b) { return choose((a <= b) | (a != a), a, b); }
INLINE fr greater(fr a, fr b) { return choose((a >= b) | (a != a), a, b); }

INLINE fr root(fr x) {
#if defined(PLIF_AVX512)
    return (fr)_mm512_sqrt_ps((__m512)x);
#elif defined(PLIF_AVX2)
    return (fr)_mm256_sqrt_ps((__m256)x);
#elif defined(PLIF_NEON)
    return (fr)vsqrtq_f32((float32x4_t)x);
#elif defined(__SSE2__)
    return (fr)_mm_sqrt_ps((__m128)x);
#else
    for (int j = 0; j < REGISTER; j++) x[j] = __builtin_sqrtf(x[j]);
    return x;
#endif
}

/* 2^n, for -126 <= n <= 127. */
INLINE fr power_of_two(ir n) { return (fr)((uir)(n + whole(127)) << 23); }

/* x = n ln 2 + r with |r| <= ln 2 / 2; exp(x) = 2^n exp(r). */
INLINE fr exp_of(fr x) {
    const fr inside = choose(x > all(89.0f), all(89.0f), choose(x < all(-104.0f), all(-104.0f), x));
    const fr turns = nearest(inside * all(1.44269504088896341f));
    const fr r = inside - turns * all(0.693359375f) - turns * all(-2.12194440e-4f);
    fr p = r * all(1.9875691500e-4f) + all(1.3981999507e-3f);
    p = p * r + all(8.3334519073e-3f);
    p = p * r + all(4.1665795894e-2f);
    p = p * r + all(1.6666665459e-1f);
    p = p * r + all(5.0000001201e-1f);
    p = p * (r * r) + r + all(1.0f);
    const ir is_number = x == x, n = __builtin_convertvector(choose(is_number, turns, all(0.0f)), ir), half = n >> 1;
    return choose(is_number, p * power_of_two(half) * power_of_two(n - half), x);
}

/* x = 2^e m with sqrt(1/2) <= m < sqrt(2); log(x) = e ln 2 + log(m). */
INLINE fr log_of(fr x) {
    const ir small = x < all(1.17549435e-38f);
    const fr scaled = choose(small, x * all(33554432.0f), x); /* 2^25 */
    const ir bits = (ir)scaled, below = ((bits & whole(0x7fffff)) | whole(0x3f000000)) < whole(0x3f3504f3);
    const fr part = (fr)((bits & whole(0x7fffff)) | whole(0x3f000000));
    const ir e = (ir)((uir)bits >> 23) - whole(126) + below - (small & whole(25));
    const fr m = choose(below, part + part, part) - all(1.0f), z = m * m, n = __builtin_convertvector(e, fr);
    fr p = m * all(7.0376836292e-2f) + all(-1.1514610310e-1f);
    p = p * m + all(1.1676998740e-1f);
    p = p * m + all(-1.2420140846e-1f);
    p = p * m + all(1.4249322787e-1f);
    p = p * m + all(-1.6668057665e-1f);
    p = p * m + all(2.0000714765e-1f);
    p = p * m + all(-2.4999993993e-1f);
    p = p * m + all(3.3333331174e-1f);
    p = p * m * z + n * all(-2.12194440e-4f) - z * all(0.5f);
    const fr found = m + p + n * all(0.693359375f), infinity = all(__builtin_inff());
    const fr outside = choose(x == all(0.0f), -infinity, choose(x == infinity, x, all(__builtin_nanf(""))));
    return choose((x > all(0.0f)) & (x < infinity), found, choose(x == x, outside, x));
}

INLINE fr tanh_of(fr x) {
    const fr size = magnitude(x), z = x * x;
    fr p = z * all(-5.70498872745e-3f) + all(2.06390887954e-2f);
    p = p * z + all(-5.37397155531e-2f);
    p = p * z + all(1.33314422036e-1f);
    p = p * z + all(-3.33332819422e-1f);
    const fr far = with_sign_of(all(1.0f) - all(2.0f) / (exp_of(size + size) + all(1.0f)), x);
    return choose(size >= all(0.625f), far, p * z * x + x); /* a NaN stays one */
}
