/* x86-64 with AVX2. FMA only by name and where it rounds as two operations do: all paths agree in every bit. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi,bmi2,popcnt,lzcnt"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,bmi,bmi2,popcnt,lzcnt")
#endif
#define PLIF_AVX2 1
#define PLIF_ITEM plif_item_avx2
#include "../kernels/kernels.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
typedef int plif_not_empty;
