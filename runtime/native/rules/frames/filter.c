/* The grammar of filters, and their chain; tests/specification/filters.py says what each does, and a test compares. */
#include "filter.h"
#include "collect.h"
#include "../../error.h"

#include <stdio.h>
#include <stdlib.h>

#define MOST_PIXELS ((int64_t)1 << 24) /* of a filter that remembers something of each; 4096 x 4096 */
#define LEARN_US ((int64_t)2000000)
enum { BLOCK = 1024, NAMED = 8 };

struct Filters {
    int width, height, count; /* of what comes in; filters */
    Filter each[];
};

#define REFUSE(why, ...) return plif_fail(PLIF_BAD_ARGUMENT, "--filter %.*s: " why, FILTER_PART(part), __VA_ARGS__)
#define EXPECT(expected) REFUSE("%s", "expected " expected)

/* --- one filter: `argument` is what follows its colon, at NULL where there is none --- */

/* Room for so many bytes, and `size` for each pixel with a border of `edge` pixels around all. */
static int remember(Filter *f, Text part, int64_t bytes, int64_t size, int edge) {
    if (pixels_of(f) > MOST_PIXELS)
        REFUSE(
            "remembers every pixel, too many of a %dx%d sensor; expected at most %lld; put roi: or down: before it, or give the sensor's size "
            "with --sensor",
            f->width, f->height, (long long)MOST_PIXELS);
    f->bytes = bytes + size * (f->width + 2 * edge) * (f->height + 2 * edge);
    f->memory = calloc((size_t)f->bytes, 1);
    return f->memory ? 0 : plif_fail(PLIF_NO_MEMORY, "no memory for a filter of a %dx%d sensor", f->width, f->height);
}

static int read_time(Filter *f, Text part, Text argument, const char *what) {
    f->us = plif_text_us(argument);
    if (f->us) return 0;
    REFUSE("%s, '%.*s', " NO_TIME, what, SHORT(argument));
}

/* "2s", "1.2.3 ms": what would be a time, rather than a file. */
static int looks_like_time(Text t) {
    int64_t unit;
    int digits = 0;
    t = plif_without_unit(t, &unit);
    while (digits < t.n && (is_digit(t.at[digits]) || t.at[digits] == '.')) digits++;
    return t.n && digits == t.n;
}

static int make_hot(Filter *f, Text part, Text argument) {
    const int is_named = argument.at && argument.n && !looks_like_time(argument);
    TRY(remember(f, part, sizeof(Hot), is_named ? 1 : 1 + sizeof(int64_t), 0));
    if (is_named) return plif_filter_list(part, argument, f->width, f->height, hot_mask(f));
    if (argument.at && !argument.n) EXPECT("hot, hot:2s or hot:FILE, a list of pixels");
    f->us = LEARN_US;
    hot_of(f)->learns = 1;
    return argument.at ? read_time(f, part, argument, "the time to learn in") : 0;
}

static int make_timed(Filter *f, Text part, Text argument) {
    const int is_refractory = f->kind == FILTER_REFRACTORY;
    if (!argument.n)
        REFUSE("a time is missing; expected as in %s", is_refractory ? "refractory:1ms" : "background:5ms");
    TRY(read_time(f, part, argument, "the time"));
    return remember(f, part, 0, sizeof(uint64_t), !is_refractory);
}

static int make_roi(Filter *f, Text part, Text argument) {
    const int width = f->width, height = f->height, side = width < height ? width : height;
    int64_t corner[4] = {(width - side) / 2, (height - side) / 2};
    if (plif_is_word(argument, "square")) {
        corner[2] = corner[0] + side;
        corner[3] = corner[1] + side;
    } else {
        int more = argument.n > 0, fine = 1;
        for (int i = 0; i < 4; i++) {
            corner[i] = more ? plif_whole(i < 3 ? plif_cut(&argument, ':', &more) : argument, 5) : -1;
            if (corner[i] < 0) fine = 0;
        }
        if (!fine) EXPECT("roi:X0:Y0:X1:Y1 or roi:square");
    }
    if (corner[0] >= corner[2] || corner[2] > width || corner[1] >= corner[3] || corner[3] > height)
        REFUSE("is not inside the %dx%d sensor; expected X0 < X1 <= %d and Y0 < Y1 <= %d", width, height, width,
               height);
    f->move.x0 = (uint32_t)corner[0];
    f->move.y0 = (uint32_t)corner[1];
    f->out_width = (int)(corner[2] - corner[0]);
    f->out_height = (int)(corner[3] - corner[1]);
    f->move.width = (uint32_t)f->out_width;
    f->move.height = (uint32_t)f->out_height;
    return 0;
}

static int make_down(Filter *f, Text part, Text argument) {
    const int k = (int)plif_whole(argument, 4);
    if (k < 1 || argument.at[0] == '0') EXPECT("down:K with a whole number K, as down:2");
    f->move.part = (((uint64_t)1 << 32) + (uint64_t)k - 1) / (uint64_t)k;
    f->out_width = (f->width + k - 1) / k;
    f->out_height = (f->height + k - 1) / k;
    return 0;
}

static void mirror(uint32_t size, uint32_t *from, uint32_t *step) {
    *from = size - 1;
    *step = UINT32_MAX;
}

static int make_flip(Filter *f, Text part, Text argument) {
    const int is_x = plif_is_word(argument, "x");
    if (!is_x && !plif_is_word(argument, "y")) EXPECT("flip:x or flip:y");
    if (is_x)
        mirror((uint32_t)f->width, &f->move.x, &f->move.step_x);
    else
        mirror((uint32_t)f->height, &f->move.y, &f->move.step_y);
    return 0;
}

/* Clockwise as a person sees it, y down: 90 is (x, y) -> (H-1-y, x), 270 is (y, W-1-x). */
static int make_rotate(Filter *f, Text part, Text argument) {
    const int64_t degrees = plif_whole(argument, 3);
    if ((degrees != 90 && degrees != 180 && degrees != 270) || argument.at[0] == '0')
        EXPECT("rotate:90, rotate:180 or rotate:270");
    if (degrees != 90) mirror((uint32_t)f->width, &f->move.x, &f->move.step_x);
    if (degrees != 270) mirror((uint32_t)f->height, &f->move.y, &f->move.step_y);
    if (degrees == 180) return 0;
    f->move.exchange = 1;
    f->out_width = f->height;
    f->out_height = f->width;
    return 0;
}

static int make_swap(Filter *f, Text part, Text argument) {
    if (argument.at) REFUSE("%s", "takes nothing after a colon");
    f->move.invert = 1;
    return 0;
}

static int filter_move(Filter *f, uint8_t *events, uint16_t *left, int n) {
    const Move m = f->move;
    int still = 0;
    for (int i = 0; i < n; i++) {
        uint8_t *at = events + left[i] * EVENT;
        const Event e = event_get(at);
        const uint32_t from_x = e.x - m.x0, from_y = e.y - m.y0; /* below zero is past every end */
        const uint16_t to_x = (uint16_t)(m.x + m.step_x * (uint32_t)(from_x * m.part >> 32));
        const uint16_t to_y = (uint16_t)(m.y + m.step_y * (uint32_t)(from_y * m.part >> 32));
        event_put(at, e.t, m.exchange ? to_y : to_x, m.exchange ? to_x : to_y, m.invert ? !at[12] : at[12]);
        left[still] = left[i];
        still += from_x < m.width && from_y < m.height;
    }
    return still;
}

/* --- the chain --- */

static const struct {
    const char *name;
    int (*make)(Filter *f, Text part, Text argument);
    int (*pass)(Filter *f, const uint8_t *events, uint16_t *left, int n); /* NULL: it moves events */
} kinds[FILTER_KINDS] = {
    {"hot", make_hot, plif_filter_hot},
    {"refractory", make_timed, plif_filter_refractory},
    {"background", make_timed, plif_filter_background},
    {"roi", make_roi, NULL},
    {"down", make_down, NULL},
    {"flip", make_flip, NULL},
    {"rotate", make_rotate, NULL},
    {"swap", make_swap, NULL},
};

static int add(Filters *f, const char *text, Text part, int width, int height) {
    Text argument = part;
    int colon, kind = 0;
    const Text name = plif_cut(&argument, ':', &colon);
    while (kind < FILTER_KINDS && !plif_is_word(name, kinds[kind].name)) kind++;
    if (kind == FILTER_KINDS)
        return plif_fail(
            PLIF_BAD_ARGUMENT,
            "--filter %.200s: '%.*s' is no filter; expected hot, refractory, background, roi, down, flip, rotate, swap",
            text, SHORT(name));
    Filter *each = f->each + f->count++;
    *each = (Filter){.kind = kind, .width = width, .height = height, .out_width = width, .out_height = height};
    each->move = (Move){
        .width = (uint32_t)width, .height = (uint32_t)height, .part = (uint64_t)1 << 32, .step_x = 1, .step_y = 1};
    return kinds[kind].make(each, part, colon ? argument : (Text){NULL, 0});
}

int plif_filters_make(const char *text, int width, int height, Filters **made) {
    *made = NULL;
    if (width < 1 || height < 1 || width > 65536 || height > 65536)
        return plif_fail(PLIF_BAD_ARGUMENT, "a sensor of %d x %d; expected 1 x 1 to 65536 x 65536", width, height);
    if (strnlen(text, MOST_TEXT) == MOST_TEXT)
        return plif_fail(PLIF_BAD_ARGUMENT, "--filter %.80s: a text of %d characters or more", text, MOST_TEXT);
    Text rest = text_of(text);
    size_t most = 1;
    for (int i = 0; i < rest.n; i++) most += text[i] == ',';
    Filters *f = calloc(1, sizeof *f + most * sizeof *f->each);
    if (!f) return plif_fail(PLIF_NO_MEMORY, "no memory for filters");
    f->width = width;
    f->height = height;
    int more = 1, failed = 0;
    while (more && !failed) {
        failed = add(f, text, plif_strip(plif_cut(&rest, ',', &more)), width, height);
        if (!failed) plif_filters_sensor(f, &width, &height);
    }
    if (failed)
        plif_filters_free(f);
    else
        *made = f;
    return failed;
}

void plif_filters_free(Filters *f) {
    for (int i = 0; f && i < f->count; i++) free(f->each[i].memory);
    free(f);
}

void plif_filters_sensor(const Filters *f, int *width, int *height) {
    *width = f->each[f->count - 1].out_width;
    *height = f->each[f->count - 1].out_height;
}

void plif_filters_begin(Filters *f) {
    for (Filter *each = f->each; each < f->each + f->count; each++) {
        each->has_learnt = 0;
        if (!each->us) continue; /* it remembers nothing, or the pixels of a file */
        memset(each->memory, 0, (size_t)each->bytes);
        if (each->kind == FILTER_HOT) hot_of(each)->learns = 1;
    }
}

int64_t plif_filters_apply(Filters *f, uint8_t *events, int64_t count, uint8_t *passed) {
    int64_t pass = 0;
    for (; count > 0; count -= BLOCK, events += BLOCK * EVENT, passed += BLOCK) {
        const int block = count < BLOCK ? (int)count : BLOCK;
        uint16_t left[BLOCK]; /* numbers of the events that have passed so far */
        int n = 0;
        for (int i = 0; i < block; i++) {
            const Event e = event_get(events + i * EVENT);
            const int comes = passed[i] == 1, here = e.x < f->width && e.y < f->height;
            passed[i] = comes ? here ? 0 : 2 : passed[i];
            left[n] = (uint16_t)i;
            n += comes & here;
        }
        for (Filter *each = f->each; each < f->each + f->count; each++)
            n = kinds[each->kind].pass ? kinds[each->kind].pass(each, events, left, n)
                                       : filter_move(each, events, left, n);
        for (int i = 0; i < n; i++) passed[left[i]] = 1;
        pass += n;
    }
    return pass;
}

/* The pixels that a filter has found hot, at most NAMED of them by name. */
static void write_note(const Filter *f, char *text, size_t bytes) {
    const uint8_t *mask = hot_mask(f);
    char named[NAMED * 20] = "", more[32] = "";
    int64_t found = 0;
    size_t used = 0;
    for (int64_t i = 0; i < pixels_of(f); i++) {
        if (!mask[i] || found++ >= NAMED) continue;
        used += (size_t)snprintf(named + used, sizeof named - used, "%s(%d, %d)", used ? ", " : "", (int)(i % f->width),
                                 (int)(i / f->width));
    }
    if (found > NAMED) snprintf(more, sizeof more, " and %lld more", (long long)(found - NAMED));
    snprintf(text, bytes, "hot pixels masked: %s%s", named, more);
}

int plif_filters_note(const Filters *f, int number, char *text, size_t bytes) {
    for (const Filter *each = f->each; each < f->each + f->count; each++) {
        if (!each->has_learnt || !memchr(hot_mask(each), 1, (size_t)pixels_of(each)) || number--) continue;
        write_note(each, text, bytes);
        return 1;
    }
    return 0;
}

int64_t plif_filters_bytes(const Filters *f) {
    int64_t bytes = 0;
    for (int i = 0; i < f->count; i++) bytes += f->each[i].bytes;
    return bytes;
}

void plif_filters_keep(const Filters *f, void *bytes) {
    char *to = bytes;
    for (const Filter *each = f->each; each < f->each + f->count; to += (each++)->bytes)
        if (each->bytes) memcpy(to, each->memory, (size_t)each->bytes);
}

int plif_filters_restore(Filters *f, const void *bytes) {
    const char *from = bytes;
    for (const Filter *each = f->each; each < f->each + f->count; from += (each++)->bytes)
        if (!plif_filter_possible(each, from))
            return plif_fail(PLIF_BAD_ARGUMENT, "filters: what they remember was damaged");
    from = bytes;
    for (Filter *each = f->each; each < f->each + f->count; from += (each++)->bytes)
        if (each->bytes) memcpy(each->memory, from, (size_t)each->bytes);
    return 0;
}
