/* A stand-in for libcuda.so.1 on memory of the host, for tests on machines without a GPU.

   It is as asynchronous as the real one may be: what is put into a stream is done only when somebody waits for that stream,
   so that a missing wait shows. While a stream is captured nothing is done; what was put in becomes a graph with the addresses
   of that moment. Calls without a current context fail, in each thread. Live allocations are counted. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, CAPTURE_UNSUPPORTED = 900 };

typedef void (*callback)(void *);
typedef struct op {
    void *target;
    const void *source;
    size_t size;
    int value; /* of a memset; -1 for a copy */
    callback call;
    struct op *next;
} op;
typedef struct { op *first, *last; } list;
typedef struct { list queue, recorded; int capturing, broken; } stream;
typedef struct { list ops; } graph;

static __thread void *current;
static int context, live, fail_alloc, launches, waits;

#define NEEDS_CONTEXT if (!current) return INVALID_CONTEXT

static int append(list *l, op o) {
    op *kept = malloc(sizeof o);
    if (!kept) return OUT_OF_MEMORY;
    *kept = o;
    kept->next = NULL;
    if (l->last) l->last->next = kept; else l->first = kept;
    l->last = kept;
    return SUCCESS;
}

static void clear(list *l) {
    while (l->first) { op *next = l->first->next; free(l->first); l->first = next; }
    l->last = NULL;
}

static int put(stream *s, op o) { return append(s->capturing ? &s->recorded : &s->queue, o); }

/* --- what the tests ask ------------------------------------------------------------------------------------------- */
int standin_live(void) { return live; }
int standin_launches(void) { return launches; }
int standin_waits(void) { return waits; }
void standin_fail_alloc(int after) { fail_alloc = after; }
int standin_is_capturing(stream *s) { return s->capturing; }
int standin_put(stream *s, callback call, void *argument) { return put(s, (op){.target = argument, .call = call}); }

/* --- cuda.h ------------------------------------------------------------------------------------------------------- */
int cuInit(unsigned flags) { return flags ? INVALID_VALUE : SUCCESS; }
int cuDeviceGetCount(int *n) { *n = 1; return SUCCESS; }
int cuDeviceGet(int *device, int index) { *device = index; return index ? INVALID_VALUE : SUCCESS; }
int cuDeviceGetName(char *name, int size, int device) {
    (void)device;
    strncpy(name, "Stand-in GPU", size);
    return SUCCESS;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    if (attribute != 75 && attribute != 76) return INVALID_VALUE;
    *value = attribute == 75 ? 8 : 9;
    return SUCCESS;
}
int cuDevicePrimaryCtxRetain(void **made, int device) { (void)device; *made = &context; return SUCCESS; }
int cuCtxSetCurrent(void *made) { current = made; return SUCCESS; }
int cuGetErrorName(int code, const char **text) {
    *text = code == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY"
          : code == INVALID_CONTEXT ? "CUDA_ERROR_INVALID_CONTEXT"
          : code == CAPTURE_UNSUPPORTED ? "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED" : "CUDA_ERROR_INVALID_VALUE";
    return SUCCESS;
}
static void *allocate(size_t size) {
    if (fail_alloc && --fail_alloc == 0) return NULL;
    void *made = aligned_alloc(256, (size + 255) / 256 * 256);
    if (made) { memset(made, 0x7f, size); live++; } /* NaN-like, as memory of a device is not zero */
    return made;
}
int cuMemAlloc_v2(uint64_t *address, size_t size) {
    NEEDS_CONTEXT;
    void *made = allocate(size);
    *address = (uint64_t)made;
    return made ? SUCCESS : OUT_OF_MEMORY;
}
int cuMemFree_v2(uint64_t address) { NEEDS_CONTEXT; free((void *)address); live--; return SUCCESS; }
int cuMemHostAlloc(void **address, size_t size, unsigned flags) {
    NEEDS_CONTEXT;
    (void)flags;
    *address = allocate(size);
    return *address ? SUCCESS : OUT_OF_MEMORY;
}
int cuMemFreeHost(void *address) { NEEDS_CONTEXT; free(address); live--; return SUCCESS; }
int cuMemcpyHtoDAsync_v2(uint64_t target, const void *source, size_t size, stream *s) {
    NEEDS_CONTEXT;
    return put(s, (op){.target = (void *)target, .source = source, .size = size, .value = -1});
}
int cuMemcpyDtoHAsync_v2(void *target, uint64_t source, size_t size, stream *s) {
    NEEDS_CONTEXT;
    return put(s, (op){.target = target, .source = (void *)source, .size = size, .value = -1});
}
int cuMemsetD8Async(uint64_t target, unsigned char value, size_t size, stream *s) {
    NEEDS_CONTEXT;
    return put(s, (op){.target = (void *)target, .size = size, .value = value});
}
int cuStreamCreate(stream **made, unsigned flags) {
    NEEDS_CONTEXT;
    if (flags != 1) return INVALID_VALUE; /* a stream that waits for the default one is not what the engine should use */
    *made = calloc(1, sizeof **made);
    live++;
    return SUCCESS;
}
int cuStreamDestroy_v2(stream *s) { clear(&s->queue); clear(&s->recorded); free(s); live--; return SUCCESS; }
static void done(const op *o) {
    if (o->call) o->call(o->target);
    else if (o->value < 0) memcpy(o->target, o->source, o->size);
    else memset(o->target, o->value, o->size);
}
int cuStreamSynchronize(stream *s) {
    NEEDS_CONTEXT;
    if (s->capturing) { s->broken = 1; return CAPTURE_UNSUPPORTED; }
    waits++;
    for (op *o = s->queue.first; o; o = o->next) done(o);
    clear(&s->queue);
    return SUCCESS;
}
int cuStreamBeginCapture_v2(stream *s, int mode) {
    NEEDS_CONTEXT;
    (void)mode;
    if (s->capturing) return INVALID_VALUE;
    s->capturing = 1;
    return SUCCESS;
}
int cuStreamEndCapture(stream *s, graph **made) {
    NEEDS_CONTEXT;
    s->capturing = 0;
    if (s->broken) { s->broken = 0; clear(&s->recorded); return CAPTURE_UNSUPPORTED; }
    *made = calloc(1, sizeof **made);
    (*made)->ops = s->recorded;
    s->recorded = (list){0};
    live++;
    return SUCCESS;
}
int cuGraphInstantiateWithFlags(graph **made, graph *from, unsigned long long flags) {
    NEEDS_CONTEXT;
    if (flags || !from) return INVALID_VALUE;
    *made = calloc(1, sizeof **made);
    for (op *o = from->ops.first; o; o = o->next) append(&(*made)->ops, *o);
    live++;
    return SUCCESS;
}
int cuGraphLaunch(graph *g, stream *s) {
    NEEDS_CONTEXT;
    launches++;
    for (op *o = g->ops.first; o; o = o->next) put(s, *o);
    return SUCCESS;
}
int cuGraphDestroy(graph *g) { clear(&g->ops); free(g); live--; return SUCCESS; }
int cuGraphExecDestroy(graph *g) { return cuGraphDestroy(g); }
