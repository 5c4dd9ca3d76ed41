/* From the bytes of a .plif file to a program that may run. file.h has the contract. */
#include "file.h"
#include "../error.h"
#include "../portable.h"
#include "../rules/frames/framing.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RECORDS = 1 << 20, MOST_NUMBERS = 1 << 28, MOST_STEPS = 1 << 20, MOST_ARENA = 1 << 30, SHA256_AT = 224 };
static const int64_t most_unpacked = (int64_t)1 << 31; /* bytes */

#define REQUIRE_FILE(holds, ...) \
    do { \
        if (!(holds)) return plif_fail(PLIF_BAD_FILE, __VA_ARGS__); \
    } while (0)

static const void *section(const plif_model *m, int which) { return m->base + m->header->sections[which].at; }

/* How many records of `size` bytes a section has; -1 where they do not fill it. */
static int64_t records(const plif_model *m, int which, size_t size) {
    const int64_t bytes = m->header->sections[which].bytes;
    return bytes % (int64_t)size ? -1 : bytes / (int64_t)size;
}

static int check_header(plif_model *m) {
    static const char magic[8] = {'P', 'L', 'I', 'F', '\r', '\n', 0x1a, '\n'};
    REQUIRE_FILE(m->bytes >= (int64_t)sizeof(FileHeader) && !memcmp(m->base, magic, sizeof magic),
                 "not a .plif file; make one with: plif export model.pt --to plif");
    const FileHeader *h = m->header = (const FileHeader *)m->base;
    if (!between(FILE_VERSION, h->version, FILE_KEPT))
        return plif_fail(PLIF_OTHER_VERSION,
                         "version %u of .plif files, and this library reads %d: export the model again",
                         (unsigned)h->version, FILE_KEPT);
    REQUIRE_FILE(h->header_bytes == sizeof(FileHeader) && h->file_bytes == m->bytes,
                 "the file has %lld bytes and says %lld: it was cut short or damaged", (long long)m->bytes,
                 (long long)h->file_bytes);
    for (int i = 0; i < SECTIONS; i++) {
        const Section s = h->sections[i];
        REQUIRE_FILE(between(sizeof(FileHeader), s.at, m->bytes) && between(0, s.bytes, m->bytes - s.at) &&
                         s.at % 64 == 0,
                     "part %d of the file would be %lld bytes at %lld of %lld", i, (long long)s.bytes, (long long)s.at,
                     (long long)m->bytes);
    }
    return 0;
}

/* The SHA-256 in the header is that of all other bytes. */
static int check_digest(const plif_model *m) {
    uint8_t found[32];
    plif_sha256(m->base, SHA256_AT, m->base + sizeof(FileHeader), m->bytes - (int64_t)sizeof(FileHeader), found);
    REQUIRE_FILE(!memcmp(found, m->header->sha256, sizeof found),
                 "the file is not as it was written: its SHA-256 is another; copy or export it again");
    return 0;
}

static int check_facts(plif_model *m) {
    const FileHeader *h = m->header;
    REQUIRE_FILE(between(1, h->c, MOST_NUMBERS) && between(1, h->h, 65535) && between(1, h->w, 65535) &&
                     (int64_t)h->h * h->w <= MOST_NUMBERS / h->c && between(1, h->rank, 3) &&
                     (h->rank > 2 || h->h == 1) && (h->rank > 1 || h->w == 1),
                 "an input of %d x %d x %d in %d axes", h->c, h->h, h->w, h->rank);
    REQUIRE_FILE(between(1, h->classes, MOST_RECORDS) && between(1, h->voters, MOST_NUMBERS) &&
                     between(1, h->T, MOST_STEPS),
                 "%d classes, %d voters, %d steps", h->classes, h->voters, h->T);
    REQUIRE_FILE(h->exit >= 0, "an early exit at %d billionths", h->exit);
    REQUIRE_FILE(between(0, h->decide, 1), "%d rules of feeds", h->decide);
    REQUIRE_FILE(between(0, h->native, 1), "%d sensors of the training", h->native);
    REQUIRE_FILE(h->keeps == (h->version == FILE_KEPT), "%d for subnormal numbers in version %u", h->keeps,
                 (unsigned)h->version);
    REQUIRE_FILE(between(1, h->states, MOST_RECORDS) && records(m, STATES, sizeof(FileState)) == h->states,
                 "%d states, and no room for them", h->states);
    int64_t total = (int64_t)h->c * h->h * h->w;
    m->states = section(m, STATES);
    m->v_floats = calloc((size_t)h->states, sizeof *m->v_floats);
    if (!m->v_floats) return plif_fail(PLIF_NO_MEMORY, "no memory for %d states", h->states);
    for (int i = 0; i < h->states; i++) {
        const FileState *s = &m->states[i];
        REQUIRE_FILE(between(1, s->c, 1 << 24) && between(1, s->h, 65535) && between(1, s->w, 65535) &&
                         (int64_t)s->h * s->w <= MOST_NUMBERS / lanes_of(s->c),
                     "state %d is %d x %d x %d", i, s->c, s->h, s->w);
        m->v_floats[i] = (int64_t)s->h * s->w * lanes_of(s->c);
        total += m->v_floats[i];
    }
    REQUIRE_FILE(total <= MOST_NUMBERS, "a stream of %lld inputs and membranes; expected at most %d", (long long)total,
                 MOST_NUMBERS);
    return 0;
}

/* Every string ends inside the section, and there are as many as the facts say. */
static int read_strings(plif_model *m) {
    const int64_t bytes = m->header->sections[STRINGS].bytes,
                  expected = 1 + (int64_t)m->header->classes + m->header->states + m->header->decide;
    const char *at = section(m, STRINGS), *end = at + bytes;
    REQUIRE_FILE(bytes > 0 && end[-1] == 0, "its names do not end");
    REQUIRE_FILE(expected <= bytes, "%lld names in %lld bytes", (long long)expected, (long long)bytes);
    m->names = calloc((size_t)expected, sizeof *m->names);
    if (!m->names) return plif_fail(PLIF_NO_MEMORY, "no memory for %lld names", (long long)expected);
    int64_t n = 0;
    for (; at < end; at += strlen(at) + 1, n++) {
        REQUIRE_FILE(n < expected, "more names than classes and states");
        *(n ? &m->names[n - 1] : &m->framing) = at;
    }
    REQUIRE_FILE(n == expected, "%lld names; expected %lld", (long long)n, (long long)expected);
    if (m->header->decide) m->decide = m->names[(int64_t)m->header->classes + m->header->states];
    Framing framing; /* one that is not understood is said when events come */
    return plif_framing_parse(m->framing, &framing)
               ? 0
               : plif_framing_room(&framing, (int64_t)m->header->c * m->header->h * m->header->w);
}

/* Bits of each number of an array in memory, by its type; 0 for one that is never packed. */
static int width_of(const FileArray *a) {
    static const int widths[] = {32, 16, 8, 0, 0, 8, 4};
    return between(0, a->type, ARRAY_NIBBLES) ? widths[a->type] : 0;
}

static int read_arrays(plif_model *m) {
    const FileArray *arrays = section(m, ARRAYS);
    const Section weights = m->header->sections[WEIGHTS];
    const int64_t count = records(m, ARRAYS, sizeof *arrays);
    REQUIRE_FILE(between(0, count, MOST_RECORDS), "its table of arrays is damaged");
    m->buffers = calloc((size_t)count + 1, sizeof *m->buffers);
    if (!m->buffers) return plif_fail(PLIF_NO_MEMORY, "no memory for %lld arrays", (long long)count);
    m->arrays = count;
    for (int64_t i = 0; i < count; i++) {
        REQUIRE_FILE(between(0, arrays[i].at, weights.bytes) &&
                         between(0, arrays[i].bytes, weights.bytes - arrays[i].at),
                     "array %lld would be %lld bytes at %lld of %lld", (long long)i + 1, (long long)arrays[i].bytes,
                     (long long)arrays[i].at, (long long)weights.bytes);
        const int bits = arrays[i].bits;
        REQUIRE_FILE(bits == 0 || ((bits == 2 || bits == 4) && width_of(&arrays[i])),
                     "array %lld of type %d in %d bits", (long long)i + 1, arrays[i].type, bits);
        if (!bits) m->buffers[i] = (Buffer){m->base + weights.at + arrays[i].at, arrays[i].bytes};
    }
    return 0;
}

/* Array i in memory as the kernels read it, where it is packed in the file and was not asked for before. */
static int unpack(plif_model *m, int64_t i) {
    const FileArray *a = (const FileArray *)section(m, ARRAYS) + i;
    if (!a->bits || m->buffers[i].at) return 0;
    const uint8_t *from = (const uint8_t *)m->base + m->header->sections[WEIGHTS].at + a->at;
    const int width = width_of(a), half = 1 << (a->bits - 1);
    REQUIRE_FILE(a->bytes <= most_unpacked / 16, "array %lld has %lld bytes", (long long)i + 1, (long long)a->bytes);
    const int64_t numbers = a->bytes * 8 / a->bits, bytes = up(numbers * width / 8 + 1, 64);
    m->unpacked += bytes;
    REQUIRE_FILE(m->unpacked <= most_unpacked, "its packed arrays take %lld bytes", (long long)m->unpacked);
    char *to = aligned_alloc(64, (size_t)bytes);
    if (!to) return plif_fail(PLIF_NO_MEMORY, "no memory for an array of %lld bytes", (long long)bytes);
    m->buffers[i] = (Buffer){to, numbers * width / 8};
    for (int64_t n = 0; n < numbers; n++) {
        const int field = from[n * a->bits / 8] >> n * a->bits % 8 & (2 * half - 1), k = (field ^ half) - half;
        if (a->type == ARRAY_FLOAT)
            ((float *)to)[n] = (float)k;
        else if (a->type == ARRAY_INT16)
            ((int16_t *)to)[n] = (int16_t)k;
        else if (a->type == ARRAY_NIBBLES)
            to[n / 2] = (char)(n % 2 ? to[n / 2] | (k + 8) << 4 : k + 8);
        else
            to[n] = (char)(a->type == ARRAY_PAIRS && n % 2 == 0 ? k ^ 128 : k);
    }
    return 0;
}

static int read_operation(plif_model *m, const FileOperation *from, Op *op) {
    const int64_t numbers[6] = {from->weight, from->weight_bytes, from->bias, from->scale, from->alpha, from->code};
    const void *at[6];
    for (int i = 0; i < 6; i++) {
        REQUIRE_FILE(between(0, numbers[i], m->arrays), "an operation reads array %lld of %lld", (long long)numbers[i],
                     (long long)m->arrays);
        if (numbers[i]) TRY(unpack(m, numbers[i] - 1));
        at[i] = numbers[i] ? m->buffers[numbers[i] - 1].at : NULL;
    }
    memcpy(op, from, offsetof(Op, weight)); /* the numbers are those of Op, in its order */
    op->weight = at[0];
    op->weight_bytes = at[1];
    op->bias = at[2];
    op->scale = at[3];
    op->alpha = at[4];
    op->code = at[5];
    return 0;
}

/* The fastest path that this processor has and the file has a program for; or the one that was asked for. */
static const FileProgram *choose_program(const plif_model *m, int path) {
    const FileProgram *programs = section(m, PROGRAMS), *best = NULL;
    const int64_t count = records(m, PROGRAMS, sizeof *programs);
    const int found =
        plif_paths(m->header->int8 || path == PATH_AMX); /* tiles serve int8 only; who asks for them pays */
    for (int64_t i = 0; i < count; i++)
        if (between(0, programs[i].path, FILE_PATHS - 1) && found >> programs[i].path & 1 &&
            (path < 0 ? !best || programs[i].path > best->path : programs[i].path == path))
            best = &programs[i];
    return best;
}

COLD static int read_program(plif_model *m, int path, unsigned flags) {
    TRY(read_arrays(m));
    const FileProgram *p = choose_program(m, path);
    if (!p)
        return plif_fail(PLIF_UNSUPPORTED,
                         "the file has no program for the kernels that this processor, or PLIF_CPU, asks for");
    const FileOperation *operations = section(m, OPERATIONS);
    const int64_t all = records(m, OPERATIONS, sizeof *operations);
    REQUIRE_FILE(between(0, p->first, all) && between(1, p->operations, all - p->first),
                 "a program of %d operations begins at %lld of %lld", p->operations, (long long)p->first,
                 (long long)all);
    m->ops = calloc((size_t)p->operations, sizeof *m->ops);
    if (!m->ops) return plif_fail(PLIF_NO_MEMORY, "no memory for %d operations", p->operations);
    for (int i = 0; i < p->operations; i++) TRY(read_operation(m, &operations[p->first + i], &m->ops[i]));
    const FileHeader *h = m->header;
    m->program = (Program){
        .ops = m->ops,
        .count = p->operations,
        .states = h->states,
        .path = p->path,
        .flush = !(h->keeps || flags & PLIF_KEEP_SUBNORMALS),
        .acc_floats = p->acc_floats,
        .arena_bytes = p->arena_bytes,
        .x_floats = (int64_t)h->c * h->h * h->w,
        .y_floats = h->classes,
        .v_floats = m->v_floats,
        .buffers = m->buffers,
        .buffer_count = m->arrays,
    };
    REQUIRE_FILE(between(0, p->acc_floats, MOST_NUMBERS) && between(0, p->arena_bytes, MOST_ARENA),
                 "a program that needs %lld sums and %lld bytes", (long long)p->acc_floats, (long long)p->arena_bytes);
    char why[300] = "";
    REQUIRE_FILE(plif_program_check(&m->program, why, sizeof why) == 0, "its program is not safe to run: %s", why);
    return 0;
}

COLD int plif_file_open(plif_model *m, const char *base, int64_t bytes, unsigned flags, int path) {
    m->base = base;
    m->bytes = bytes;
    TRY(check_header(m));
    if (!(flags & PLIF_SKIP_DIGEST)) TRY(check_digest(m));
    TRY(check_facts(m));
    TRY(read_strings(m));
    return read_program(m, path, flags);
}
