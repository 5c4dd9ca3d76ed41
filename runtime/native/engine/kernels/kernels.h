/* All kernels of one CPU path. The file that includes this one defines the path; PLIF_ITEM is the name of the entry
 * point. */
#include "conv.h"
#include "layers.h"
#include "tensors.h"

static void active_item(const Op *op, const Context *ctx, int item) {
    const int segments = segments_of(op->ic);
    if (op->from == FROM_SPIKES)
        active_spikes(op, ctx, item / segments, item % segments);
    else
        active_values(op, ctx, item / segments, item % segments);
}

void PLIF_ITEM(const Op *op, const Context *ctx, int item) {
    switch (op->kind) {
    case OP_ACTIVE: active_item(op, ctx, item); break;
    case OP_CONV: conv(op, ctx, item); break;
    case OP_NEURON:
        if (op->charge == CHARGE_PROGRAM)
            program_row(op, ctx, item);
        else
            neuron_row(op, ctx, item);
        break;
    case OP_SPIKE_POOL: spike_pool(op, ctx, item); break;
    case OP_MAX_POOL: float_pool(op, ctx, item, 0); break;
    case OP_AVG_POOL: float_pool(op, ctx, item, 1); break;
    case OP_AFFINE: affine(op, ctx, item); break;
    case OP_ADD: add(op, ctx, item); break;
    case OP_UNPACK: unpack(op, ctx, item); break;
    case OP_LOAD: load(op, ctx, item); break;
    case OP_FLATTEN: flatten(op, ctx); break;
    case OP_VOTE: vote(op, ctx); break;
    case OP_OUTPUT: output(op, ctx); break;
    case OP_RATE: rate(op, ctx); break;
    case OP_BEFORE: state_row(op, ctx, ctx->v[op->state], item); break;
    case OP_AFTER: state_row(op, ctx, ctx->v_next[op->state], item); break;
    case OP_TENSOR: tensor(op, ctx, item); break;
    case OP_REDUCE: reduce(op, ctx, item); break;
    case OP_PRODUCT: product(op, ctx, item); break;
    case OP_SETTLE: settle(op, ctx, item); break;
    default: break; /* OP_SPACE: nothing to be done; check.c lets no other pass */
    }
}
