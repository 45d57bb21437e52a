#include "common/run/clock.h"

#include <time.h>

#include "common/base/check.h"

static struct timespec read_clock(clockid_t which)
{
	struct timespec t;
	CHECK(clock_gettime(which, &t) == 0);
	return t;
}

int64_t clock_boot_ms(void)
{
	struct timespec t = read_clock(CLOCK_BOOTTIME);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t clock_wall_ms(void)
{
	struct timespec t = read_clock(CLOCK_REALTIME);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

uint64_t clock_mono_us(void)
{
	struct timespec t = read_clock(CLOCK_MONOTONIC);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}
