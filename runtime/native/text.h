/* Small pieces of text, for the grammars of framing, decisions and resets. In ASCII. */
#ifndef PLIF_TEXT_H
#define PLIF_TEXT_H

#include <stdint.h>
#include <string.h>

/* Characters of a longer text, not ended by a zero. */
typedef struct {
    const char *at;
    int n;
} Text;

enum { MOST_TEXT = 4096 };
#define NO_TIME "is not a time; expected a whole number of microseconds from 1 on, with us, ms or s, as 10ms"
#define SHORT(text) (text).n > 80 ? 80 : (text).n, (text).at      /* for %.*s: as much of it as a message shows */
#define MOST_TIME_US ((int64_t)1 << 50)

static inline int is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f); }
static inline int is_digit(char c) { return c >= '0' && c <= '9'; }

static inline Text text_of(const char *s) { return (Text){s, (int)strnlen(s, MOST_TEXT)}; }

static inline Text strip(Text t) {
    for (; t.n && is_space(t.at[0]); t.at++, t.n--) {}
    for (; t.n && is_space(t.at[t.n - 1]); t.n--) {}
    return t;
}

static inline int is_word(Text t, const char *word) { return (int)strlen(word) == t.n && !memcmp(t.at, word, (size_t)t.n); }

/* Cuts *rest at the first `mark`: gives what is before it, leaves what is behind it. `found` says whether there was one. */
static inline Text cut(Text *rest, char mark, int *found) {
    const char *at = rest->n ? memchr(rest->at, mark, (size_t)rest->n) : 0;
    const Text before = {rest->at, at ? (int)(at - rest->at) : rest->n};
    *found = at != 0;
    *rest = at ? (Text){at + 1, rest->n - before.n - 1} : (Text){rest->at + rest->n, 0};
    return before;
}

/* A whole number of at most `digits` digits; -1 where it is none. */
static inline int64_t whole(Text t, int digits) {
    int64_t value = 0;
    if (t.n < 1 || t.n > digits) return -1;
    for (int i = 0; i < t.n; i++) {
        if (!is_digit(t.at[i])) return -1;
        value = 10 * value + (t.at[i] - '0');
    }
    return value;
}

/* "10.5" -> 105 and 1: digits without the point, and how many come behind it; at most `before` before it and 9 behind. 0 where
 * it is no such number. */
static inline int decimal(Text t, int before, int64_t *digits, int *behind) {
    Text rest = t;
    int point;
    const Text front = cut(&rest, '.', &point);
    const int64_t a = whole(front, before);
    if (a < 0 || (point && whole(rest, 9) < 0)) return 0;
    for (; rest.n > 1 && rest.at[rest.n - 1] == '0'; rest.n--) {}
    const int64_t b = point ? whole(rest, 9) : 0;
    *behind = point ? rest.n : 0;
    *digits = a;
    if (!point) return 1;
    int64_t scale = 1;
    for (int i = 0; i < rest.n; i++) scale *= 10;
    if (a > (INT64_MAX - b) / scale) return 2; /* too long for 64 bits: a time that is too long anyway */
    *digits = a * scale + b;
    return 1;
}

/* "10ms" -> 10000, in us; 0 where it is no whole number of microseconds from 1 to MOST_TIME_US. */
static inline int64_t time_us(Text t) {
    int64_t unit = 1000000, digits;
    int behind;
    if (t.n < 2 || t.at[t.n - 1] != 's') return 0;
    t.n--;
    if (t.at[t.n - 1] == 'm') unit = 1000, t.n--;
    else if (t.at[t.n - 1] == 'u') unit = 1, t.n--;
    for (; t.n && is_space(t.at[t.n - 1]); t.n--) {}
    if (decimal(t, 15, &digits, &behind) != 1) return 0;
    for (; behind && digits % 10 == 0; behind--) digits /= 10;
    for (; behind && unit > 1; behind--) unit /= 10;
    if (behind || digits < 1 || digits > MOST_TIME_US / unit) return 0;
    return digits * unit;
}

#endif
