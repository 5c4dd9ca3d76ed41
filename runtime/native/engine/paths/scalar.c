/* The path that runs on every machine: plain C. */
#define PLIF_ITEM plif_item_scalar
#include "../kernels/kernels.h"
