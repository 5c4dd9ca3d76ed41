/* All kernels of one CPU path: the file that includes this says which (PLIF_ITEM is the name of the one entry). */
#include "conv.h"
#include "layers.h"

static void stream_item(const Op *op, const Frame *f, int item) {
    const int segments = segments_of(op->ic);
    if (op->from == FROM_SPIKES)
        stream_spikes(op, f, item / segments, item % segments);
    else
        stream_values(op, f, item / segments, item % segments);
}

void PLIF_ITEM(const Op *op, const Frame *f, int item) {
    switch (op->kind) {
    case OP_STREAM: stream_item(op, f, item); break;
    case OP_CONV: conv(op, f, item); break;
    case OP_NEURON: neuron_row(op, f, item); break;
    case OP_SPIKE_POOL: spike_pool(op, f, item); break;
    case OP_MAX_POOL: float_pool(op, f, item, 0); break;
    case OP_AVG_POOL: float_pool(op, f, item, 1); break;
    case OP_AFFINE: affine(op, f, item); break;
    case OP_ADD: add(op, f, item); break;
    case OP_UNPACK: unpack(op, f, item); break;
    case OP_LOAD: load(op, f, item); break;
    case OP_FLATTEN: flatten(op, f); break;
    case OP_VOTE: vote(op, f); break;
    case OP_OUTPUT: output(op, f); break;
    case OP_RATE: rate(op, f); break;
    }
}
