/* A recording in a file -> all frames of a sample, see sample.c. */
#pragma once

#include <stdint.h>

enum { SAMPLE_OTHER = -1 };

/* Reads `path`, a whole recording of 5-byte events of a sensor of width x height, and writes `room` frames of
 * [c][h][w] floats, as many as the framing's T says, each `stride` floats behind the one before. Gives the number
 * of events, and in `used` how many of them are in the frames; or SAMPLE_OTHER: nothing is known, read it in
 * another way. */
int64_t plif_sample(const char *path, const char *framing, const int32_t shape[3], int32_t width, int32_t height,
                    float *out, int64_t stride, int64_t room, int64_t *used);
