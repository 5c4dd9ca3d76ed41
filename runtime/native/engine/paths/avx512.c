/* x86-64 with AVX-512 as of Ice Lake and Zen 4 (VBMI2 moves the numbers of set bits together, VNNI multiplies
 * bytes). */
#if defined(__x86_64__)
#define PLIF_512 "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,avx512vnni,avx2,fma,bmi,bmi2,popcnt,lzcnt"
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target(PLIF_512))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,avx512vnni,avx2,fma,bmi,bmi2,popcnt,lzcnt")
#pragma GCC target("prefer-vector-width=512")
#endif
#define PLIF_AVX512 1
#define PLIF_ITEM plif_item_avx512
#include "../kernels/kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
typedef int plif_not_empty;
