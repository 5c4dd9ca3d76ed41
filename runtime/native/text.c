#include "text.h"

Text plif_strip(Text t) {
    for (; t.n && is_space(t.at[0]); t.at++, t.n--) {}
    for (; t.n && is_space(t.at[t.n - 1]); t.n--) {}
    return t;
}

int plif_is_word(Text t, const char *word) { return (int)strlen(word) == t.n && !memcmp(t.at, word, (size_t)t.n); }

Text plif_cut(Text *rest, char mark, int *found) {
    const char *at = rest->n ? memchr(rest->at, mark, (size_t)rest->n) : 0;
    const Text before = {rest->at, at ? (int)(at - rest->at) : rest->n};
    *found = at != 0;
    *rest = at ? (Text){at + 1, rest->n - before.n - 1} : (Text){rest->at + rest->n, 0};
    return before;
}

int64_t plif_whole(Text t, int digits) {
    int64_t value = 0;
    if (t.n < 1 || t.n > digits) return -1;
    for (int i = 0; i < t.n; i++) {
        if (!is_digit(t.at[i])) return -1;
        value = 10 * value + (t.at[i] - '0');
    }
    return value;
}

int plif_decimal(Text t, int before, int64_t *digits, int *behind) {
    Text rest = t;
    int point;
    const Text front = plif_cut(&rest, '.', &point);
    const int64_t a = plif_whole(front, before);
    if (a < 0 || (point && plif_whole(rest, 9) < 0)) return 0;
    for (; rest.n > 1 && rest.at[rest.n - 1] == '0'; rest.n--) {}
    const int64_t b = point ? plif_whole(rest, 9) : 0;
    *behind = point ? rest.n : 0;
    *digits = a;
    if (!point) return 1;
    int64_t scale = 1;
    for (int i = 0; i < rest.n; i++) scale *= 10;
    if (a > (INT64_MAX - b) / scale) return 2; /* too long for 64 bits: a time that is too long anyway */
    *digits = a * scale + b;
    return 1;
}

Text plif_without_unit(Text t, int64_t *us) {
    if (!t.n || t.at[t.n - 1] != 's') return (Text){t.at, 0};
    const char prefix = t.n > 1 ? t.at[t.n - 2] : 0;
    *us = prefix == 'm' ? 1000 : prefix == 'u' ? 1 : 1000000;
    t.n -= *us < 1000000 ? 2 : 1;
    for (; t.n && is_space(t.at[t.n - 1]); t.n--) {}
    return t;
}

int64_t plif_text_us(Text t) {
    int64_t unit, digits;
    int behind;
    t = plif_without_unit(t, &unit);
    if (plif_decimal(t, 15, &digits, &behind) != 1) return 0;
    for (; behind && digits % 10 == 0; behind--) digits /= 10;
    for (; behind && unit > 1; behind--) unit /= 10;
    if (behind || digits < 1 || digits > MOST_TIME_US / unit) return 0;
    return digits * unit;
}
