/* Memory and files where systems differ: Windows has neither C11's aligned_alloc nor mmap nor fmemopen, WebAssembly
 * no mmap. And the clock that never goes back. */
#pragma once

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if defined(_WIN32)
#include <malloc.h>
#define aligned_alloc(alignment, bytes) _aligned_malloc(bytes, alignment)
#define aligned_free _aligned_free
enum { READ_ONLY = O_RDONLY | O_BINARY | O_NOINHERIT };
#else
#define aligned_free free
enum { READ_ONLY = O_RDONLY | O_CLOEXEC | O_NONBLOCK }; /* a pipe would let us wait for ever */
#endif
#if !defined(_WIN32) && !defined(__wasm__)
#define HAS_MMAP 1
#include <sys/mman.h>
#endif

/* A file's bytes at a multiple of 64; NULL, and errno, where that is not possible. Readable until file_unmap, also
 * when its name is removed. */
static inline void *file_map(int file, size_t bytes) {
#if !defined(HAS_MMAP)
    char *map = aligned_alloc(64, (bytes + 63) / 64 * 64);
    for (size_t done = 0; map && done < bytes;) {
        const size_t left = bytes - done;
        const int got = read(file, map + done, left < 1 << 30 ? (unsigned)left : 1 << 30);
        if (got <= 0) {
            aligned_free(map);
            return NULL;
        }
        done += (size_t)got;
    }
    return map;
#else
    void *map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, file, 0);
    if (map == MAP_FAILED) return NULL;
    madvise(map, bytes, MADV_WILLNEED);
    return map;
#endif
}

static inline void file_unmap(void *map, size_t bytes) {
#if !defined(HAS_MMAP)
    (void)bytes;
    aligned_free(map);
#else
    munmap(map, bytes);
#endif
}

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Bytes in memory, at least one, to be read as a file; they must stay until it is closed. NULL, and errno, where
 * that is not possible. */
static inline FILE *file_of(const void *data, size_t bytes) {
#if defined(_WIN32)
    FILE *file = tmpfile();
    if (file && fwrite(data, 1, bytes, file) != bytes) {
        fclose(file);
        return NULL;
    }
    if (file) rewind(file);
    return file;
#else
    return fmemopen((void *)(uintptr_t)data, bytes, "rb");
#endif
}
