/* What the kernels of a training step share: numbers of 32 and 16 bits, and threads.

   A half is bfloat16 as raw 16 bits. Every kernel works on a part from..to of its neurons, planes, images or channels, so that threads share a
   call (share.c). Nothing is allocated. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__gnu_linux__) && (defined(__GNUC__) && !defined(__clang__))
#define EACH_CPU __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH_CPU
#endif
#define INLINE static inline __attribute__((always_inline))

enum { LANES = 16 };                                   /* floats of a vector */
typedef uint32_t __attribute__((may_alias)) one_float; /* as its bits */

/* One compiled loop for each value of a flag: NAME is a constant in the statement that follows. */
#define EITHER(NAME, FLAG, ...) \
    do { \
        if (FLAG) { \
            const int NAME = 1; \
            __VA_ARGS__; \
        } else { \
            const int NAME = 0; \
            __VA_ARGS__; \
        } \
    } while (0)

INLINE float from_half(uint16_t b) {
    uint32_t bits = (uint32_t)b << 16;
    float f;
    memcpy(&f, &bits, 4);
    return f;
}

INLINE uint16_t to_half(float f) { /* to nearest, ties to even; NaN stays NaN */
    uint32_t bits;
    memcpy(&bits, &f, 4);
    uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (bits & 0x7fffffff) > 0x7f800000 ? (uint16_t)(bits >> 16 | 0x40) : (uint16_t)rounded;
}

INLINE float load(const void *p, int64_t i, int half) {
    return half ? from_half(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

INLINE void store(void *p, int64_t i, float f, int half) {
    if (half)
        ((uint16_t *)p)[i] = to_half(f);
    else
        ((float *)p)[i] = f;
}

INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
