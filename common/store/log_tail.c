#include "common/store/log_tail.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"

/* What a disk writes whole or not at all. */
enum { SECTOR_BYTES = 512 };

/* Of the log with the greatest number; 0: there is none. */
static uint64_t last_number(const char *directory)
{
	uint64_t last = 0;
	DIR *entries = opendir(directory);
	if (!entries)
		return 0;
	for (struct dirent *e = readdir(entries); e; e = readdir(entries)) {
		char *end;
		uint64_t number = strtoull(e->d_name, &end, 10);
		if (strcmp(end, ".log") == 0 && number > last)
			last = number;
	}
	closedir(entries);
	return last;
}

static int open_last(const char *directory)
{
	uint64_t number = last_number(directory);
	if (number == 0)
		return -1;
	struct buf path = {0};
	buf_printf(&path, "%s/%06" PRIu64 ".log", directory, number);
	int fd = open(buf_cstr(&path), O_RDWR | O_CLOEXEC);
	buf_close(&path);
	return fd;
}

static bool sector_is_zero(int fd, off_t at, size_t len)
{
	static const uint8_t zeros[SECTOR_BYTES];
	uint8_t sector[SECTOR_BYTES];
	return pread(fd, sector, len, at) == (ssize_t)len && memcmp(sector, zeros, len) == 0;
}

/* Where the zeros begin; `bytes` if the file does not end in any. */
static off_t zeros_from(int fd, off_t bytes)
{
	off_t from = bytes;
	while (from > 0) {
		off_t sector = (from - 1) / SECTOR_BYTES * SECTOR_BYTES;
		if (!sector_is_zero(fd, sector, (size_t)(from - sector)))
			break;
		from = sector;
	}
	return from;
}

bool log_tail_cut(struct log_tail *t, const char *directory)
{
	t->fd = open_last(directory);
	if (t->fd < 0)
		return false;
	t->bytes = lseek(t->fd, 0, SEEK_END);
	off_t from = t->bytes > 0 ? zeros_from(t->fd, t->bytes) : t->bytes;
	if (from < t->bytes && ftruncate(t->fd, from) == 0)
		return true;
	close(t->fd);
	t->fd = -1;
	return false;
}

bool log_tail_restore(struct log_tail *t)
{
	bool done = ftruncate(t->fd, t->bytes) == 0;
	close(t->fd);
	t->fd = -1;
	return done;
}
