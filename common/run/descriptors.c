#include "common/run/descriptors.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/check.h"

void descriptors_fill_standard(void)
{
	int fd;
	do {
		fd = open("/dev/null", O_RDWR); /* also for the programs that it starts */
		CHECK(fd >= 0);
	} while (fd <= STDERR_FILENO);
	close(fd);
}

void descriptors_want(struct logger *logger, uint64_t wanted)
{
	struct rlimit limit;
	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = limit.rlim_max; /* always allowed */
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < wanted)
		logger_printf(logger, LOG_LEVEL_WARN, "descriptors_short limit=%llu wanted=%llu",
			      (unsigned long long)limit.rlim_max, (unsigned long long)wanted);
}
