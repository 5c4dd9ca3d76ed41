/* A network for a web page: the generated source, and its buffers under fixed names. Compiled for WebAssembly without a library:

       clang --target=wasm32 -O3 -msimd128 -nostdlib -DPLIF_SOURCE='"digits.c"' -DPLIF_NAME=digits -DPLIF_BIG=DIGITS \
           -Wl,--no-entry net.c -o digits.wasm                                                                                 */

#include PLIF_SOURCE

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define EXPORT(name) __attribute__((export_name(#name)))

static JOIN(PLIF_NAME, _input) x[JOIN(PLIF_BIG, _INPUTS)];
static float y[JOIN(PLIF_BIG, _CLASSES)];

/* What a compiler makes of loops that copy or clear; there is no C library here. */
void *memset(void *to, int value, __SIZE_TYPE__ bytes)
{
    for (__SIZE_TYPE__ i = 0; i < bytes; i++)
        ((volatile unsigned char *)to)[i] = (unsigned char)value;
    return to;
}

void *memcpy(void *to, const void *from, __SIZE_TYPE__ bytes)
{
    for (__SIZE_TYPE__ i = 0; i < bytes; i++)
        ((volatile unsigned char *)to)[i] = ((const unsigned char *)from)[i];
    return to;
}

EXPORT(frame) JOIN(PLIF_NAME, _input) *frame(void)
{
    return x;
}

EXPORT(bytes_each) int bytes_each(void)
{
    return sizeof *x;
}

EXPORT(answer) float *answer(void)
{
    return y;
}

EXPORT(reset) void reset(void)
{
    JOIN(PLIF_NAME, _reset)();
}

EXPORT(step) void step(void)
{
    JOIN(PLIF_NAME, _step)(x, y);
}

EXPORT(spikes) int spikes(int layer)
{
    return JOIN(PLIF_NAME, _spikes)(layer);
}
