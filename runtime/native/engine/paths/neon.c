/* 64-bit ARM, where NEON is always there. */
#if defined(__aarch64__)
#define PLIF_NEON 1
#define PLIF_ITEM plif_item_neon
#include "../kernels/kernels.h"
#endif
typedef int plif_not_empty;
