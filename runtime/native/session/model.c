/* Models: a .plif file in memory, mapped or given, and what it says of its network. */
#include "file.h"
#include "../error.h"
#include "../portable.h"

#include <errno.h>
#include <string.h>

static const char *const paths[FILE_PATHS] = {"scalar", "avx2", "avx512", "neon", "amx"};

int plif_abi_version(void) { return PLIF_ABI; }

/* The path that PLIF_CPU names, -1 for none; -2 for a name that is none of them. What opens a model begins with it. */
static int wanted_path(void) {
    plif_call_begins();
    const char *name = getenv("PLIF_CPU");
    if (!name || !*name) return -1;
    for (int i = 0; i < FILE_PATHS; i++)
        if (!strcmp(name, paths[i])) return i;
    plif_fail(PLIF_BAD_ARGUMENT, "PLIF_CPU=%.40s; expected scalar, avx2, avx512, amx or neon", name);
    return -2;
}

static plif_model *opened(plif_model *m, const char *base, int64_t bytes, unsigned flags, int path) {
    if (plif_file_open(m, base, bytes, flags, path) == 0) return m;
    plif_close(m);
    return NULL;
}

/* The whole file in memory; NULL where that is not possible. */
static void *map_file(const char *path, int64_t *bytes) {
    const int file = open(path, READ_ONLY);
    struct stat facts;
    void *map = NULL;
    if (file < 0) return plif_fail(PLIF_NO_FILE, "%.200s: %s", path, strerror(errno)), NULL;
    if (fstat(file, &facts) || !S_ISREG(facts.st_mode) || facts.st_size < (off_t)sizeof(FileHeader)) {
        plif_fail(S_ISREG(facts.st_mode) ? PLIF_BAD_FILE : PLIF_NO_FILE, "%.200s: not a .plif file", path);
    } else {
        *bytes = (int64_t)facts.st_size;
        map = file_map(file, (size_t)facts.st_size);
        if (!map) plif_fail(PLIF_NO_FILE, "%.200s: cannot be mapped (%s)", path, strerror(errno));
    }
    close(file);
    return map;
}

plif_model *plif_open(const char *path, unsigned flags) {
    const int cpu = wanted_path();
    if (cpu < -1) return NULL;
    if (!path) return plif_fail(PLIF_BAD_ARGUMENT, "plif_open: no path"), NULL;
    plif_model *m = calloc(1, sizeof *m);
    int64_t bytes = 0;
    if (!m) return plif_fail(PLIF_NO_MEMORY, "no memory for a model"), NULL;
    m->map = map_file(path, &bytes);
    m->bytes = bytes;
    if (!m->map) {
        plif_close(m);
        return NULL;
    }
    m = opened(m, m->map, bytes, flags, cpu);
    if (!m) plif_fail_in(path);
    return m;
}

plif_model *plif_open_for(const void *data, int64_t bytes, unsigned flags, int path) {
    plif_model *m = data && bytes >= 0 ? calloc(1, sizeof *m) : NULL;
    if (!data) return plif_fail(PLIF_BAD_ARGUMENT, "no bytes for a model"), NULL;
    if (!m) return plif_fail(PLIF_NO_MEMORY, "no memory for a model"), NULL;
    if ((uintptr_t)data % 64) {
        m->copy = aligned_alloc(64, ((size_t)bytes + 127) / 64 * 64);
        if (!m->copy) {
            plif_close(m);
            plif_fail(PLIF_NO_MEMORY, "no memory for a copy of %lld bytes", (long long)bytes);
            return NULL;
        }
        memcpy(m->copy, data, (size_t)bytes);
        data = m->copy;
    }
    return opened(m, data, bytes, flags, path);
}

plif_model *plif_open_buffer(const void *data, size_t bytes, unsigned flags) {
    const int cpu = wanted_path();
    return cpu < -1 ? NULL : plif_open_for(data, (uint64_t)bytes > INT64_MAX ? -1 : (int64_t)bytes, flags, cpu);
}

void plif_close(plif_model *m) {
    if (!m) return;
    free(m->names);
    free(m->v_floats);
    free(m->ops);
    for (int64_t i = 0; m->buffers && i < m->arrays; i++) /* those that lie in the file are its own */
        if (((const FileArray *)(m->base + m->header->sections[ARRAYS].at))[i].bits)
            aligned_free((void *)m->buffers[i].at);
    free(m->buffers);
    aligned_free(m->copy);
    if (m->map) file_unmap(m->map, (size_t)m->bytes);
    free(m);
}

/* For plif_run. */
const Program *plif_model_program(const plif_model *m) { return &m->program; }

int plif_classes(const plif_model *m) { return m->header->classes; }
const char *plif_class_name(const plif_model *m, int index) {
    return index >= 0 && index < m->header->classes ? m->names[index] : NULL;
}
int plif_states(const plif_model *m) { return m->header->states; }
const char *plif_state_name(const plif_model *m, int state) {
    return state >= 0 && state < m->header->states ? m->names[m->header->classes + state] : NULL;
}
void plif_input_shape(const plif_model *m, int shape[3]) {
    shape[0] = m->header->c;
    shape[1] = m->header->h;
    shape[2] = m->header->w;
}
const char *plif_framing(const plif_model *m) { return m->framing; }
int plif_voters(const plif_model *m) { return m->header->voters; }
int plif_T(const plif_model *m) { return m->header->T; }
const char *plif_cpu(const plif_model *m) { return paths[m->program.path]; }
const char *plif_card(const plif_model *m, size_t *bytes) {
    *bytes = (size_t)m->header->sections[CARD].bytes;
    return m->base + m->header->sections[CARD].at;
}
