/* What the sketch of an exported library needs of Arduino's core, for a computer or, with BOARD, an emulated Cortex-M4F. */

#pragma once

#ifdef BOARD
extern "C" {
#include "board.h"
}
#else
#include <cstdio>
#include <cstdlib>
static inline void host_say(const char *text) { std::fputs(text, stdout); }
static inline void host_exit(int code) { std::exit(code); }
#endif

struct Port {
    void begin(long) {}
    explicit operator bool() const { return true; }
    void print(const char *text) { host_say(text); }
    void println(const char *text) { host_say(text), host_say("\n"); }
    void println(unsigned long) { host_say("some\n"), host_exit(0); } /* the first round of the loop is enough */
};
static Port Serial;
static inline unsigned long millis() { return 0; }
static inline unsigned long micros() { return 0; }
static inline void delay(unsigned long) {}
