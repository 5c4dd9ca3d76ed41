/* A disk that is full, for a process that loads this first (LD_PRELOAD): of what is done to files below a folder, call NUMBER,
 * from 0 on, and each one after it fails with ENOSPC. Writes count, syncs of files, new files and folders. What deletes works, and
 * what renames and syncs a folder, since that needs no space. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[4096];
static long first, count;

/* From now on; an empty folder: nothing fails. */
void fill_disk(const char *within, long number) {
    snprintf(folder, sizeof folder, "%s", within);
    first = number, count = 0;
}

long count_calls(void) { return count; }

static int is_within(const char *path) { return folder[0] && !strncmp(path, folder, strlen(folder)); }

static int fails(const char *path) {
    if (!is_within(path) || count++ < first) return 0;
    errno = ENOSPC;
    return 1;
}

static int fails_at(int at) {
    char link[64], path[4096];
    if (!folder[0]) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", at);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return fails(path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int at, const void *data, size_t n) { return fails_at(at) ? -1 : REAL(write)(at, data, n); }
ssize_t writev(int at, const struct iovec *data, int n) { return fails_at(at) ? -1 : REAL(writev)(at, data, n); }
ssize_t pwrite(int at, const void *data, size_t n, off_t to) {
    return fails_at(at) ? -1 : REAL(pwrite)(at, data, n, to);
}
ssize_t pwrite64(int at, const void *data, size_t n, off64_t to) {
    return fails_at(at) ? -1 : REAL(pwrite64)(at, data, n, to);
}
int fsync(int at) {
    struct stat facts;
    return !fstat(at, &facts) && S_ISREG(facts.st_mode) && fails_at(at) ? -1 : REAL(fsync)(at);
}
int ftruncate(int at, off_t to) { return fails_at(at) ? -1 : REAL(ftruncate)(at, to); }
int mkdir(const char *path, mode_t mode) { return fails(path) ? -1 : REAL(mkdir)(path, mode); }

static mode_t mode_of(int flags, va_list more) { return flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = mode_of(flags, more); \
        va_end(more); \
        if (flags & O_CREAT && access(path, F_OK) && fails(path)) return -1; \
        return REAL(name)(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
