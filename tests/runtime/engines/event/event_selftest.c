/* Every CPU path of the event kernels against a loop that anyone can read, bit for bit.
 *
 * The plain loop runs once a case and kind of sum, the paths for each density and number of threads on the same numbers.
 * Needs no Python, so that it also runs on a processor that is only emulated: see test_engine_event_arm.py.
 * Prints one line for each path; exits 1 where a bit differs.
 */
#include "../../../../runtime/native/engine/event.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Pool Pool;
void plif_run(const Program *, Pool *, const Call *, char **, float **);
Pool *plif_pool_new(int);
void plif_pool_free(Pool *);

static const char *const names[] = {"scalar", "avx2", "avx512", "neon", "amx"};
static uint32_t seed = 1;
static float uniform(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 16777216.0f;
}
static void *room(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    memset(p, 0, bytes);
    return p;
}

typedef struct {
    int c, h, w, o, k, stride, pad, charge, soft, valued;
    float density;
} Case;

static const Case cases[] = {
    {2, 9, 11, 20, 3, 1, 1, CHARGE_FOLDED, 0, 1, 0.1f},          {70, 8, 9, 128, 3, 1, 1, CHARGE_FOLDED, 0, 0, 0.2f},
    {128, 6, 20, 64, 3, 1, 1, CHARGE_EXACT, 0, 0, 0.9f},         {200, 7, 7, 80, 5, 2, 2, CHARGE_EXACT, 1, 0, 0.3f},
    {33, 10, 13, 97, 2, 3, 0, CHARGE_NO_DECAY_INPUT, 0, 0, 0.5f}, {300, 1, 1, 110, 1, 1, 0, CHARGE_IF, 0, 0, 0.3f},
    {16, 4, 4, 50, 4, 1, 0, CHARGE_IF, 1, 1, 0.6f},
};

/* Where the lanes of an output's piece of the weights begin, and how many they are. */
static int piece(int o, int lanes, int block, int least, int *width) {
    const int first = o / block * block, left = lanes - first, second = left < block && o - first >= BLOCK;
    *width = left >= block ? block : second ? left - BLOCK : left < BLOCK ? left : BLOCK;
    if (*width < least) *width = least;
    return first + (second ? BLOCK : 0);
}

/* What the plain loop finds: membranes and spikes. One set of numbers serves every path, density and number of threads. */
typedef struct {
    float *v;
    uint8_t *fired;
} Expected;

static Expected plain_loop(const Case *t, int sums, const float *x, const float *weight, const float *bias, const float *alpha,
                           const float *scale, const float *v) {
    const int oh = (t->h + 2 * t->pad - t->k) / t->stride + 1, ow = (t->w + 2 * t->pad - t->k) / t->stride + 1;
    const int lanes = lanes_of(t->o), taps = t->k * t->k;
    const float v_reset = t->soft ? 0 : 0.125f;
    const Expected found = {room(4u * lanes * oh * ow), room((size_t)lanes * oh * ow)};
    for (int y = 0; y < oh; y++)
        for (int xx = 0; xx < ow; xx++)
            for (int o = 0; o < t->o; o++) {
                volatile float sum = sums ? 0 : bias[o], h; /* volatile: each operation rounds, whatever the compiler would like */
                for (int ky = 0; ky < t->k; ky++)
                    for (int kx = 0; kx < t->k; kx++)
                        for (int c = 0; c < t->c; c++) {
                            const int iy = y * t->stride + ky - t->pad, ix = xx * t->stride + kx - t->pad;
                            if (iy < 0 || iy >= t->h || ix < 0 || ix >= t->w) continue;
                            const float in_value = x[(c * t->h + iy) * t->w + ix];
                            if (in_value == 0) continue;
                            volatile float product = in_value * weight[(o * t->c + c) * taps + ky * t->k + kx];
                            sum = sum + product;
                        }
                if (sums) sum = sum * scale[o], sum = sum + bias[o];
                const int i = (y * ow + xx) * lanes + o;
                volatile float a = v[i] - v_reset, b;
                switch (t->charge) {
                case CHARGE_IF: h = v[i] + sum; break;
                case CHARGE_FOLDED: b = v[i] * alpha[o], h = b + sum; break;
                case CHARGE_EXACT: a = sum - a, a = a * alpha[o], h = v[i] + a; break;
                default: a = a * alpha[o], b = v[i] - a, h = b + sum;
                }
                found.fired[i] = h >= 0.75f;
                found.v[i] = found.fired[i] ? (t->soft ? h - 0.75f : 0.125f) : h;
            }
    return found;
}

static int run_case(const Case *t, int path, int sums, float dense_from, int pairs, Pool *pool, int threads) {
    seed = 1 + 977 * (uint32_t)(t - cases) + (uint32_t)sums;
    const int ints = sums >= SUM_INT16, block = ints || t->c == 16 ? WIDE_BLOCK : BLOCK;
    const int as_bytes = ints && path >= 2 && path != 3;
    const int oh = (t->h + 2 * t->pad - t->k) / t->stride + 1, ow = (t->w + 2 * t->pad - t->k) / t->stride + 1;
    const int lanes = lanes_of(t->o), words = blocks_of(t->c), segments = (t->c + SEGMENT - 1) / SEGMENT, rows = t->h * segments;
    const int64_t capacity = (int64_t)t->w * (t->c < SEGMENT ? t->c : SEGMENT) + 64;
    float *x = room(sizeof(float) * t->c * t->h * t->w), *plain = room(sizeof(float) * t->o * t->c * t->k * t->k);
    float *weight = room(sizeof(float) * (lanes + 16) * t->c * t->k * t->k), *bias = room(4u * lanes), *alpha = room(4u * lanes);
    const int pixel = (t->c + 63) / 64 * 64, row_bytes = (t->w + 2 * t->pad + t->k + 16 * t->stride) * pixel;
    float *scale = room(4u * lanes);
    int8_t *bytes = room((size_t)(lanes + 16) * pixel * t->k * t->k);
    float *v = room(4u * lanes * oh * ow), *v_next = room(4u * lanes * oh * ow);
    int64_t at = 0, in = at, out, lists, index, values, dense;
    at += 8 * t->h * t->w * words + 64, at = (at + 63) / 64 * 64, out = at;
    at += 8 * oh * ow * blocks_of(t->o) + 64, at = (at + 63) / 64 * 64, lists = at;
    at += rows * capacity * 2 + 64, at = (at + 63) / 64 * 64, index = at;
    at += rows * (3 * (t->w + 1) + 1) * 4 + 64, at = (at + 63) / 64 * 64, values = at;
    at += rows * capacity * 4 + 64, at = (at + 63) / 64 * 64, dense = at;
    at += (int64_t)rows * t->w * SEGMENT * 4 + (int64_t)t->h * row_bytes + 64;
    char *arena = room((size_t)at);

    for (int i = 0; i < t->c * t->h * t->w; i++) x[i] = uniform() >= t->density ? 0 : !t->valued ? 1 : sums ? (float)(int)(4 * uniform()) : 4 * uniform() - 1;
    uint64_t *bits = (uint64_t *)(arena + in);
    for (int c = 0; c < t->c; c++)
        for (int p = 0; p < t->h * t->w; p++)
            if (x[c * t->h * t->w + p] != 0) bits[p * words + c / 64] |= 1ull << c % 64;
    const int taps = t->k * t->k;
    for (int o = 0; o < t->o; o++) {
        bias[o] = uniform() - 0.5f, alpha[o] = 0.2f + 0.6f * uniform();
        int L;
        const int first = piece(o, lanes, block, ints ? 32 : 16, &L);
        /* as large as every sum can be, for int16 */
        const float inputs = (float)(t->c * taps), most = sums == SUM_INT16 && inputs > 258 ? floorf(32767 / inputs) : 127;
        scale[o] = (0.5f + uniform()) / (most * sqrtf(inputs * t->density + 1));
        for (int c = 0; c < t->c; c++)
            for (int tap = 0; tap < taps; tap++) {
                float w = (uniform() - 0.45f) / sqrtf((float)(t->c * taps) * t->density + 1);
                if (sums) w = floorf((2 * uniform() - 0.9f) * most / 1.1f);
                plain[(o * t->c + c) * taps + tap] = w;
                const int64_t i = (int64_t)taps * t->c * first + ((int64_t)tap * t->c + c) * L + o - first;
                const int lane = o - first;     /* in pairs of bytes: 64 outputs, 32 pairs of output k plus 128 and output 32 + k */
                if (pairs)
                    ((int8_t *)weight)[i - lane + lane / 64 * 64 + lane % 32 * 2 + lane % 64 / 32] =
                        (int8_t)((int)w ^ (lane % 64 < 32 ? -128 : 0));
                else if (ints)
                    ((int16_t *)weight)[i] = (int16_t)w;
                else
                    weight[i] = w;
                if (ints) bytes[((int64_t)(o / 16 * taps + tap) * pixel + c / 4 * 4) * 16 + o % 16 * 4 + c % 4] = (int8_t)w;
            }
    }
    for (int p = 0; p < oh * ow; p++)
        for (int o = 0; o < t->o; o++) v[p * lanes + o] = 1.4f * uniform() - 0.4f;

    Op ops[2];
    memset(ops, 0, sizeof ops);
    ops[0] = (Op){.kind = OP_ACTIVE, .from = t->valued ? FROM_X : FROM_SPIKES, .ih = t->h, .iw = t->w, .ic = t->c, .oh = t->h,
                  .ow = t->w, .oc = t->c, .stride = t->stride, .items = rows, .parallel = 1, .in = in, .out = lists,
                  .index = index, .values = t->valued ? values : -1, .dense = t->valued || (ints && !as_bytes) ? -1 : dense, .pad = t->pad,
                  .dense_row = as_bytes ? row_bytes : 0,
                  .row_capacity = capacity, .dense_from = dense_from};
    ops[1] = ops[0];
    ops[1].kind = OP_CONV, ops[1].from = ops[0].from, ops[1].in = lists, ops[1].out = out;
    ops[1].oh = oh, ops[1].ow = ow, ops[1].oc = t->o, ops[1].kh = ops[1].kw = t->k, ops[1].pad = ops[1].pad_y = t->pad;
    ops[1].stride_y = t->stride, ops[1].dilation = ops[1].dilation_y = 1;
    ops[1].charge = t->charge, ops[1].soft = t->soft, ops[1].v_threshold = 0.75f, ops[1].v_reset = t->soft ? 0 : 0.125f;
    ops[1].tile_h = 2, ops[1].tile_w = 4, ops[1].weight = weight, ops[1].bias = bias, ops[1].alpha = alpha;
    ops[1].sums = sums, ops[1].scale = scale, ops[1].weight_bytes = bytes, ops[1].block = block;
    ops[1].pairs = pairs;
    ops[1].items = (oh + 1) / 2 * ((ow + 3) / 4) * ((t->o + block - 1) / block);
    const Program program = {.ops = ops, .count = 2, .states = 1, .path = path, .acc_floats = 2 * 16 * WIDE_BLOCK};
    const float *vs[1] = {v};
    float *nexts[1] = {v_next};
    int64_t stride[1] = {(int64_t)lanes * oh * ow};
    const Call call = {.x = x, .y = x, .v = vs, .v_next = nexts, .v_stride = stride, .rows = 1, .steps = 1};
    char *arenas[4] = {arena, arena, arena, arena};
    float *accs[4];
    for (int i = 0; i < threads; i++) accs[i] = room(4u * 2 * 16 * WIDE_BLOCK);
    plif_run(&program, pool, &call, arenas, accs);

    static Expected known[sizeof cases / sizeof *cases][SUM_INT32 + 1];
    Expected *expected = &known[t - cases][sums];
    if (!expected->v) *expected = plain_loop(t, sums, x, plain, bias, alpha, scale, v);
    int wrong = 0, spikes = 0;
    for (int p = 0; p < oh * ow; p++)
        for (int o = 0; o < t->o; o++) {
            const uint64_t word = ((uint64_t *)(arena + out))[p * blocks_of(t->o) + o / 64];
            const int i = p * lanes + o, fired = (int)(word >> o % 64 & 1);
            wrong += v_next[i] != expected->v[i] || fired != expected->fired[i];
            spikes += expected->fired[i];
        }
    if (wrong || spikes == 0 || spikes == oh * ow * t->o)
        printf("%s: case %d, sums %d, dense from %.1f, pairs %d: %d of %d differ, %d spikes\n", names[path], (int)(t - cases), sums,
               dense_from, pairs, wrong, oh * ow * t->o, spikes);
    for (int i = 0; i < threads; i++) free(accs[i]);
    free(scale), free(bytes);
    free(x), free(plain), free(weight), free(bias), free(alpha), free(v), free(v_next), free(arena);
    return wrong || spikes == 0;
}

int main(void) {
    int failed = 0;
    Pool *pool = plif_pool_new(3);
    for (int path = 0; path < 5; path++) {
        if (!(plif_paths(1) >> path & 1)) continue;
        int bad = 0;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
            for (int sums = SUM_FLOAT; sums <= (cases[i].valued ? SUM_EXACT : SUM_INT32); sums++)
                for (int dense = 0; dense < 3; dense++)
                    for (int threads = 1; threads <= 3; threads += 2)
                        for (int pairs = 0; pairs <= (sums >= SUM_INT16 && lanes_of(cases[i].o) % BLOCK == 0); pairs++)
                            bad += run_case(&cases[i], path, sums, dense == 2 ? cases[i].density : dense ? 0.0f : 2.0f, pairs,
                                            threads > 1 ? pool : NULL, threads);
        printf("%s: %s\n", names[path], bad ? "FAILED" : "ok");
        failed |= bad;
    }
    plif_pool_free(pool);
    return failed != 0;
}
