/* Becomes a program with limits and without rights, in less than a millisecond. What both are, runtime/formats/child/sandbox.py says and
   plif_export/targets/c/compiled.py hands over; here is only what a process has to do to itself:

       confine LIMITS:5 FILTER RULED RULES (PLACE RIGHTS):RULES COMMAND...

   LIMITS  seconds, bytes of memory, bytes of a file, open files, bytes of a core
   FILTER  for seccomp, RULED  by landlock, both hexadecimal and empty for none. What the kernel refuses is left out: `plif info`
   says so */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const int limits[] = {RLIMIT_CPU, RLIMIT_AS, RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_CORE};

#ifdef __linux__
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { CREATE_RULESET = 444, ADD_RULE, RESTRICT_SELF, PATH_BENEATH = 1, OF_A_FILE = 1 | 2 | 4 | 1 << 14 };

static size_t bytes_of(const char *digits, unsigned char *bytes, size_t most) {
    size_t size = 0;
    while (size < most && sscanf(digits + 2 * size, "%2hhx", bytes + size) == 1) size++;
    return size;
}

static void allow(int rules, const char *place, uint64_t rights) {
    struct __attribute__((packed)) {
        uint64_t rights;
        int32_t place;
    } rule = {rights, open(place, O_PATH | O_CLOEXEC)};
    struct stat about;
    if (rule.place < 0 || fstat(rule.place, &about)) return;
    if (!S_ISDIR(about.st_mode)) rule.rights &= OF_A_FILE;
    syscall(ADD_RULE, rules, PATH_BENEATH, &rule, 0);
    close(rule.place);
}

/* Root keeps only that it reads what belongs to others, and so cannot lift its limits. */
static void drop_capabilities(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct state[2];
    if (syscall(SYS_capget, &header, state)) return;
    uint32_t kept = state[0].permitted & 1u << CAP_DAC_READ_SEARCH;
    memset(state, 0, sizeof state);
    state[0].permitted = state[0].effective = kept;
    syscall(SYS_capset, &header, state);
}

static void give_up(const char *filter, const char *ruled, char **places, int count) {
    static unsigned char attributes[24], code[1 << 14];
    struct {
        unsigned short size;
        void *code;
    } program = {(unsigned short)(bytes_of(filter, code, sizeof code) / 8), code};
    size_t size = bytes_of(ruled, attributes, sizeof attributes);
    int rules = size ? (int)syscall(CREATE_RULESET, attributes, size, 0) : -1;
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    drop_capabilities();
    for (int i = 0; rules >= 0 && i < count; i++) allow(rules, places[2 * i], strtoull(places[2 * i + 1], NULL, 10));
    if (rules >= 0) syscall(RESTRICT_SELF, rules, 0), close(rules);
    if (program.size) prctl(PR_SET_SECCOMP, 2, &program, 0, 0);
}
#else
static void give_up(const char *filter, const char *ruled, char **places, int count) {
    (void)filter, (void)ruled, (void)places, (void)count;
}
#endif

int main(int words, char **word) {
    if (words < 10) return 125;
    for (int i = 0; i < 5; i++) {
        struct rlimit limit;
        rlim_t most = (rlim_t)strtoull(word[i + 1], NULL, 10);
        if (getrlimit(limits[i], &limit)) continue;
        if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < most) most = limit.rlim_max;
        limit.rlim_cur = limit.rlim_max = most;
        setrlimit(limits[i], &limit);
    }
    int rules = atoi(word[8]);
    if (9 + 2 * rules >= words) return 125;
    give_up(word[6], word[7], word + 9, rules);
    execv(word[9 + 2 * rules], word + 9 + 2 * rules);
    perror(word[9 + 2 * rules]);
    return 126;
}
