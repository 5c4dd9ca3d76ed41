/* Steps a network over frames of a file, and prints a line for each step and the decision:

       step 0: 1234560 instructions, votes 0 3 0 ...
       decision 7                                                                                                        */

#include PLIF_HEADER
#include "board.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define INPUTS JOIN(PLIF_BIG, _INPUTS)
#define CLASSES JOIN(PLIF_BIG, _CLASSES)
#define VOTES JOIN(PLIF_BIG, _VOTES)

static JOIN(PLIF_NAME, _input) x[INPUTS];
static float y[CLASSES];
static float votes[CLASSES]; /* whole numbers where the network votes, else sums of its outputs */

static void say_whole(float number)
{
    host_say(number < 0 ? "-" : "");
    host_number((uint32_t)(number < 0 ? -number : number));
}

static int read_frame(int file)
{
    float part[32]; /* a frame of bytes is read through a small window, since RAM is short */
    for (int i = 0; i < INPUTS; i += 32) {
        const int n = INPUTS - i < 32 ? INPUTS - i : 32;
        if (host_read(file, part, (uint32_t)n * sizeof *part))
            return 0;
        for (int k = 0; k < n; k++)
            x[i + k] = (JOIN(PLIF_NAME, _input))part[k];
    }
    return 1;
}

int main(void)
{
    const int file = host_open(host_argument());
    if (file < 0) {
        host_say("no file with frames\n");
        return 2;
    }
    JOIN(PLIF_NAME, _reset)();
    for (uint32_t step = 0; read_frame(file); step++) {
        instructions();
        JOIN(PLIF_NAME, _step)(x, y);
        const uint32_t count = instructions();
        host_say("step ");
        host_number(step);
        host_say(": ");
        host_number(count);
        host_say(" instructions, votes");
        for (int i = 0; i < CLASSES; i++) {
            votes[i] += VOTES(y[i]);
            host_say(" ");
            say_whole(votes[i]);
        }
        host_say("\n");
    }
    int best = 0;
    for (int i = 1; i < CLASSES; i++)
        if (votes[i] > votes[best])
            best = i;
    host_say("decision ");
    host_number((uint32_t)best);
    host_say("\n");
    return 0;
}
