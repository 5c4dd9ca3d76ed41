/* hot:FILE, the pixels that are hot as a text file names them: one x,y a line, # begins a comment. */
#include "filter.h"
#include "../../error.h"
#include "../../portable.h"

#include <errno.h>

#define MOST_BYTES ((int64_t)1 << 24)
#define EXPECTED "expected a list of pixels, one x,y a line"
#define REFUSE(code, why, ...) \
    return plif_fail(code, "--filter %.*s: %.200s: " why, FILTER_PART(part), path, __VA_ARGS__)

static const char *kind_of(mode_t mode) {
    if (S_ISDIR(mode)) return "a folder";
    if (S_ISFIFO(mode)) return "a pipe";
#if defined(S_ISSOCK)
    if (S_ISSOCK(mode)) return "a socket";
#endif
    return S_ISCHR(mode) || S_ISBLK(mode) ? "a device" : "something else";
}

/* Up to MOST_BYTES + 1 bytes of a regular file, in `data`; how many, or a code. What is no file is not opened: to
 * open a device can do something already. */
static int64_t read_file(Text part, const char *path, char *data) {
    struct stat facts;
    int64_t done = 0, got = 1;
    int file = -1;
    if (!stat(path, &facts) && S_ISREG(facts.st_mode)) file = open(path, READ_ONLY);
    if (file < 0 && errno == ENOENT) REFUSE(PLIF_NO_FILE, "no such file; %s", EXPECTED);
    if (file < 0 && errno) REFUSE(PLIF_NO_FILE, "cannot be read (%s)", strerror(errno));
    if (file < 0 || fstat(file, &facts) || !S_ISREG(facts.st_mode)) {
        if (file >= 0) close(file);
        REFUSE(PLIF_NO_FILE, "is %s, not a file; %s", kind_of(facts.st_mode), EXPECTED);
    }
    for (; got > 0 && done <= MOST_BYTES; done += got > 0 ? got : 0)
        got = read(file, data + done, (unsigned)(MOST_BYTES + 1 - done));
    const int why = errno;
    close(file);
    if (got < 0) REFUSE(PLIF_NO_FILE, "cannot be read as a list of pixels (%s)", strerror(why));
    if (done > MOST_BYTES) REFUSE(PLIF_BAD_FILE, "is larger than %lld bytes; %s", (long long)MOST_BYTES, EXPECTED);
    return done;
}

/* Whether all of it is UTF-8, with no character in more bytes than it needs, and no surrogate. */
static int is_utf8(const uint8_t *at, int64_t n) {
    for (int64_t i = 0; i < n;) {
        const uint8_t c = at[i++];
        const int more = c < 0x80 ? 0 : c < 0xc2 ? -1 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : c < 0xf5 ? 3 : -1;
        if (more < 0 || n - i < more) return 0;
        for (int k = 0; k < more; k++)
            if (at[i + k] >> 6 != 2) return 0;
        if ((c == 0xe0 && at[i] < 0xa0) || (c == 0xed && at[i] > 0x9f) || (c == 0xf0 && at[i] < 0x90) ||
            (c == 0xf4 && at[i] > 0x8f))
            return 0;
        i += more;
    }
    return 1;
}

static int ends_line(char c) { return (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e); }

static int read_lines(Text part, const char *path, const char *data, int64_t bytes, int width, int height,
                      uint8_t *mask) {
    if (!is_utf8((const uint8_t *)data, bytes))
        REFUSE(PLIF_BAD_FILE, "cannot be read as a list of pixels (%s)", "not UTF-8");
    long long number = 1;
    for (int64_t at = 0, end; at < bytes; at = end + 1, number++) {
        int mark;
        for (end = at; end < bytes && !ends_line(data[end]); end++) {}
        Text rest = {data + at, (int)(end - at)};
        const Text line = plif_strip(plif_cut(&rest, '#', &mark));
        if (end + 1 < bytes && data[end] == '\r' && data[end + 1] == '\n') end++;
        if (!line.n) continue;
        rest = line;
        const int64_t x = plif_whole(plif_strip(plif_cut(&rest, ',', &mark)), 5), y = plif_whole(plif_strip(rest), 5);
        if (x < 0 || y < 0 || x >= width || y >= height)
            return plif_fail(PLIF_BAD_FILE, "%.200s: line %lld: '%.*s' is no pixel x,y of the %dx%d sensor", path,
                             number, line.n > 40 ? 40 : line.n, line.at, width, height);
        mask[y * width + x] = 1;
    }
    return 0;
}

int plif_filter_list(Text part, Text file, int width, int height, uint8_t *mask) {
    char path[MOST_TEXT + 1] = "";
    memcpy(path, file.at, (size_t)file.n);
    char *data = calloc(1, (size_t)MOST_BYTES + 1);
    if (!data) return plif_fail(PLIF_NO_MEMORY, "no memory for a list of pixels");
    errno = 0;
    const int64_t bytes = read_file(part, path, data);
    const int failed = bytes < 0 ? (int)bytes : read_lines(part, path, data, bytes, width, height, mask);
    free(data);
    return failed;
}
