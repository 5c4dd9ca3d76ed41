/* Small pieces of text, for the grammars of framing, decisions, resets and filters. In ASCII. */
#pragma once

#include <stdint.h>
#include <string.h>

/* Characters of a longer text, not ended by a zero. */
typedef struct {
    const char *at;
    int n;
} Text;

enum { MOST_TEXT = 4096 };
#define NO_TIME "is not a time; expected a whole number of microseconds from 1 on, with us, ms or s, as 10ms"
#define SHORT(text) (text).n > 80 ? 80 : (text).n, (text).at /* for %.*s: as much of it as a message shows */
#define MOST_TIME_US ((int64_t)1 << 50)

static inline int is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f); }
static inline int is_digit(char c) { return c >= '0' && c <= '9'; }

static inline Text text_of(const char *s) { return (Text){s, (int)strnlen(s, MOST_TEXT)}; }

Text plif_strip(Text t);
int plif_is_word(Text t, const char *word);
/* Cuts *rest at the first `mark`: gives what is before it, leaves what is behind it. `found` says whether there was
 * one. */
Text plif_cut(Text *rest, char mark, int *found);
/* A whole number of at most `digits` digits; -1 where it is none. */
int64_t plif_whole(Text t, int digits);
/* "10.5" -> 105 and 1: digits without the point, and how many come behind it; at most `before` before it and 9
 * behind. 0 where it is no such number. */
int plif_decimal(Text t, int before, int64_t *digits, int *behind);
/* "10 ms" -> "10", and how many us its unit has; "" where it has none. */
Text plif_without_unit(Text t, int64_t *us);
/* "10ms" -> 10000, in us; 0 where it is no whole number of microseconds from 1 to MOST_TIME_US. */
int64_t plif_text_us(Text t);
