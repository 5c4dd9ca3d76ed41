/* A compiled network under proof, as a program of its own: a request on standard input, an answer on standard output, all numbers
   int32 or float32 of this machine. plif_export/targets/c/compiled.py asks. Compiled with

       cc -DPLIF_SOURCE='"net.c"' -DPLIF_NAME=net -DPLIF_BIG=NET [-DPLIF_PROBE] probe.c

   0            -> the states after a reset                                                         with PLIF_PROBE
   1 states x   -> of each layer h, s and the states after it, then y                               with PLIF_PROBE
   2 states x, and of each layer s and the states after it -> the same. What lies behind a layer gets those in place of its own
   3 T x[T]     -> y[T] from a reset: what the network does as it is shipped, too
   4 T          -> sum of the weights, [T] sums of each layer and of y, spikes of each layer        with PLIF_TESTED
   5            -> what the self-test says                                                          with PLIF_TESTED */

#include <stdio.h>
#include <stdlib.h>

#include PLIF_SOURCE

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define INPUTS JOIN(PLIF_BIG, _INPUTS)
#define CLASSES JOIN(PLIF_BIG, _CLASSES)

static float x[INPUTS], y[CLASSES];

static void get(void *to, size_t size, int count) {
    if (fread(to, size, (size_t)count, stdin) != (size_t)count) exit(3);
}

static void put(const float from[], int count) {
    if (fwrite(from, sizeof *from, (size_t)count, stdout) != (size_t)count) exit(4);
}

#ifdef PLIF_TESTED
#define LAYERS JOIN(PLIF_BIG, _LAYERS)

static void put_word(uint32_t word) {
    if (fwrite(&word, sizeof word, 1, stdout) != 1) exit(4);
}
#endif

static void step(void) {
    static JOIN(PLIF_NAME, _input) frame[INPUTS];
    for (int i = 0; i < INPUTS; i++) frame[i] = (JOIN(PLIF_NAME, _input))x[i];
    JOIN(PLIF_NAME, _step)(frame, y);
}

#ifdef PLIF_PROBE
#define STATES ((int)(sizeof plif_states / sizeof *plif_states))

static int shown, forced;

/* The request has what a layer is given in the order of the layers, so it is read when its turn comes; the
   answer waits in a pipe that the other side reads at the same time. */
static void plif_probe(int layer, float h[], float s[]) {
    if (!shown) return;
    put(h, plif_sizes[layer]);
    put(s, plif_sizes[layer]);
    if (forced) get(s, sizeof *s, plif_sizes[layer]);
    for (int i = 0; i < STATES; i++)
        if (plif_states[i].layer == layer) {
            put(plif_states[i].values, plif_states[i].size);
            if (forced) get(plif_states[i].values, sizeof(float), plif_states[i].size);
        }
}
#endif

int main(void) {
    int32_t what = -1, steps = 0;
#ifdef PLIF_FILES /* of a program on a board, whose files are the host's */
    if (!freopen("request.bin", "rb", stdin) || !freopen("answer.bin", "wb", stdout)) return 5;
#endif
    get(&what, sizeof what, 1);
    JOIN(PLIF_NAME, _reset)();
    if (what == 3) {
        get(&steps, sizeof steps, 1);
        for (int32_t t = 0; t < steps; t++) {
            get(x, sizeof *x, INPUTS);
            step();
            put(y, CLASSES);
        }
        return 0;
    }
#ifdef PLIF_TESTED
    if (what == 4) {
        static JOIN(PLIF_NAME, _input) frame[INPUTS];
        int32_t fired[LAYERS] = {0};
        uint32_t state = 1, sum = plif_test_weights();
        put_word(sum);
        get(&steps, sizeof steps, 1);
        for (int32_t t = 0; t < steps; t++) {
            plif_test_frame(frame, &state);
            JOIN(PLIF_NAME, _step)(frame, y);
            for (int i = 0; i <= LAYERS; i++) put_word(plif_test_layer(i, y));
            for (int i = 0; i < LAYERS; i++) fired[i] += JOIN(PLIF_NAME, _spikes)(i);
        }
        for (int i = 0; i < LAYERS; i++) put_word((uint32_t)fired[i]);
        return 0;
    }
    if (what == 5) {
        put_word((uint32_t)JOIN(PLIF_NAME, _selftest)());
        return 0;
    }
#endif
#ifdef PLIF_PROBE
    if (what == 0) {
        for (int i = 0; i < STATES; i++) put(plif_states[i].values, plif_states[i].size);
        return 0;
    }
    if (what == 1 || what == 2) {
        shown = 1, forced = what == 2;
        for (int i = 0; i < STATES; i++) get(plif_states[i].values, sizeof(float), plif_states[i].size);
        get(x, sizeof *x, INPUTS);
        step();
        put(y, CLASSES);
        return 0;
    }
#endif
    return 2;
}
