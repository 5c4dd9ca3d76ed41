/* The path that is always right: plain C for whatever the machine has at least. */
#define PLIF_ITEM plif_item_scalar
#include "kernels.h"
