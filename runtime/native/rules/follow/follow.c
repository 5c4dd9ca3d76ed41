#include "follow.h"
#include "../../error.h"
#include "../frames/framer.h"

#include <stdlib.h>
#include <string.h>

enum { ONE = 1 << 15, LEAK = 1311, RISE = 103219 /* 9 * 0.35 ONE */, FIRST = 5, LOOK = 2, HOLD = 4 };
enum { ENOUGH = 40, DEAD = 14, LARGE = 85, OF = 128 }; /* cells and lengths in a picture of 128 x 128 */
enum { FAR_AWAY = 1 << 30, NUMBERS = sizeof(FollowState) / sizeof(float) };

static int64_t cells_of(const Follow *f) { return (int64_t)f->shape[1] * f->shape[2]; }

int plif_follow_init(Follow *f, const Framing *framing, const int shape[3], int width, int height, int upright,
                     const int64_t *of_p) {
    *f = (Follow){.framing = *framing, .width = width, .height = height, .upright = upright, .of_p = of_p};
    if (!framing->follow) return 0;
    memcpy(f->shape, shape, sizeof f->shape);
    f->of_x = malloc((size_t)width * sizeof *f->of_x);
    f->of_y = malloc((size_t)height * sizeof *f->of_y);
    f->sum = malloc((size_t)(2 * cells_of(f) + shape[2]) * sizeof *f->sum);
    f->none = calloc((size_t)shape[2], sizeof *f->none);
    f->along = malloc(2 * (size_t)(shape[1] + shape[2]) * sizeof *f->along);
    if (f->of_x && f->of_y && f->sum && f->none && f->along) return 0;
    plif_follow_free(f);
    return plif_fail(PLIF_NO_MEMORY, "no memory for a view that follows, of a sensor of %d x %d", width, height);
}

void plif_follow_free(Follow *f) {
    free(f->of_x);
    free(f->of_y);
    free(f->sum);
    free(f->none);
    free(f->along);
    f->of_x = f->of_y = NULL;
    f->sum = f->none = NULL;
    f->along = NULL;
}

int64_t plif_follow_floats(const Follow *f) { return f->framing.follow ? cells_of(f) + NUMBERS : 0; }

void plif_follow_bind(Follow *f, float *memory) {
    f->s = (FollowState *)memory;
    f->map = (uint32_t *)memory + NUMBERS;
}

void plif_follow_begin(Follow *f) {
    const int w = f->shape[2], h = f->shape[1];
    memset(f->map, 0, (size_t)cells_of(f) * sizeof *f->map);
    *f->s = (FollowState){.x2 = w / 2 * 2, .y2 = 83 * h / OF * 2, .diagonal2 = FAR_AWAY};
    plif_follow_restored(f);
}

void plif_follow_restored(Follow *f) {
    plif_view_enlarged(&f->framing, f->shape, f->width, f->height, f->upright, f->s->x2, f->s->y2, f->of_x, f->of_y,
                       &f->stride_x, &f->stride_y);
}

int plif_follow_possible(const Follow *f, const char *memory) {
    FollowState s;
    uint32_t most = 0;
    memcpy(&s, memory, sizeof s);
    memory += sizeof s;
    for (int64_t i = 0; i < cells_of(f); i++, memory += sizeof most) {
        uint32_t m;
        memcpy(&m, memory, sizeof m);
        most = m > most ? m : most;
    }
    return 0 <= s.x2 && s.x2 <= 2 * f->shape[2] && 0 <= s.y2 && s.y2 <= 2 * f->shape[1] && 0 <= s.diagonal2 &&
           s.diagonal2 <= FAR_AWAY && 0 <= s.pieces && s.pieces <= FIRST + LOOK && 0 <= s.moved && s.moved < HOLD &&
           (s.known & ~1) == 0 && most <= (1u << 16) / LEAK * ONE + ONE;
}

enum { COARSE = 1 << 10 };

/* The largest number, from `from` on in steps of `lowest`, that at most `most` of the values are below: bit by bit. */
static int32_t most_below(const int32_t *values, int64_t n, int32_t from, int highest, int lowest, int64_t most) {
    for (int bit = highest; bit >= lowest; bit >>= 1) {
        const int32_t tried = from + bit;
        int32_t less = 0;
        for (int64_t i = 0; i < n; i++) less += values[i] < tried;
        if (less <= most) from = tried;
    }
    return from;
}

/* The middle one of the sums, number n / 2 from 0 on: first to a multiple of COARSE, then exactly, among the few that are
 * near. near: room for n */
static uint32_t median_of(const uint32_t *sums, int64_t n, int32_t *near) {
    const int32_t *values = (const int32_t *)sums; /* below 2^25 */
    const int32_t from = most_below(values, n, 0, 1 << 24, COARSE, n / 2);
    int64_t few = 0, less = 0;
    for (int64_t i = 0; i < n; i++) {
        near[few] = values[i];
        less += values[i] < from;
        few += values[i] >= from && values[i] < from + COARSE;
    }
    return (uint32_t)most_below(near, few, from, COARSE / 2, 1, n / 2 - less);
}

/* S: first of three cells above each other, then of three beside each other. */
static void add_neighbours(Follow *f) {
    const int64_t w = f->shape[2], h = f->shape[1];
    uint32_t *restrict three = f->sum + w * h;
    for (int64_t y = 0; y < h; y++) {
        const uint32_t *m = f->map + y * w, *above = y > 0 ? m - w : f->none, *below = y + 1 < h ? m + w : f->none;
        for (int64_t x = 0; x < w; x++) three[x] = above[x] + m[x] + below[x];
        uint32_t *restrict sum = f->sum + y * w;
        for (int64_t x = 1; x + 1 < w; x++) sum[x] = three[x - 1] + three[x] + three[x + 1];
        sum[0] = three[0] + (w > 1 ? three[1] : 0);
        if (w > 1) sum[w - 1] = three[w - 2] + three[w - 1];
    }
}

/* The first place at which the sum of `of` up to it is at least so many twentieths of all. */
static int reaches(const uint64_t *of, int n, uint64_t twentieths) {
    uint64_t all = 0, sum = 0;
    int i = 0;
    for (int k = 0; k < n; k++) all += of[k];
    while (i < n - 1 && 20 * (sum += of[i]) < twentieths * all) i++;
    return i;
}

/* The place at which number k, from 0 on, is, where `of` says how many are at each. */
static int place_of(const uint64_t *of, int n, uint64_t k) {
    int i = 0;
    for (uint64_t sum = of[0]; i < n - 1 && sum <= k; sum += of[i]) i++;
    return i;
}

static void look(Follow *f) {
    const int w = f->shape[2], h = f->shape[1];
    /* of rows: cells of B, and m over them; of columns: cells in the lowest third, and m over all */
    uint64_t *rows = f->along, *rows_m = rows + h, *low = rows_m + h, *columns_m = low + w, count = 0, lowest = 0;
    FollowState *s = f->s;
    memset(rows, 0, 2 * (size_t)(w + h) * sizeof *rows);
    add_neighbours(f);
    const uint32_t noise = median_of(f->sum, cells_of(f), (int32_t *)f->sum + cells_of(f));
    const uint32_t least = noise + RISE > (5 * noise + 1) / 2 ? noise + RISE : (5 * noise + 1) / 2; /* of S in B */
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            if (f->sum[y * w + x] < least) continue;
            rows[y]++;
            rows_m[y] += f->map[y * w + x];
            columns_m[x] += f->map[y * w + x];
        }
    for (int y = 0; y < h; y++) count += rows[y];
    if (count * OF * OF < (uint64_t)(ENOUGH * cells_of(f))) return;
    const int64_t wide = reaches(columns_m, w, 19) - reaches(columns_m, w, 1),
                  high = reaches(rows_m, h, 19) - reaches(rows_m, h, 1);
    s->diagonal2 = (int32_t)(wide * wide + high * high);
    for (int y = place_of(rows, h, 2 * count / 3); y < h; y++) {
        for (int x = 0; x < w; x++) low[x] += f->sum[y * w + x] >= least;
        lowest += rows[y];
    }
    const int32_t x2 = 2 * place_of(low, w, lowest / 2) + 1, y2 = 2 * place_of(rows, h, count / 2) + 1;
    const int64_t far_x = 8 * OF * (int64_t)abs(x2 - s->x2), far_y = 8 * OF * (int64_t)abs(y2 - s->y2);
    s->moved = far_x > 10 * DEAD * w || far_y > 10 * DEAD * h ? s->moved + 1 : 0;
    if (s->known && s->moved < HOLD) return;
    s->x2 = x2;
    s->y2 = y2;
    s->moved = 0;
    s->known = 1;
    plif_follow_restored(f);
}

/* A step has ended: x, the whole picture of it alone. */
static void see(Follow *f, const float *restrict x) {
    const int64_t cells = cells_of(f);
    const float *restrict other = f->shape[0] == 2 ? x + cells : x;
    uint32_t *restrict m = f->map;
    for (int64_t i = 0; i < cells; i++) {
        const uint32_t active = x[i] + other[i] > 0;
        m[i] += active * ONE - ((m[i] * LEAK + 65535u) >> 16);
    }
    if (++f->s->pieces > FIRST + LOOK) f->s->pieces = FIRST + 1;
    if (f->s->pieces >= FIRST && f->s->pieces % LOOK == 0) look(f);
}

void plif_follow_end(Follow *f, const float *counts, plif_input *frame) {
    const double w = f->shape[2], h = f->shape[1], shown = 5. / 8;
    const int64_t left = f->shape[2] / 2, above = 83 * f->shape[1] / OF; /* cells before the middle of the window */
    const int gap = (frame->flags & (PLIF_GAP | PLIF_AFRESH)) != 0;
    const int is_small = OF * OF * (int64_t)f->s->diagonal2 <= LARGE * LARGE * cells_of(f);
    if (!gap && is_small) frame->flags |= PLIF_FOLLOWED;
    frame->window[0] = f->s->x2 / 2. / w - shown * (double)left / w;
    frame->window[1] = f->s->y2 / 2. / h - shown * (double)above / h;
    frame->window[2] = frame->window[3] = shown;
    if (gap) plif_follow_begin(f);
    see(f, counts);
}
