#include "common/run/entropy.h"

#include <errno.h>
#include <sys/random.h>

#include "common/base/check.h"

void entropy_fill(void *out, size_t len)
{
	uint8_t *at = out;
	while (len > 0) {
		ssize_t got = getrandom(at, len, 0);
		if (got < 0 && errno == EINTR)
			continue;
		CHECK(got > 0);
		at += got;
		len -= (size_t)got;
	}
}

uint64_t entropy_u64(void)
{
	uint64_t value = 0;
	while (value == 0)
		entropy_fill(&value, sizeof value);
	return value;
}
