/* A disk that tells what a power cut would leave: preloaded into a daemon, it notes each sync.
 *
 *   UNSYNCED_LOG      a line "inode size" for each fsync and fdatasync of a file: so much is
 * durable UNSYNCED_LOG.ID   content of the small file with this inode at its last sync
 *   UNSYNCED_BOOT     read in place of the kernel's id of this boot: a power cut has another one
 *
 * chaos.mjs kills the process, cuts each file back to what was durable or somewhere behind that,
 * and gives UNSYNCED_BOOT another id. All files of a store but small ones are only appended to, so
 * this is what a power cut does to them; that names in directories get lost as well is not shown.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SMALL_BYTES = 512, PATH_BYTES = 512 };

static const char boot_id[] = "/proc/sys/kernel/random/boot_id";

/* Straight to the kernel: the names of the C library may be the ones below. */
static int sys_open(const char *path, int flags, mode_t mode)
{
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static void keep_small(const char *log, int fd, const struct stat *st)
{
	char path[PATH_BYTES], temporary[PATH_BYTES + 8], bytes[SMALL_BYTES];
	ssize_t got = pread(fd, bytes, sizeof bytes, 0);
	snprintf(path, sizeof path, "%s.%lu", log, (unsigned long)st->st_ino);
	snprintf(temporary, sizeof temporary, "%s.new", path);
	int out = sys_open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (out < 0)
		return;
	bool done = got >= 0 && write(out, bytes, (size_t)got) == got;
	close(out);
	if (done)
		(void)!rename(temporary, path);
}

static void note(int fd, const struct stat *before)
{
	const char *log = getenv("UNSYNCED_LOG");
	char line[64];
	if (!log || !S_ISREG(before->st_mode))
		return;
	if (before->st_size <= SMALL_BYTES)
		keep_small(log, fd, before);
	int len = snprintf(line, sizeof line, "%lu %lld\n", (unsigned long)before->st_ino,
			   (long long)before->st_size);
	int out = sys_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (out < 0)
		return;
	(void)!write(out, line, (size_t)len);
	close(out);
}

/* What is there when the sync begins is durable when it returns. */
static int sync_and_note(int fd, long call)
{
	struct stat before;
	bool known = fstat(fd, &before) == 0;
	int result = (int)syscall(call, fd);
	if (result == 0 && known)
		note(fd, &before);
	return result;
}

int fsync(int fd)
{
	return sync_and_note(fd, SYS_fsync);
}

int fdatasync(int fd)
{
	return sync_and_note(fd, SYS_fdatasync);
}

static int open_mapped(const char *path, int flags, mode_t mode)
{
	const char *boot = getenv("UNSYNCED_BOOT");
	return sys_open(boot && strcmp(path, boot_id) == 0 ? boot : path, flags, mode);
}

static bool takes_mode(int flags)
{
	return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

int open(const char *path, int flags, ...)
{
	va_list rest;
	va_start(rest, flags);
	mode_t mode = takes_mode(flags) ? va_arg(rest, mode_t) : 0;
	va_end(rest);
	return open_mapped(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list rest;
	va_start(rest, flags);
	mode_t mode = takes_mode(flags) ? va_arg(rest, mode_t) : 0;
	va_end(rest);
	return open_mapped(path, flags | O_LARGEFILE, mode);
}
