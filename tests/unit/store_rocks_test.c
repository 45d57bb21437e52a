/* What RocksDB's store adds to the interface: damage, full disks and other processes. */
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <rocksdb/c.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/store/mark.h"
#include "tests/unit/store_rocks_case.h"

enum { VALUE_BYTES = 20000, SKIPPED = 77 };

/* Whether this program has synced that file or directory itself. */
static ino_t watched;
static bool watched_synced;

int fsync(int fd)
{
	struct stat st;
	if (fstat(fd, &st) == 0 && st.st_ino == watched)
		watched_synced = true;
	return (int)syscall(SYS_fsync, fd);
}

static enum store_open try_open(struct bench *b, bool accept_torn_log)
{
	struct store_rocks_options options = {
	    .path = b->directory,
	    .accept_torn_log = accept_torn_log,
	};
	buf_clear(&b->text);
	return store_rocks_open(&options, &b->store, &b->text);
}

static void open_store(struct bench *b)
{
	assert_int_equal(try_open(b, false), STORE_OPEN_OK);
}

static void expect_refusal(struct bench *b, enum store_open why)
{
	assert_int_equal(try_open(b, false), why);
	assert_null(b->store);
	assert_true(b->text.len > 0);
}

/* A value that the key determines, too random to be compressed. */
static void fill(struct buf *value, uint64_t key)
{
	struct rng rng;
	rng_init(&rng, key);
	buf_clear(value);
	rng_fill(&rng, buf_reserve(value, VALUE_BYTES), VALUE_BYTES);
	value->len = VALUE_BYTES;
}

static enum store_result put_key(struct store *s, uint64_t number, bool sync)
{
	uint8_t key[8];
	struct buf value = {0};
	be64_write(key, number);
	fill(&value, number);
	store_put(s, STORE_DOCUMENTS, slice_of(key, sizeof key), buf_slice(&value));
	buf_close(&value);
	return store_commit(s, sync);
}

static enum store_result get_key(struct store *s, uint64_t number)
{
	uint8_t key[8];
	struct slice found;
	be64_write(key, number);
	enum store_result result = store_get(s, STORE_DOCUMENTS, slice_of(key, sizeof key), &found);
	struct buf value = {0};
	fill(&value, number);
	CHECK(result != STORE_OK || slice_equal(found, buf_slice(&value)));
	buf_close(&value);
	return result;
}

static void put_keys(struct bench *b, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
		assert_int_equal(put_key(b->store, i, true), STORE_OK);
}

static void expect_keys(struct bench *b, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++)
		assert_int_equal(get_key(b->store, i), STORE_OK);
	assert_int_equal(get_key(b->store, count), STORE_ABSENT);
}

/* The path of the largest file whose name ends so, borrowed until the next call. */
static const char *file_of(struct bench *b, const char *end, off_t *bytes)
{
	static char path[512];
	*bytes = -1;
	DIR *directory = opendir(b->directory);
	assert_non_null(directory);
	for (struct dirent *e = readdir(directory); e; e = readdir(directory)) {
		struct stat st;
		size_t len = strlen(e->d_name), end_len = strlen(end);
		if (len < end_len || strcmp(e->d_name + len - end_len, end) != 0 ||
		    fstatat(dirfd(directory), e->d_name, &st, 0) != 0 || st.st_size <= *bytes)
			continue;
		*bytes = st.st_size;
		snprintf(path, sizeof path, "%s/%s", b->directory, e->d_name);
	}
	closedir(directory);
	assert_true(*bytes > 0);
	return path;
}

static void flip_byte(struct bench *b, const char *end, int percent)
{
	off_t bytes;
	uint8_t byte;
	int fd = open(file_of(b, end, &bytes), O_RDWR);
	assert_true(fd >= 0);
	off_t at = bytes * percent / 100;
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void cut_log(struct bench *b, off_t less)
{
	off_t bytes;
	const char *path = file_of(b, ".log", &bytes);
	assert_int_equal(truncate(path, bytes - less), 0);
}

static void delete_file(struct bench *b, const char *end)
{
	off_t bytes;
	assert_int_equal(unlink(file_of(b, end, &bytes)), 0);
}

/* Fills a store with `count` keys that are in the log when it is closed. */
static void fill_log(struct bench *b, uint64_t count)
{
	open_store(b);
	put_keys(b, 0, count);
	shut(b);
}

/* As fill_log, but then in a table file: opening writes what the log held. */
static void fill_table(struct bench *b, uint64_t count)
{
	fill_log(b, count);
	open_store(b);
	shut(b);
}

static void a_second_open_is_busy(void **state)
{
	struct bench *b = *state;
	open_store(b);
	struct bench other = {.store = NULL};
	memcpy(other.directory, b->directory, sizeof other.directory);
	expect_refusal(&other, STORE_OPEN_BUSY);
	buf_close(&other.text);
	put_keys(b, 0, 3);
	expect_keys(b, 3);
}

/* The name of a new directory is content of the one that it is in. */
static void a_new_directory_lasts(void **state)
{
	struct bench *b = *state;
	struct bench inner = {.store = NULL};
	struct stat st;
	assert_int_equal(stat(b->directory, &st), 0);
	snprintf(inner.directory, sizeof inner.directory, "%.40s/store", b->directory);
	watched = st.st_ino;
	watched_synced = false;
	open_store(&inner);
	assert_true(watched_synced);
	shut(&inner);
	buf_close(&inner.text);
	watched = 0;
}

static void an_unreachable_directory_is_no_damage(void **state)
{
	struct bench *b = *state;
	size_t len = strlen(b->directory);
	snprintf(b->directory + len, sizeof b->directory - len, "/no/such");
	expect_refusal(b, STORE_OPEN_FAILED);
	b->directory[len] = 0;
}

static void a_flipped_byte_in_the_log_is_corruption(void **state)
{
	struct bench *b = *state;
	fill_log(b, 20);
	off_t before, after;
	flip_byte(b, ".log", 50);
	file_of(b, ".log", &before);
	expect_refusal(b, STORE_OPEN_CORRUPT);
	expect_refusal(b, STORE_OPEN_CORRUPT);
	file_of(b, ".log", &after);
	assert_int_equal(before, after); /* left for whoever wants to look into it */
}

static void a_cut_log_is_corruption(void **state)
{
	struct bench *b = *state;
	fill_log(b, 20);
	cut_log(b, VALUE_BYTES / 2);
	expect_refusal(b, STORE_OPEN_CORRUPT);
	cut_log(b, 3);
	expect_refusal(b, STORE_OPEN_CORRUPT);
}

static void a_log_cut_between_commits_is_corruption(void **state)
{
	struct bench *b = *state;
	off_t bytes;
	open_store(b);
	put_keys(b, 0, 2);
	file_of(b, ".log", &bytes);
	put_keys(b, 2, 1);
	shut(b);
	off_t all;
	file_of(b, ".log", &all);
	cut_log(b, all - bytes);
	expect_refusal(b, STORE_OPEN_CORRUPT);
}

static void missing_files_are_corruption(void **state)
{
	struct bench *b = *state;
	fill_table(b, 20);
	delete_file(b, ".sst");
	expect_refusal(b, STORE_OPEN_CORRUPT);
	delete_file(b, "CURRENT");
	expect_refusal(b, STORE_OPEN_CORRUPT);
}

static void a_missing_log_is_corruption(void **state)
{
	struct bench *b = *state;
	fill_log(b, 5);
	delete_file(b, ".log");
	expect_refusal(b, STORE_OPEN_CORRUPT);
}

static void a_flipped_byte_in_a_table_is_found(void **state)
{
	struct bench *b = *state;
	fill_table(b, 20);
	flip_byte(b, ".sst", 50);
	enum store_open opened = try_open(b, false);
	if (opened != STORE_OPEN_OK) {
		assert_int_equal(opened, STORE_OPEN_CORRUPT);
		return;
	}
	int broken = 0;
	for (uint64_t i = 0; i < 20; i++) {
		enum store_result result = get_key(b->store, i);
		broken += result == STORE_BROKEN;
		assert_true(result == STORE_OK || result == STORE_BROKEN);
	}
	assert_true(broken > 0);
	assert_true(store_rocks_error(b->store).len > 0);
	assert_int_equal(put_key(b->store, 20, true), STORE_BROKEN);
	struct store_iterator *it = store_iterate(b->store, STORE_DOCUMENTS);
	for (store_seek(b->store, it, (struct slice){0}); store_valid(b->store, it);)
		store_next(b->store, it);
	assert_int_equal(store_iterator_result(b->store, it), STORE_BROKEN);
	store_iterator_free(b->store, it);
	struct buf report = {0};
	assert_int_equal(store_rocks_verify(b->store, NULL, NULL, &report), STORE_BROKEN);
	assert_non_null(strstr(buf_cstr(&report), "documents broken after"));
	buf_close(&report);
}

/* Who does not ask how a walk ended takes what can't be read for the end: the daemon must know. */
static void a_walk_that_breaks_off_is_noticed(void **state)
{
	struct bench *b = *state;
	fill_table(b, 20);
	flip_byte(b, ".sst", 50);
	if (try_open(b, false) != STORE_OPEN_OK)
		return;
	uint64_t seen = 0;
	struct store_iterator *it = store_iterate(b->store, STORE_DOCUMENTS);
	for (store_seek(b->store, it, (struct slice){0}); store_valid(b->store, it); seen++)
		store_next(b->store, it);
	store_iterator_free(b->store, it);
	assert_true(seen < 20);
	assert_true(store_rocks_failed(b->store));
	assert_true(store_rocks_damaged(b->store));
}

/* Runs this program again, as another process, with a task of the table in main. */
static int run(const char *task, const char *directory)
{
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		execl("/proc/self/exe", "store_rocks_test", task, directory, (char *)NULL);
		_exit(99);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* In a process of its own: commits 10 keys; the next commit's write is cut short in the middle. */
static int cut_short(const char *directory)
{
	struct bench b = {.store = NULL};
	snprintf(b.directory, sizeof b.directory, "%s", directory);
	if (try_open(&b, false) != STORE_OPEN_OK)
		return 1;
	for (uint64_t i = 0; i < 10; i++)
		if (put_key(b.store, i, i % 2) != STORE_OK)
			return 2;
	off_t bytes;
	file_of(&b, ".log", &bytes);
	signal(SIGXFSZ, SIG_IGN);
	struct rlimit limit = {(rlim_t)bytes + VALUE_BYTES / 2, RLIM_INFINITY};
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		return 3;
	if (put_key(b.store, 10, true) != STORE_BROKEN ||
	    put_key(b.store, 11, true) != STORE_BROKEN)
		return 4;
	return store_rocks_error(b.store).len > 0 ? 0 : 5;
}

static void a_commit_cut_short_is_as_if_it_had_not_begun(void **state)
{
	struct bench *b = *state;
	assert_int_equal(run("cut-short", b->directory), 0);
	open_store(b);
	assert_true(b->text.len > 0); /* for the log */
	expect_keys(b, 10);
	put_keys(b, 10, 1);
	shut(b);
	open_store(b);
	assert_int_equal(b->text.len, 0);
	expect_keys(b, 11);
}

/* Rewrites the mark as the last boot of the machine left it. */
static void mark_of_an_earlier_boot(struct bench *b, uint64_t done, uint64_t synced)
{
	struct mark mark;
	assert_true(mark_open(&mark, b->directory, synced));
	mark.boot[3] ^= 1;
	assert_true(mark_write(&mark, done, false));
	mark_close(&mark);
}

static void what_a_power_cut_left_unfinished_is_dropped(void **state)
{
	struct bench *b = *state;
	assert_int_equal(run("cut-short", b->directory), 0);
	mark_of_an_earlier_boot(b, 9, 9);
	open_store(b);
	assert_true(b->text.len > 0);
	expect_keys(b, 10);
}

static void a_power_cut_explains_no_missing_commit(void **state)
{
	struct bench *b = *state;
	assert_int_equal(run("cut-short", b->directory), 0);
	mark_of_an_earlier_boot(b, 11, 11);
	expect_refusal(b, STORE_OPEN_CORRUPT);
	delete_file(b, MARK_FILE);
	expect_refusal(b, STORE_OPEN_CORRUPT);
	assert_int_equal(try_open(b, true), STORE_OPEN_OK);
	expect_keys(b, 10);
}

/* Its length is right, so it was written to the end: the disk lies. */
static void a_power_cut_explains_no_false_record(void **state)
{
	struct bench *b = *state;
	fill_log(b, 10);
	mark_of_an_earlier_boot(b, 9, 9);
	flip_byte(b, ".log", 98);
	expect_refusal(b, STORE_OPEN_CORRUPT);
}

static void a_power_cut_may_leave_zeros_in_the_last_record(void **state)
{
	struct bench *b = *state;
	fill_log(b, 10);
	cut_log(b, VALUE_BYTES / 2);
	cut_log(b, -VALUE_BYTES / 2);
	mark_of_an_earlier_boot(b, 10, 10); /* it was synced: the disk lies */
	expect_refusal(b, STORE_OPEN_CORRUPT);
	mark_of_an_earlier_boot(b, 3, 3);
	flip_byte(b, ".log", 50);
	expect_refusal(b, STORE_OPEN_CORRUPT);
	flip_byte(b, ".log", 50); /* and back: only if a refusal changes nothing */
	open_store(b);
	expect_keys(b, 9);
}

static void a_power_cut_explains_no_hole(void **state)
{
	struct bench *b = *state;
	fill_log(b, 10);
	mark_of_an_earlier_boot(b, 3, 3);
	flip_byte(b, ".log", 50);
	expect_refusal(b, STORE_OPEN_CORRUPT);
}

static void lost_synced_commits_are_corruption(void **state)
{
	struct bench *b = *state;
	fill_log(b, 10);
	mark_of_an_earlier_boot(b, 12, 12);
	expect_refusal(b, STORE_OPEN_CORRUPT);
	mark_of_an_earlier_boot(b, 12, 10); /* two were not synced: a power cut may take them */
	open_store(b);
	expect_keys(b, 10);
}

static void the_mark_counts_every_commit(void **state)
{
	struct bench *b = *state;
	open_store(b);
	put_keys(b, 0, 4);
	assert_int_equal(put_key(b->store, 4, false), STORE_OK);
	struct mark_found mark = mark_read(b->directory);
	assert_true(mark.valid && mark.same_boot);
	assert_int_equal(mark.done, 5);
	assert_int_equal(mark.synced, 4);
	assert_int_equal(store_commit(b->store, true), STORE_OK);
	assert_int_equal(mark_read(b->directory).synced, 5);
	shut(b);
	flip_byte(b, MARK_FILE, 60);
	assert_false(mark_read(b->directory).valid);
	open_store(b);
	expect_keys(b, 5);
}

static bool tiny_disk(const char *directory)
{
	if (unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
		return false;
	return mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	       mount("none", directory, "tmpfs", 0, "size=6m") == 0;
}

/* In a process of its own: fills a disk of 6 MiB, then gives it more room. */
static int full_disk(const char *directory)
{
	struct bench b = {.store = NULL};
	snprintf(b.directory, sizeof b.directory, "%s", directory);
	if (!tiny_disk(directory))
		return SKIPPED;
	if (try_open(&b, false) != STORE_OPEN_OK)
		return 1;
	uint64_t keys = 0;
	enum store_result result = STORE_OK;
	while (keys < 1000 && (result = put_key(b.store, keys, true)) == STORE_OK)
		keys++;
	if (result != STORE_FULL || put_key(b.store, 1000, true) != STORE_FULL)
		return 2;
	shut(&b);
	if (try_open(&b, false) == STORE_OPEN_CORRUPT)
		return 3;
	shut(&b);
	if (mount("none", directory, "tmpfs", MS_REMOUNT, "size=40m") != 0)
		return 4;
	if (try_open(&b, false) != STORE_OPEN_OK)
		return 5;
	for (uint64_t i = 0; i < keys; i++)
		if (get_key(b.store, i) != STORE_OK)
			return 6;
	if (get_key(b.store, keys) != STORE_ABSENT || put_key(b.store, keys, true) != STORE_OK)
		return 7;
	shut(&b);
	buf_close(&b.text);
	return 0;
}

static void a_full_disk_loses_nothing(void **state)
{
	struct bench *b = *state;
	int result = run("full-disk", b->directory);
	if (result == SKIPPED)
		skip();
	assert_int_equal(result, 0);
}

static bool count_pair(void *context, enum store_family family, struct slice key,
		       struct slice value)
{
	uint64_t *left = context;
	assert_int_equal(family, STORE_DOCUMENTS);
	assert_int_equal(key.len, 8);
	assert_int_equal(value.len, VALUE_BYTES);
	return --*left > 0;
}

static void verify_visits_everything(void **state)
{
	struct bench *b = *state;
	fill_table(b, 20);
	open_store(b);
	put_keys(b, 20, 5);
	struct buf report = {0};
	uint64_t left = 1000;
	assert_int_equal(store_rocks_verify(b->store, count_pair, &left, &report), STORE_OK);
	assert_int_equal(left, 1000 - 25);
	assert_non_null(strstr(buf_cstr(&report), "documents keys=25 bytes=500200\n"));
	left = 3;
	assert_int_equal(store_rocks_verify(b->store, count_pair, &left, &report), STORE_BROKEN);
	assert_int_equal(left, 0);
	buf_close(&report);
	expect_keys(b, 25);
}

static void metrics_tell_what_happened(void **state)
{
	struct bench *b = *state;
	struct store_rocks_options options = {.path = b->directory, .statistics = true};
	assert_int_equal(store_rocks_open(&options, &b->store, &b->text), STORE_OPEN_OK);
	put_keys(b, 0, 2);
	assert_int_equal(put_key(b->store, 2, false), STORE_OK);
	struct buf out = {0};
	store_rocks_metrics(b->store, &out);
	const char *text = buf_cstr(&out);
	assert_non_null(strstr(text, "\nparley_store_commits_total 3\n"));
	assert_non_null(strstr(text, "\nparley_store_syncs_total 2\n"));
	assert_non_null(strstr(text, "\nparley_store_failed 0\n"));
	assert_non_null(strstr(text, "\n# TYPE parley_store_disk_bytes gauge\n"));
	assert_non_null(strstr(text, "\nparley_store_memtable_bytes{family=\"documents\"} "));
	assert_non_null(strstr(text, "{ticker=\"rocksdb.number.keys.written\"} 3\n"));
	assert_null(strstr(text, "sync_seconds_total 0.000000000\n"));
	buf_close(&out);
}

/* As a directory was made before there were indexes. */
static void make_without_indexes(const struct bench *b)
{
	static const char *const names[] = {"default", "documents", "stream", "conflicts"};
	rocksdb_options_t *options = rocksdb_options_create();
	rocksdb_options_set_create_if_missing(options, 1);
	rocksdb_options_set_create_missing_column_families(options, 1);
	const rocksdb_options_t *each[] = {options, options, options, options};
	rocksdb_column_family_handle_t *families[ARRAY_LEN(names)];
	char *error = NULL;
	rocksdb_t *db = rocksdb_open_column_families(options, b->directory, ARRAY_LEN(names), names,
						     each, families, &error);
	assert_null(error);
	rocksdb_writeoptions_t *write = rocksdb_writeoptions_create();
	rocksdb_put_cf(db, write, families[STORE_DOCUMENTS], "key", 3, "value", 5, &error);
	assert_null(error);
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		rocksdb_column_family_handle_destroy(families[i]);
	rocksdb_close(db);
	rocksdb_writeoptions_destroy(write);
	rocksdb_options_destroy(options);
}

static void a_directory_with_fewer_families_opens(void **state)
{
	struct bench *b = *state;
	struct slice value;
	make_without_indexes(b);
	open_store(b);
	assert_int_equal(store_get(b->store, STORE_DOCUMENTS, slice_text("key"), &value), STORE_OK);
	assert_true(slice_is(value, "value"));
	store_put(b->store, STORE_INDEXES, slice_text("k"), slice_text("v"));
	assert_int_equal(store_commit(b->store, true), STORE_OK);
	shut(b);
	open_store(b);
	assert_int_equal(store_get(b->store, STORE_INDEXES, slice_text("k"), &value), STORE_OK);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "cut-short") == 0)
		_exit(cut_short(argv[2])); /* dies as a killed process would */
	if (argc == 3 && strcmp(argv[1], "full-disk") == 0)
		return full_disk(argv[2]);
	const struct CMUnitTest tests[] = {
	    CASE(a_second_open_is_busy),
	    CASE(a_new_directory_lasts),
	    CASE(an_unreachable_directory_is_no_damage),
	    CASE(a_flipped_byte_in_the_log_is_corruption),
	    CASE(a_cut_log_is_corruption),
	    CASE(a_log_cut_between_commits_is_corruption),
	    CASE(missing_files_are_corruption),
	    CASE(a_missing_log_is_corruption),
	    CASE(a_flipped_byte_in_a_table_is_found),
	    CASE(a_walk_that_breaks_off_is_noticed),
	    CASE(a_commit_cut_short_is_as_if_it_had_not_begun),
	    CASE(what_a_power_cut_left_unfinished_is_dropped),
	    CASE(a_power_cut_explains_no_missing_commit),
	    CASE(a_power_cut_explains_no_false_record),
	    CASE(a_power_cut_may_leave_zeros_in_the_last_record),
	    CASE(a_power_cut_explains_no_hole),
	    CASE(lost_synced_commits_are_corruption),
	    CASE(the_mark_counts_every_commit),
	    CASE(a_full_disk_loses_nothing),
	    CASE(verify_visits_everything),
	    CASE(metrics_tell_what_happened),
	    CASE(a_directory_with_fewer_families_opens),
	};
	return cmocka_run_group_tests_name("store_rocks", tests, NULL, NULL);
}
