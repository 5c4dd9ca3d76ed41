/* Cortex-M: vectors, start, SysTick, and semihosting by its one instruction (Arm, "Semihosting for AArch32 and AArch64"). */

#include "board.h"

int main(void);
void reset_handler(void);
extern uint32_t data_start[], data_end[], data_load[], bss_start[], bss_end[], stack_top[];

#define CPACR (*(volatile uint32_t *)0xE000ED88)
#define SYST_CSR (*(volatile uint32_t *)0xE000E010)
#define SYST_RVR (*(volatile uint32_t *)0xE000E014)
#define SYST_CVR (*(volatile uint32_t *)0xE000E018)
#define TICKS 0xFFFFFFu
#define NS_PER_TICK 40u

static void fault_handler(void)
{
    host_say("fault\n");
    host_exit(3);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (const void *)reset_handler, (const void *)fault_handler, (const void *)fault_handler,
    (const void *)fault_handler, (const void *)fault_handler, (const void *)fault_handler,
};

void reset_handler(void)
{
    for (uint32_t *to = data_start, *from = data_load; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    CPACR |= 0xFu << 20; /* the floating-point unit on */
    __asm volatile("dsb\nisb");
    /* membranes that fade away become 0, not subnormal: FZ of FPSCR */
    __asm volatile("vmrs r0, fpscr\n orr r0, r0, #0x01000000\n vmsr fpscr, r0" ::: "r0");
    SYST_RVR = TICKS;
    SYST_CVR = 0;
    SYST_CSR = 5; /* on, by the processor's clock, without an interrupt */
    host_exit(main());
}

uint32_t instructions(void)
{
    static uint32_t last = TICKS;
    const uint32_t now = SYST_CVR, passed = (last - now) & TICKS;
    last = now;
    return passed * NS_PER_TICK;
}

static int host(int what, const void *about)
{
    register int r0 __asm("r0") = what;
    register const void *r1 __asm("r1") = about;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

int host_open(const char *path)
{
    uint32_t length = 0;
    while (path[length])
        length++;
    const uint32_t about[3] = {(uint32_t)path, 1 /* rb */, length};
    return host(0x01, about);
}

int host_read(int file, void *to, uint32_t bytes)
{
    const uint32_t about[3] = {(uint32_t)file, (uint32_t)to, bytes};
    return host(0x06, about) == 0 ? 0 : 1;
}

void host_say(const char *text)
{
    host(0x04, text);
}

void host_number(uint32_t number)
{
    char text[12], *at = text + sizeof text - 1;
    *at = 0;
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    host_say(at);
}

const char *host_argument(void)
{
    static char line[512];
    const uint32_t about[2] = {(uint32_t)line, sizeof line};
    if (host(0x15, about) != 0)
        return "";
    const char *last = line;
    for (const char *at = line; *at; at++)
        if (*at == ' ')
            last = at + 1;
    return last;
}

void host_exit(int code)
{
    const uint32_t about[2] = {0x20026 /* the program ended */, (uint32_t)code};
    host(0x20, about);
    for (;;)
        ;
}
