/* Formats of recordings that need no library to read: their words, and the one decoder of them.
 * runtime/formats/ says what each field means, and reads their files. Nothing here trusts its input, as in
 * rules/frames/collect.c. */
#pragma once

#include "evt3.h"

#include <stdio.h>

enum file_format { FIVE_BYTES, EVT2, EVT21, EVT3, DAT, AEDAT2, AEDAT31, FILE_FORMATS };
enum { MOST_A_WORD = 32 }; /* events that a word of any format may have */

/* Bytes of a word; PLIF_WRONG where there is no such format. */
int64_t plif_word_bytes(int format);
/* An upper bound for the events in these bytes, of which a word that is cut has none. PLIF_WRONG as above. */
int64_t plif_decode_most(int format, const uint8_t *bytes, int64_t count);
/* Words -> events, packed (rules/frames/collect.h), into `out`, which has room for so many. Gives how many; `used` is how
 * many bytes were taken: whole words, and no word whose events do not fit. PLIF_WRONG for sizes that are none, and
 * for a state with numbers that would overflow: then nothing has been read or written. */
int64_t plif_decode(int format, Decoding *state, const uint8_t *bytes, int64_t count, uint8_t *out, int64_t room,
                    int64_t *used);

/* Which format a recording has, and what its header says. */
typedef struct {
    enum file_format format;
    long begin;                 /* where the header ends */
    int width, height, upright; /* width 0: the file does not say */
} Header;

/* size: of the file, in bytes. 0, or a code below zero and its text. */
int plif_header_read(Header *h, FILE *file, const char *path, int64_t size);

/* What the header of a packet of AEDAT 3.1 says. */
typedef struct {
    int64_t kind, event_bytes, overflow, capacity, number, valid;
} Packet;
enum { PACKET = 28, POLARITY = 1 };

/* Reads a header, PACKET bytes. 0 where it is damaged. */
int plif_aedat31_packet(const uint8_t *header, Packet *packet);
/* Whether one of these polarity events has its valid bit. */
int plif_any_valid(const uint8_t *events, int64_t count);
