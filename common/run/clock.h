/* The only readers of clocks. */
#ifndef PARLEY_RUN_CLOCK_H
#define PARLEY_RUN_CLOCK_H

#include <stdint.h>

/* CLOCK_BOOTTIME: goes on while the machine is suspended, so that a lease ends then too. */
int64_t clock_boot_ms(void);
/* Since 1970; for people. */
int64_t clock_wall_ms(void);
/* CLOCK_MONOTONIC in microseconds: for measuring, and for systemd's protocol. */
uint64_t clock_mono_us(void);

#endif
