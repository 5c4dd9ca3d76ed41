/* Filters between a source and the frames, in one line of text: `hot,refractory:1ms,roi:square`. docs/live.md has
 * the grammar, tests/specification/filters.py the rule of each. They work in the order in which they stand, each on
 * what the one before lets pass. How events are cut into packets never changes which of them pass. */
#pragma once

#include "../../text.h"

#include <stddef.h>

typedef struct Filters Filters; /* a chain, for the events of one sensor */

/* Reads the text (and the file of hot:FILE); 0, or a code below zero and its text. Free what was made. */
int plif_filters_make(const char *text, int width, int height, Filters **made);
void plif_filters_free(Filters *f);
void plif_filters_sensor(const Filters *f, int *width, int *height); /* of what comes out */
void plif_filters_begin(Filters *f); /* another recording: nothing is remembered but the pixels of hot:FILE */

/* events [count]: packed (see collect.h), in the sensor's coordinates; those that pass are moved in place. passed
 * [count]: 1 where an event comes in, and stays 1 where it passes. 0: filtered, its time goes on and its
 * coordinates mean nothing. 2: outside the sensor, as it came. Events that come with 0 or 2 are left alone. Gives
 * how many pass. */
int64_t plif_filters_apply(Filters *f, uint8_t *events, int64_t count, uint8_t *passed);

/* 1: `text`, of so many bytes, is note `number`, from 0 on: the pixels that have been found hot since the chain was made or begun.
 * 0: there is none of that number. */
int plif_filters_note(const Filters *f, int number, char *text, size_t bytes);

/* All that is remembered, for a snapshot: so many bytes, whatever has come. Restored into a chain of the same text
 * and sensor; a code below zero and its text where no such chain can have kept them: nothing has changed then. */
int64_t plif_filters_bytes(const Filters *f);
void plif_filters_keep(const Filters *f, void *bytes);
int plif_filters_restore(Filters *f, const void *bytes);

/* --- one filter of a chain --- */

/* Keeps the events of a region, and moves them: in it, (x - x0) / k and (y - y0) / k, each mirrored or not; then
 * exchanged or not. */
typedef struct {
    uint32_t x0, y0, width, height; /* the region */
    uint64_t part;                  /* ceil(2^32 / k): q = n part >> 32 is n / k for all n and k below 2^16 */
    uint32_t x, y, step_x, step_y;  /* x + step_x q, modulo 2^32: steps of 1, or of -1 where it is mirrored */
    int exchange, invert;
} Move;

typedef struct {
    int kind, width, height; /* of what comes in */
    int out_width, out_height;
    int64_t us;     /* the time that it was given; hot: to learn in, 0 where the pixels are named */
    int has_learnt; /* hot: since it was made or begun */
    Move move;
    int64_t bytes;    /* of what it remembers */
    uint64_t *memory; /* all zeros: nothing has come */
} Filter;

/* Times in memory are counted from the first that int64 holds; 0 is none. */
static inline uint64_t time_kept(int64_t t_us) {
    const uint64_t t = (uint64_t)t_us + ((uint64_t)1 << 63);
    return t ? t : 1;
}

/* What hot remembers begins with this; then int64 [pixels], the events of each while it learns (not where the
 * pixels are named), and uint8 [pixels], 1 where one is hot. refractory: uint64 [pixels], when an event last
 * passed. background: the latest event of each pixel, with a border of pixels without events around all. */
typedef struct {
    int64_t learns; /* the mask is not known yet */
    uint64_t begin; /* the time of the first event */
} Hot;

static inline int64_t pixels_of(const Filter *f) { return (int64_t)f->width * f->height; }
static inline Hot *hot_of(const Filter *f) { return (Hot *)f->memory; }
static inline int64_t *hot_counts(const Filter *f) { return (int64_t *)(hot_of(f) + 1); }
static inline uint8_t *hot_mask(const Filter *f) { return (uint8_t *)(hot_counts(f) + (f->us ? pixels_of(f) : 0)); }

/* Each lets some of the events left[0 .. n) pass, which stay in `left`: how many. */
int plif_filter_hot(Filter *f, const uint8_t *events, uint16_t *left, int n);
int plif_filter_refractory(Filter *f, const uint8_t *events, uint16_t *left, int n);
int plif_filter_background(Filter *f, const uint8_t *events, uint16_t *left, int n);

/* Whether such bytes can be what this filter remembers. */
int plif_filter_possible(const Filter *f, const char *bytes);

/* A text file of pixels, one x,y a line, # begins a comment: they become 1 in mask [height][width]. `part` names
 * the filter in errors. */
int plif_filter_list(Text part, Text file, int width, int height, uint8_t *mask);

#define FILTER_PART(part) (part).n > 200 ? 200 : (part).n, (part).at /* for %.*s */

enum { FILTER_HOT, FILTER_REFRACTORY, FILTER_BACKGROUND, FILTER_KINDS = 8 }; /* filter.c has all; those that remember */
