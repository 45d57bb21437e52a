#include "common/store/mark.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/buf.h"

/* The file: magic, boot id, done, synced, hash of all that; big endian. Far smaller than a disk's
 * sector, so it is written whole or not at all. */
#define MARK_MAGIC "PARLEYM1"
enum {
	BOOT_AT = 8,
	DONE_AT = BOOT_AT + MARK_BOOT_BYTES,
	SYNCED_AT = DONE_AT + 8,
	HASH_AT = SYNCED_AT + 8,
	MARK_BYTES = HASH_AT + 8
};

static int hex_digit(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : c - 'a' + 10;
}

/* The kernel's id of this boot; zero where it can't be told, which equals no other. */
static void boot_read(uint8_t boot[MARK_BOOT_BYTES])
{
	char text[64] = "";
	memset(boot, 0, MARK_BOOT_BYTES);
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t got = read(fd, text, sizeof text);
	close(fd);
	int digits = 0;
	for (ssize_t i = 0; i < got && digits < 2 * MARK_BOOT_BYTES; i++) {
		if (!isdigit((unsigned char)text[i]) && (text[i] < 'a' || text[i] > 'f'))
			continue;
		boot[digits / 2] = (uint8_t)(boot[digits / 2] << 4 | hex_digit(text[i]));
		digits++;
	}
	if (digits < 2 * MARK_BOOT_BYTES)
		memset(boot, 0, MARK_BOOT_BYTES);
}

static bool same_boot(const uint8_t *found)
{
	static const uint8_t unknown[MARK_BOOT_BYTES];
	uint8_t now[MARK_BOOT_BYTES];
	boot_read(now);
	return memcmp(now, unknown, sizeof now) != 0 && memcmp(now, found, sizeof now) == 0;
}

static int open_file(const char *directory, int flags)
{
	struct buf path = {0};
	buf_printf(&path, "%s/%s", directory, MARK_FILE);
	int fd = open(buf_cstr(&path), flags | O_CLOEXEC, 0600);
	buf_close(&path);
	return fd;
}

struct mark_found mark_read(const char *directory)
{
	struct mark_found found = {0};
	uint8_t raw[MARK_BYTES];
	int fd = open_file(directory, O_RDONLY);
	if (fd < 0)
		return found;
	ssize_t got = pread(fd, raw, sizeof raw, 0);
	close(fd);
	if (got != MARK_BYTES || memcmp(raw, MARK_MAGIC, BOOT_AT) != 0 ||
	    be64_read(raw + HASH_AT) != XXH3_64bits(raw, HASH_AT))
		return found;
	found.valid = true;
	found.same_boot = same_boot(raw + BOOT_AT);
	found.done = be64_read(raw + DONE_AT);
	found.synced = be64_read(raw + SYNCED_AT);
	return found;
}

static bool save(const struct mark *m)
{
	uint8_t raw[MARK_BYTES];
	memcpy(raw, MARK_MAGIC, BOOT_AT);
	memcpy(raw + BOOT_AT, m->boot, MARK_BOOT_BYTES);
	be64_write(raw + DONE_AT, m->done);
	be64_write(raw + SYNCED_AT, m->synced);
	be64_write(raw + HASH_AT, XXH3_64bits(raw, HASH_AT));
	return pwrite(m->fd, raw, sizeof raw, 0) == MARK_BYTES;
}

static bool sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool done = fsync(fd) == 0;
	close(fd);
	return done;
}

bool directory_sync(const char *directory)
{
	struct buf parent = {0};
	buf_printf(&parent, "%s/..", directory);
	bool done = sync_directory(directory) && sync_directory(buf_cstr(&parent));
	buf_close(&parent);
	return done;
}

bool mark_open(struct mark *m, const char *directory, uint64_t sequence)
{
	*m = (struct mark){.done = sequence, .synced = sequence};
	boot_read(m->boot);
	m->fd = open_file(directory, O_RDWR | O_CREAT);
	if (m->fd < 0)
		return false;
	if (save(m) && fdatasync(m->fd) == 0 && directory_sync(directory))
		return true;
	mark_close(m);
	return false;
}

bool mark_write(struct mark *m, uint64_t sequence, bool synced)
{
	m->done = sequence;
	if (synced)
		m->synced = sequence;
	return save(m);
}

bool mark_sync(const struct mark *m)
{
	return fdatasync(m->fd) == 0;
}

void mark_close(struct mark *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}
