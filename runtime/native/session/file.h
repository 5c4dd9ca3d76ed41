/* The layout of a .plif file, little-endian; runtime/artifacts/plif_file/file.py says what each part is, and writes
 * it.
 *
 * A file is not believed: plif_file_open checks every offset and size against the size of the file, the facts
 * against each other, and the program for this processor with plif_program_check. What passes may be wrong, and
 * cannot do harm. */
#pragma once

#include "../engine/event.h"
#include "../plif.h"

#include <stddef.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "a .plif file is little-endian, and is used where it lies"
#endif

enum { FILE_VERSION = 3, FILE_PACKED, FILE_KEPT, FILE_PATHS = 5 };
enum section { CARD, STRINGS, STATES, PROGRAMS, OPERATIONS, ARRAYS, WEIGHTS, SECTIONS };

typedef struct {
    int64_t at, bytes;
} Section;

typedef struct {
    char magic[8];
    uint32_t version, header_bytes;
    int64_t file_bytes;
    Section sections[SECTIONS];
    int32_t c, h, w, classes, voters, T, is_static, states, rank, int8, upright;
    int32_t exit;   /* the margin of an early exit in billionths; 0: none */
    int32_t decide; /* 1: the last string is the rule of feeds */
    int32_t native; /* 1: the sensor of its training was as large as its input; 0: not so, or the file is older */
    int32_t keeps;  /* 1: the network notices when subnormal numbers are flushed */
    uint8_t zeros[28], sha256[32];
} FileHeader;

typedef struct {
    int32_t c, h, w;
    float initial;
} FileState;

typedef struct {
    int32_t path, operations;
    int64_t first, acc_floats, arena_bytes;
} FileProgram;

/* The fields of Op, in their order; a pointer is the number of an array, from 1 on. */
typedef struct {
    int32_t numbers[20];
    float reals[4];
    int32_t sums, block, pairs, eager, lines, once, registers, gives;
    int32_t stride_y, pad_y, dilation, dilation_y;
    int64_t places[8];
    int64_t weight, weight_bytes, bias, scale, alpha, code;
} FileOperation;

typedef struct {
    int64_t at, bytes;  /* in the weights */
    int32_t type, bits; /* bits: 0, or how many each number takes in the file */
} FileArray;
enum { ARRAY_FLOAT, ARRAY_INT16, ARRAY_INT8, ARRAY_PAIRS = 5, ARRAY_NIBBLES }; /* the types that may be packed */

_Static_assert(sizeof(FileHeader) == 256 && sizeof(FileState) == 16 && sizeof(FileProgram) == 32, "as in plif_file.py");
_Static_assert(offsetof(Op, weight) == offsetof(FileOperation, weight), "its numbers lie as those of Op");
_Static_assert(sizeof(FileOperation) == 256 && sizeof(FileArray) == 24, "as in plif_file.py");

struct plif_model {
    const char *base; /* the bytes of the file */
    int64_t bytes;
    void *copy, *map; /* what is to be given back; of a map, `bytes` */
    const FileHeader *header;
    const FileState *states;
    const char *framing, *decide; /* decide NULL: the file says none */
    const char **names;           /* the classes, then the states; into the file */
    int64_t *v_floats;            /* [states] */
    Op *ops;
    Buffer *buffers;          /* the arrays; of the packed ones those that the program reads, in memory of their own */
    int64_t arrays, unpacked; /* how many; bytes of that memory */
    Program program;          /* for the CPU path that was chosen */
};

/* Checks bytes that lie at a multiple of 64, and fills the model in; path: PATH_*, or -1 for the fastest. */
int plif_file_open(plif_model *model, const char *base, int64_t bytes, unsigned flags, int path);

/* The SHA-256 (FIPS 180-4) of two pieces of memory, one after the other. */
void plif_sha256(const void *head, int64_t head_bytes, const void *rest, int64_t rest_bytes, uint8_t digest[32]);

/* As plif_open_buffer, for the kernels of one path. */
plif_model *plif_open_for(const void *data, int64_t bytes, unsigned flags, int path);
