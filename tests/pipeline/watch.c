/* Preloaded into a process and all that it starts: one line in the file $WATCH_LOG for
 *
 *   name NAME        a name that the resolver is asked for, or the address whose name it is asked for
 *   address A:PORT   where a socket of the Internet's is connected to, or a datagram sent
 *   write PATH       a file or folder that is opened for writing, made, or renamed to
 *
 * before it happens, whether it succeeds or not. Local sockets and what the C library does inside a call are left out.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The function that would have been called without us. */
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void tell(const char *kind, const char *what) {
    char line[PATH_MAX + 64];
    const char *log = getenv("WATCH_LOG");
    int n = snprintf(line, sizeof line, "%s %s\n", kind, what);
    int file = log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (file < 0)
        return;
    if (write(file, line, n < (int)sizeof line ? n : (int)sizeof line) < 0)
        abort();
    syscall(SYS_close, file);
}

static void tell_address(const struct sockaddr *a) {
    char host[INET6_ADDRSTRLEN], line[INET6_ADDRSTRLEN + 16];
    const struct sockaddr_in *four = (const void *)a;
    const struct sockaddr_in6 *six = (const void *)a;
    if (!a || (a->sa_family != AF_INET && a->sa_family != AF_INET6))
        return;
    int v6 = a->sa_family == AF_INET6;
    inet_ntop(a->sa_family, v6 ? (const void *)&six->sin6_addr : (const void *)&four->sin_addr, host, sizeof host);
    snprintf(line, sizeof line, "%s:%d", host, ntohs(v6 ? six->sin6_port : four->sin_port));
    tell("address", line);
}

/* `path` counts from the folder `at`. */
static void tell_write(int at, const char *path) {
    char link[40], whole[PATH_MAX] = "";
    if (!path)
        return;
    if (path[0] != '/') {
        snprintf(link, sizeof link, at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
        ssize_t n = readlink(link, whole, sizeof whole - 1);
        n = n < 0 ? 0 : n;
        snprintf(whole + n, sizeof whole - n, "/%s", path);
        path = whole;
    }
    tell("write", path);
}

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)); }

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out) {
    struct in6_addr number;
    if (name && inet_pton(AF_INET, name, &number) != 1 && inet_pton(AF_INET6, name, &number) != 1)
        tell("name", name);
    return NEXT(getaddrinfo)(name, service, hints, out);
}

struct hostent *gethostbyname(const char *name) {
    tell("name", name);
    return NEXT(gethostbyname)(name);
}

struct hostent *gethostbyname2(const char *name, int family) {
    tell("name", name);
    return NEXT(gethostbyname2)(name, family);
}

int gethostbyname_r(const char *name, struct hostent *h, char *b, size_t n, struct hostent **out, int *error) {
    tell("name", name);
    return NEXT(gethostbyname_r)(name, h, b, n, out, error);
}

int gethostbyaddr_r(const void *a, socklen_t m, int family, struct hostent *h, char *b, size_t n, struct hostent **out,
                    int *error) {
    char number[INET6_ADDRSTRLEN] = "?";
    inet_ntop(family, a, number, sizeof number);
    tell("name", number);
    return NEXT(gethostbyaddr_r)(a, m, family, h, b, n, out, error);
}

int connect(int s, const struct sockaddr *a, socklen_t n) {
    tell_address(a);
    return NEXT(connect)(s, a, n);
}

ssize_t sendto(int s, const void *data, size_t size, int flags, const struct sockaddr *a, socklen_t n) {
    tell_address(a);
    return NEXT(sendto)(s, data, size, flags, a, n);
}

ssize_t sendmsg(int s, const struct msghdr *m, int flags) {
    tell_address(m->msg_name);
    return NEXT(sendmsg)(s, m, flags);
}

int sendmmsg(int s, struct mmsghdr *m, unsigned count, int flags) {
    for (unsigned i = 0; i < count; i++)
        tell_address(m[i].msg_hdr.msg_name);
    return NEXT(sendmmsg)(s, m, count, flags);
}

#define MODE(flags)                                                                                                    \
    mode_t mode = 0;                                                                                                   \
    if ((flags) & (O_CREAT | __O_TMPFILE)) {                                                                           \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode = va_arg(more, mode_t);                                                                                   \
        va_end(more);                                                                                                  \
    }                                                                                                                  \
    if (writes(flags))

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        MODE(flags) tell_write(AT_FDCWD, path);                                                                        \
        return NEXT(name)(path, flags, mode);                                                                          \
    }
#define OPENAT(name)                                                                                                   \
    int name(int at, const char *path, int flags, ...) {                                                               \
        MODE(flags) tell_write(at, path);                                                                              \
        return NEXT(name)(at, path, flags, mode);                                                                      \
    }
#define FOPEN(name)                                                                                                    \
    FILE *name(const char *path, const char *mode) {                                                                   \
        if (strpbrk(mode, "wa+"))                                                                                      \
            tell_write(AT_FDCWD, path);                                                                                \
        return NEXT(name)(path, mode);                                                                                 \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
FOPEN(fopen)
FOPEN(fopen64)

int mkstemp(char *path) {
    tell_write(AT_FDCWD, path);
    return NEXT(mkstemp)(path);
}

int mkstemp64(char *path) {
    tell_write(AT_FDCWD, path);
    return NEXT(mkstemp64)(path);
}

char *mkdtemp(char *path) {
    tell_write(AT_FDCWD, path);
    return NEXT(mkdtemp)(path);
}

int mkdir(const char *path, mode_t mode) {
    tell_write(AT_FDCWD, path);
    return NEXT(mkdir)(path, mode);
}

int mkdirat(int at, const char *path, mode_t mode) {
    tell_write(at, path);
    return NEXT(mkdirat)(at, path, mode);
}

int rename(const char *old, const char *path) {
    tell_write(AT_FDCWD, path);
    return NEXT(rename)(old, path);
}

int renameat(int from, const char *old, int at, const char *path) {
    tell_write(at, path);
    return NEXT(renameat)(from, old, at, path);
}

int renameat2(int from, const char *old, int at, const char *path, unsigned flags) {
    tell_write(at, path);
    return NEXT(renameat2)(from, old, at, path, flags);
}

int symlink(const char *to, const char *path) {
    tell_write(AT_FDCWD, path);
    return NEXT(symlink)(to, path);
}
