/* What a board gives: a clock, and, under an emulator or a debugger, the files of the host (semihosting). */

#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

/* Instructions since the last call, in steps of 40: QEMU's clock goes on by 1 ns an instruction, SysTick counts at 25 MHz. */
uint32_t instructions(void);

int host_open(const char *path);                          /* a file to read; below 0 where there is none */
int host_read(int file, void *to, uint32_t bytes);        /* 0 where all bytes came, 1 at the end */
void host_say(const char *text);
void host_number(uint32_t number);
const char *host_argument(void);                          /* the last word of the command line */
void host_exit(int code);

#endif
