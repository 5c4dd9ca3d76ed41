#include "formats.h"

enum { CHANGE_OFF = 0x0, CHANGE_ON = 0x1, KNOWN = 0xC503 }; /* EVT 2: bit k of KNOWN is type k */

static const int word_bytes[FILE_FORMATS] = {[FIVE_BYTES] = 5, [EVT2] = 4,   [EVT21] = 8,  [EVT3] = 2,
                                             [DAT] = 8,        [AEDAT2] = 8, [AEDAT31] = 8};

int64_t plif_word_bytes(int format) { return format < 0 || format >= FILE_FORMATS ? PLIF_WRONG : word_bytes[format]; }

/* Each takes one word, as five_bytes does; `to` is where its events go, and where the next go is given back. */

/* The half of a word of EVT 2.0 and 2.1 that has its type: whether its events can be used, of which it has `count`. */
static inline int evt2_event(Decoding *d, uint32_t word, int64_t count) {
    const uint32_t kind = word >> 28;
    if (kind == TIME_HIGH) d->high = unwrap(d, (int64_t)(word & 0xFFFFFFF) << 6, 34);
    d->unknown += !(KNOWN >> kind & 1);
    if (kind > CHANGE_ON) return 0;
    if (d->high < 0) d->untimed += count;
    return d->high >= 0;
}

static inline uint8_t *evt2(Decoding *d, const uint8_t *b, uint8_t *to) {
    const uint32_t word = little(b);
    if (!evt2_event(d, word, 1)) return to;
    return put(to, d->high | (word >> 22 & 0x3F), word >> 11 & 0x7FF, word & 0x7FF, word >> 28 == CHANGE_ON);
}

static inline int64_t bits_of_32(uint32_t b) {
    return bits_of_12(b & 0xFFF) + bits_of_12(b >> 12 & 0xFFF) + bits_of_12(b >> 24);
}

static inline uint8_t *evt21(Decoding *d, const uint8_t *b, uint8_t *to) {
    const uint32_t word = little(b + 4);
    uint32_t pixels = little(b);
    if (!evt2_event(d, word, bits_of_32(pixels))) return to;
    for (; pixels; pixels &= pixels - 1)
        to = put(to, d->high | (word >> 22 & 0x3F), (word >> 11 & 0x7FF) + (uint32_t)__builtin_ctz(pixels),
                 word & 0x7FF, word >> 28 == CHANGE_ON);
    return to;
}

static inline uint8_t *evt3(Decoding *d, const uint8_t *b, uint8_t *to) {
    Pixels pixels = evt3_word(d, little16(b));
    for (; pixels.bits; pixels.bits &= pixels.bits - 1)
        to = put(to, evt3_time(d), (uint32_t)pixels.x + (uint32_t)__builtin_ctz(pixels.bits), (uint32_t)d->row,
                 pixels.on);
    return to;
}

static inline uint8_t *dat(Decoding *d, const uint8_t *b, uint8_t *to) {
    const uint32_t data = little(b + 4);
    return put(to, unwrap(d, little(b), 32), data & 0x3FFF, data >> 14 & 0x3FFF, data >> 28 != 0);
}

static inline uint8_t *aedat2(Decoding *d, const uint8_t *b, uint8_t *to) {
    const uint32_t address = big(b);
    const int64_t t = unwrap(d, big(b + 4), 32);
    if (!(address >> 15)) return put(to, t, address >> 1 & 127, address >> 8 & 127, !(address & 1));
    d->no_pixel++;
    return to;
}

static inline uint8_t *aedat31(Decoding *d, const uint8_t *b, uint8_t *to) {
    const uint32_t data = little(b);
    if (data & 1 || d->believed)
        return put(to, (int64_t)(little(b + 4) + ((uint64_t)d->overflow << 31)), data >> 17, data >> 2 & 0x7FFF,
                   (data & 2) != 0);
    d->marked++;
    return to;
}

/* How many events one word may have. */
static inline int64_t one(const uint8_t *b) { return b != NULL; }
static inline int64_t most_evt21(const uint8_t *b) {
    return little(b + 4) >> 28 <= CHANGE_ON ? bits_of_32(little(b)) : 0;
}
static inline int64_t most_evt3(const uint8_t *b) { return evt3_most(little16(b)); }

int64_t plif_decode_most(int format, const uint8_t *bytes, int64_t count) {
    if (count < 0 || plif_word_bytes(format) < 0) return PLIF_WRONG;
    const int64_t words = count / word_bytes[format];
    int64_t most = 0;
    if (format == EVT21)
        for (int64_t i = 0; i < words; i++) most += most_evt21(bytes + i * word_bytes[EVT21]);
    else if (format == EVT3)
        for (int64_t i = 0; i < words; i++) most += most_evt3(bytes + i * word_bytes[EVT3]);
    else
        most = words;
    return most;
}

typedef struct {
    const uint8_t *bytes;
    int64_t count;
    uint8_t *out;
    int64_t room, *used;
} Job;

/* Inlined for each format, so that its loop calls nothing. */
static inline __attribute__((always_inline)) int64_t each(Decoding *state, Job job, int size, int most,
                                                          int64_t (*events_of)(const uint8_t *),
                                                          uint8_t *(*word)(Decoding *, const uint8_t *, uint8_t *)) {
    Decoding d = *state;
    const uint8_t *b = job.bytes, *const end = b + job.count / size * size;
    uint8_t *to = job.out, *const last = to + job.room * EVENT;
    for (; b < end; b += size) {
        if (last - to < most * EVENT && last - to < events_of(b) * EVENT) break;
        to = word(&d, b, to);
    }
    *state = d;
    *job.used = b - job.bytes;
    return (to - job.out) / EVENT;
}

int64_t plif_decode(int format, Decoding *state, const uint8_t *bytes, int64_t count, uint8_t *out, int64_t room,
                    int64_t *used) {
    const Job job = {bytes, count, out, room, used};
    if (count < 0 || room < 0 || room > INT64_MAX / EVENT || !decoding_sane(state)) return PLIF_WRONG;
    switch (format) {
    case FIVE_BYTES: return each(state, job, word_bytes[FIVE_BYTES], 1, one, five_bytes);
    case EVT2: return each(state, job, word_bytes[EVT2], 1, one, evt2);
    case EVT21: return each(state, job, word_bytes[EVT21], MOST_A_WORD, most_evt21, evt21);
    case EVT3: return each(state, job, word_bytes[EVT3], PIXELS, most_evt3, evt3);
    case DAT: return each(state, job, word_bytes[DAT], 1, one, dat);
    case AEDAT2: return each(state, job, word_bytes[AEDAT2], 1, one, aedat2);
    case AEDAT31: return each(state, job, word_bytes[AEDAT31], 1, one, aedat31);
    default: return PLIF_WRONG;
    }
}

int plif_aedat31_packet(const uint8_t *header, Packet *packet) {
    Packet p = {(int16_t)little16(header),    (int32_t)little(header + 4),  (int32_t)little(header + 12),
                (int32_t)little(header + 16), (int32_t)little(header + 20), (int32_t)little(header + 24)};
    *packet = p;
    return p.kind >= 0 && p.event_bytes > 0 && p.number >= 0 && p.number <= p.capacity && p.overflow >= 0 &&
           (p.kind != POLARITY || p.event_bytes == word_bytes[AEDAT31]);
}

int plif_any_valid(const uint8_t *events, int64_t count) {
    int found = 0;
    for (int64_t i = 0; i + word_bytes[AEDAT31] <= count; i += word_bytes[AEDAT31]) found |= events[i];
    return found & 1;
}
