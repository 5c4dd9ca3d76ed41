/* Tensors in the arena: what operations without a kernel of their own work on, as views of floats.
 *
 * Three operations, of any number of axes up to MOST_AXES, on views whose strides may be 0 (what is repeated) or negative:
 *
 *   OP_TENSOR   lines on what the views 1, 2, ... hold, element by element, to view 0
 *   OP_REDUCE   view 0 = the sum, mean or largest of view 1 over its last axes, in their order
 *   OP_PRODUCT  view 0 = the sum of view 1 times view 2 over the last axes, in their order; what is zero in view 1 is left out
 *
 * They write into OP_SPACE: room for a map, which other operations read as one, and in which nothing but floats ever lies.
 */
#pragma once

#include <stdint.h>

enum { MOST_AXES = 8, MOST_VIEWS = 32 };
enum { PIECE_ELEMENTS = 8192, PIECE_ROWS = 32 }; /* of one piece of work: of a tensor or reduction, and of a product */
enum reduction { REDUCE_SUM, REDUCE_MEAN, REDUCE_MAX };

typedef struct {
    int64_t at;    /* floats from the arena on, or from Op.alpha */
    int64_t maker; /* the operation whose floats they are; -1: parameters, which are in Op.alpha */
    int64_t stride[MOST_AXES];
} View;

/* `Op.weight` points to one. axes: of the index; of these, `inner` are summed over. In a product the last axis before
 * them is that of whole rows: it has stride 1 in view 2, and 0 in view 1. */
typedef struct {
    int64_t axes, inner, views, how;
    int64_t size[MOST_AXES];
    View view[]; /* [views]; 0 is what is written */
} Tensor;

static inline int64_t elements(const Tensor *t, int64_t from, int64_t to) {
    int64_t n = 1;
    for (int64_t i = from; i < to; i++) n *= t->size[i];
    return n;
}
/* Pieces of work of one of the three kinds. */
static inline int64_t pieces(const Tensor *t, int is_product) {
    const int64_t outer = t->axes - t->inner;
    return is_product ? (elements(t, 0, outer - 1) + PIECE_ROWS - 1) / PIECE_ROWS
                      : (elements(t, 0, outer) + PIECE_ELEMENTS - 1) / PIECE_ELEMENTS;
}
