/* The start of a program on a Cortex-M4F whose C library speaks to the host (newlib's rdimon): vectors, and the FPU on. */

#include <stdint.h>

void _start(void);
extern uint32_t stack_top[];

void reset_handler(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm volatile("dsb\nisb");
    _start();
}

static void fault_handler(void)
{
    for (;;)
        __asm volatile("bkpt 0"); /* the emulator ends here */
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (const void *)reset_handler, (const void *)fault_handler, (const void *)fault_handler,
    (const void *)fault_handler, (const void *)fault_handler, (const void *)fault_handler,
};
