#include "formats.h"

enum { PACKET = 28, POLARITY = 1, OVERFLOW_ROW = 240, OVERFLOW_US = 1 << 13 };
enum { CHANGE_OFF = 0x0, CHANGE_ON = 0x1, HIGH = 0x8 };

static uint32_t little(const uint8_t *b) { return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24; }
static uint32_t big(const uint8_t *b) { return (uint32_t)b[3] | (uint32_t)b[2] << 8 | (uint32_t)b[1] << 16 | (uint32_t)b[0] << 24; }

static int64_t unwrap(Unwrapping *u, int64_t raw, int bits) {
    if (u->last >= 0 && raw - u->last < -((int64_t)1 << (bits - 1))) u->offset += (int64_t)1 << bits;
    u->last = raw;
    return raw + u->offset;
}

static uint8_t *put(uint8_t *to, int64_t t, uint32_t x, uint32_t y, int on) {
    event_put(to, t, (uint16_t)x, (uint16_t)y, (uint8_t)on);
    return to + EVENT;
}

/* Each takes one word; `to` is where its events go, and where the next go is given back. */

static uint8_t *five_bytes(Decoding *d, const uint8_t *b, uint8_t *to) {
    if (b[1] == OVERFLOW_ROW) {
        d->time.offset += OVERFLOW_US;
        return to;
    }
    return put(to, d->time.offset + ((int64_t)(b[2] & 0x7F) << 16 | b[3] << 8 | b[4]), b[0], b[1], b[2] >> 7);
}

static uint8_t *evt2(Decoding *d, const uint8_t *b, uint8_t *to) {
    const uint32_t word = little(b), kind = word >> 28;
    if (kind == HIGH) d->high = unwrap(&d->time, word & 0xFFFFFFF, 28);
    if (kind > CHANGE_ON || d->high < 0) return to;
    return put(to, d->high << 6 | (word >> 22 & 0x3F), word >> 11 & 0x7FF, word & 0x7FF, kind == CHANGE_ON);
}

static uint8_t *evt21(Decoding *d, const uint8_t *b, uint8_t *to) {
    const uint32_t word = little(b + 4), kind = word >> 28;
    if (kind == HIGH) d->high = unwrap(&d->time, word & 0xFFFFFFF, 28);
    if (kind > CHANGE_ON || d->high < 0) return to;
    for (uint32_t pixels = little(b); pixels; pixels &= pixels - 1)
        to = put(to, d->high << 6 | (word >> 22 & 0x3F), (word >> 11 & 0x7FF) + (uint32_t)__builtin_ctz(pixels), word & 0x7FF, kind == CHANGE_ON);
    return to;
}

static uint8_t *dat(Decoding *d, const uint8_t *b, uint8_t *to) {
    const uint32_t data = little(b + 4);
    return put(to, unwrap(&d->time, little(b), 32), data & 0x3FFF, data >> 14 & 0x3FFF, data >> 28 != 0);
}

static uint8_t *aedat2(Decoding *d, const uint8_t *b, uint8_t *to) {
    const uint32_t address = big(b);
    const int64_t t = unwrap(&d->time, big(b + 4), 32);
    return address >> 15 ? to : put(to, t, address >> 1 & 127, address >> 8 & 127, !(address & 1));
}

static uint8_t *aedat31(Decoding *d, const uint8_t *b, uint8_t *to) {
    const uint32_t data = little(b);
    if (!(data & 1) && !d->believed) return to;
    return put(to, (int64_t)little(b + 4) + (d->overflow << 31), data >> 17, data >> 2 & 0x7FFF, (data & 2) != 0);
}

static const struct {
    int bytes;
    uint8_t *(*decode)(Decoding *, const uint8_t *, uint8_t *);
} words[FILE_FORMATS] = {[FIVE_BYTES] = {5, five_bytes}, [EVT2] = {4, evt2}, [EVT21] = {8, evt21}, [EVT3] = {2, NULL},
                         [DAT] = {8, dat},              [AEDAT2] = {8, aedat2}, [AEDAT31] = {8, aedat31}};

void plif_format_begin(Decoding *d) {
    *d = (Decoding){.time = {-1, 0}, .high = -1, .evt3 = {.high = -1, .row = -1, .base = -1, .raw_high = -1}, .next = -1};
}

/* Goes to the next packet of an AEDAT 3.1 file that holds change events; 0 at the end, or where the file is damaged. */
static int next_packet(Decoding *d, FILE *file) {
    uint8_t h[PACKET], event[8];
    for (;; fseek(file, d->next, SEEK_SET)) {
        if (fread(h, 1, PACKET, file) != PACKET) return 0;
        const int kind = (int16_t)(h[0] | h[1] << 8);
        const int64_t bytes = (int32_t)little(h + 4), overflow = (int32_t)little(h + 12), capacity = (int32_t)little(h + 16),
                      number = (int32_t)little(h + 20), valid = (int32_t)little(h + 24);
        if (kind < 0 || bytes <= 0 || number < 0 || number > capacity || overflow < 0 || (kind == POLARITY && bytes != sizeof event)) return 0;
        const long body = ftell(file);
        d->next = body + (long)(capacity * bytes);
        if (kind != POLARITY || !number) continue;
        d->left = number;
        d->overflow = overflow;
        d->believed = valid == number;
        for (int64_t i = 0; d->believed && i < number && fread(event, sizeof event, 1, file) == 1; i++) d->believed = !(event[0] & 1);
        return !fseek(file, body, SEEK_SET);
    }
}

int64_t plif_format_read(enum file_format format, Decoding *d, FILE *file, uint8_t *out, int *ended) {
    uint8_t piece[PIECE_BYTES];
    const int size = words[format].bytes;
    size_t most = (size_t)(PIECE_BYTES / size);
    if (format == AEDAT31) {
        if (!d->left && ((d->next >= 0 && fseek(file, d->next, SEEK_SET)) || !next_packet(d, file))) {
            *ended = 1;
            return 0;
        }
        most = d->left < (int64_t)most ? (size_t)d->left : most;
        d->left -= (int64_t)most;
    }
    if (format == EVT21) most /= 4;     /* each may become 32 events */
    const size_t found = fread(piece, (size_t)size, most, file);
    *ended = found < most;
    if (format == EVT3) {
        const int64_t made = plif_evt3((const uint16_t *)(const void *)piece, (int64_t)found * size, &d->evt3, out, (int64_t)MOST_MADE * EVENT);
        d->evt3.untimed = d->evt3.unrowed = d->evt3.unbased = d->evt3.past_end = d->evt3.unknown = 0;
        return made;
    }
    uint8_t *to = out;
    for (size_t i = 0; i < found; i++) to = words[format].decode(d, piece + i * (size_t)size, to);
    return (to - out) / EVENT;
}
