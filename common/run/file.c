#include "common/run/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_STEP = 16 * 1024 };

static bool say(struct buf *problem, const char *path, const char *what)
{
	buf_printf(problem, "%s: %s", path, what);
	return false;
}

static bool read_all(int fd, const char *path, size_t bytes_max, struct buf *out,
		     struct buf *problem)
{
	size_t start = out->len;
	for (;;) {
		uint8_t *to = buf_reserve(out, READ_STEP);
		ssize_t got = read(fd, to, READ_STEP);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return say(problem, path, strerror(errno));
		if (got == 0)
			return true;
		out->len += (size_t)got;
		if (out->len - start > bytes_max) {
			buf_printf(problem, "%s: larger than %zu bytes", path, bytes_max);
			return false;
		}
	}
}

static bool is_credential(const char *path)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	size_t len = directory ? strlen(directory) : 0;
	return len > 0 && strncmp(path, directory, len) == 0 && path[len] == '/';
}

static bool mode_is_secret(int fd, const char *path, struct buf *problem)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return say(problem, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return say(problem, path, "not a regular file");
	unsigned forbidden = is_credential(path) ? 0037 : 0077;
	if ((st.st_mode & forbidden) == 0)
		return true;
	buf_printf(problem,
		   "%s: mode is %04o; a secret key must be readable by its owner only (chmod 0400)",
		   path, (unsigned)(st.st_mode & 07777));
	return false;
}

static bool read_file(const char *path, size_t bytes_max, bool secret, struct buf *out,
		      struct buf *problem)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return say(problem, path, strerror(errno));
	bool ok = (!secret || mode_is_secret(fd, path, problem)) &&
		  read_all(fd, path, bytes_max, out, problem);
	close(fd);
	return ok;
}

bool file_read(const char *path, size_t bytes_max, struct buf *out, struct buf *problem)
{
	return read_file(path, bytes_max, false, out, problem);
}

bool file_read_secret(const char *path, size_t bytes_max, struct buf *out, struct buf *problem)
{
	return read_file(path, bytes_max, true, out, problem);
}
