/* Any bytes as the small files that a daemon reads. Input: a letter, then 'C': a configuration, and
 * arguments behind it, separated by a byte 0; 'M': a member list; 'K': a store's commit mark, with
 * its hash put right. What is taken keeps its bounds; what is refused is refused with a sentence; a
 * configuration that was printed loads again as it was. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/run/config.h"
#include "common/run/members.h"
#include "common/store/mark.h"
#include "tests/fuzz/texts.h"

enum { MARK_BYTES = 48, MARK_HASH_AT = 40 };
enum { ARGUMENTS_MAX = 8, ARGUMENT_BYTES = 64, PATH_BYTES = 32 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As the daemons have them: each type, with and without a value of its own. */
static const struct config_option options[] = {
    {"data_dir", CONFIG_TEXT, "/var/lib", 0, 0, "a text"},
    {"limit", CONFIG_NUMBER, "5", 1, 100, "a number"},
    {"any", CONFIG_NUMBER, "0", 0, UINT64_MAX, "any number"},
    {"rebalance", CONFIG_BOOL, "false", 0, 0, "a switch"},
};

/* A file with these bytes; its path is that of the descriptor. */
static void write_file(int fd, struct slice bytes, char path[PATH_BYTES])
{
	CHECK(ftruncate(fd, 0) == 0);
	CHECK(pwrite(fd, bytes.data, bytes.len, 0) == (ssize_t)bytes.len);
	snprintf(path, PATH_BYTES, "/proc/self/fd/%d", fd);
}

/* ---- configuration ---- */

static void check_values(const struct config *c)
{
	CHECK(config_number(c, "limit") >= 1 && config_number(c, "limit") <= 100);
	CHECK(strlen(config_text(c, "data_dir")) <= 4096);
	(void)config_bool(c, "rebalance");
}

static bool print_one(struct config *c, const char *path, struct buf *out)
{
	char file[ARGUMENT_BYTES] = "";
	char program[] = "x", print[] = "--print-config";
	char *argv[] = {program, file, print, NULL};
	snprintf(file, sizeof file, "--config=%s", path);
	return config_read(c, options, ARRAY_LEN(options), 3, argv, out) == CONFIG_DONE;
}

/* Only what came from the file: an argument may hold bytes that no YAML can. */
static void check_printed(int fd, const char *path)
{
	struct config once, twice;
	struct buf text = {0}, again = {0};
	char path_again[PATH_BYTES];
	if (print_one(&once, path, &text)) {
		write_file(fd, buf_slice(&text), path_again);
		CHECK(print_one(&twice, path_again, &again));
		for (uint32_t i = 0; i < once.count; i++) {
			const char *a = once.values[i].text;
			const char *b = twice.values[i].text;
			CHECK(a ? b && strcmp(a, b) == 0 : b == NULL);
		}
		config_close(&twice);
	}
	config_close(&once);
	buf_close(&text);
	buf_close(&again);
}

static void configuration(int fd, struct slice input)
{
	static char arguments[ARGUMENTS_MAX + 2][ARGUMENT_BYTES];
	char *argv[ARGUMENTS_MAX + 3] = {NULL};
	char path[PATH_BYTES];
	int argc = 2;
	struct slice rest = input;
	struct config c;
	struct buf text = {0};
	write_file(fd, take_until(&rest, 0), path);
	snprintf(arguments[0], ARGUMENT_BYTES, "x");
	snprintf(arguments[1], ARGUMENT_BYTES, "--config=%s", path);
	while (rest.len > 0 && argc < ARGUMENTS_MAX + 2) {
		struct slice argument = take_until(&rest, 0);
		snprintf(arguments[argc], ARGUMENT_BYTES, "%.*s", (int)argument.len,
			 (const char *)argument.data);
		/* it could name any file of this machine */
		argc += strncmp(arguments[argc], "--config", 8) != 0;
	}
	for (int i = 0; i < argc; i++)
		argv[i] = arguments[i];
	enum config_outcome outcome =
	    config_read(&c, options, ARRAY_LEN(options), argc, argv, &text);
	if (outcome == CONFIG_RUN)
		check_values(&c);
	else
		CHECK(text.len > 0);
	config_close(&c);
	buf_close(&text);
	check_printed(fd, path);
}

/* ---- member list ---- */

static void check_members(const struct members *m)
{
	CHECK(m->cluster != 0 && m->count > 0 && m->count <= LIMIT_MEMBERS);
	for (uint32_t i = 0; i < m->count; i++) {
		const struct member_row *row = &m->rows[i];
		bool listens = row->role == ROLE_STORAGE || row->role == ROLE_COORDINATOR;
		CHECK(row->id != 0 && row->role != ROLE_NONE && row->name[0]);
		CHECK(strlen(row->public_key) == MEMBER_KEY_CHARS);
		CHECK(listens == (row->address[0] != 0));
		CHECK(members_by_id(m, row->id) == row);
		CHECK(members_by_name(m, row->name) == row);
		CHECK(members_by_key(m, row->public_key) == row);
	}
}

static void member_list(int fd, struct slice input)
{
	char path[PATH_BYTES];
	struct members m;
	struct buf problem = {0};
	write_file(fd, input, path);
	if (members_load(path, &m, &problem)) {
		check_members(&m);
		members_close(&m);
	} else {
		CHECK(problem.len > 0 && m.count == 0);
		CHECK(!memchr(problem.data, '\n', problem.len));
	}
	buf_close(&problem);
}

/* ---- commit mark ---- */

static char directory[] = "/tmp/parley-fuzz-XXXXXX";

static void remove_directory(void)
{
	char path[sizeof directory + sizeof MARK_FILE];
	snprintf(path, sizeof path, "%s/%s", directory, MARK_FILE);
	unlink(path);
	rmdir(directory);
}

static void commit_mark(struct slice input)
{
	static int fd = -1;
	uint8_t bytes[2 * MARK_BYTES];
	size_t len = input.len < sizeof bytes ? input.len : sizeof bytes;
	char path[sizeof directory + sizeof MARK_FILE];
	if (fd < 0) {
		CHECK(mkdtemp(directory) && atexit(remove_directory) == 0);
		snprintf(path, sizeof path, "%s/%s", directory, MARK_FILE);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	}
	if (len > 0)
		memcpy(bytes, input.data, len);
	if (len >= MARK_BYTES)
		be64_write(bytes + MARK_HASH_AT, XXH3_64bits(bytes, MARK_HASH_AT));
	CHECK(fd >= 0 && ftruncate(fd, 0) == 0);
	CHECK(pwrite(fd, bytes, len, 0) == (ssize_t)len);
	struct mark_found found = mark_read(directory);
	bool whole = len >= MARK_BYTES && memcmp(bytes, "PARLEYM1", 8) == 0;
	CHECK(found.valid == whole);
	CHECK(found.done == (whole ? be64_read(bytes + 24) : 0));
	CHECK(found.synced == (whole ? be64_read(bytes + 32) : 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	CHECK(fd >= 0);
	if (size > 0 && data[0] == 'C')
		configuration(fd, slice_of(data + 1, size - 1));
	else if (size > 0 && data[0] == 'M')
		member_list(fd, slice_of(data + 1, size - 1));
	else if (size > 0 && data[0] == 'K')
		commit_mark(slice_of(data + 1, size - 1));
	return 0;
}
