/* Opening: the options, and telling a damaged store from a busy or an unreachable one. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/store/log_tail.h"
#include "common/store/store_rocks_reclaim.h"

#define MIB ((size_t)1024 * 1024)

/* Share of the write buffer that the memtable's filter takes. */
#define MEMTABLE_BLOOM_RATIO 0.02

enum {
	LEVELS = 7,
	BLOOM_BITS_PER_KEY = 10,
	INFO_LOG_WARN = 2,
	BLOB_BYTES_MIN = 4096,
	ATTACHMENT_TABLE_BYTES = 256 * 1024
};

const char *const rocks_family_names[STORE_FAMILIES] = {
    [STORE_META] = "default",    [STORE_DOCUMENTS] = "documents",
    [STORE_STREAM] = "stream",   [STORE_CONFLICTS] = "conflicts",
    [STORE_INDEXES] = "indexes", [STORE_ATTACHMENTS] = "attachments",
};

static size_t or_default(size_t asked, size_t otherwise)
{
	return asked ? asked : otherwise;
}

static void set_log_options(rocksdb_options_t *o)
{
	/* a recycled log file would end in old records, not at its end */
	rocksdb_options_set_recycle_log_file_num(o, 0);
	rocksdb_options_set_max_total_wal_size(o, 64 * MIB);
	rocksdb_options_set_max_manifest_file_size(o, 4 * MIB);
	rocksdb_options_set_info_log_level(o, INFO_LOG_WARN);
	rocksdb_options_set_max_log_file_size(o, MIB);
	rocksdb_options_set_keep_log_file_num(o, 2);
	rocksdb_options_set_stats_dump_period_sec(o, 0);
	rocksdb_options_set_stats_persist_period_sec(o, 0);
}

static rocksdb_options_t *database_options(const struct store_rocks_options *from)
{
	rocksdb_options_t *o = rocksdb_options_create();
	rocksdb_options_set_create_if_missing(o, 1);
	rocksdb_options_set_create_missing_column_families(o, 1);
	rocksdb_options_set_paranoid_checks(o, 1);
	rocksdb_options_set_max_background_jobs(o, 2);
	rocksdb_options_set_max_open_files(o, 256);
	rocksdb_options_set_skip_stats_update_on_db_open(o, 1);
	rocksdb_options_set_avoid_unnecessary_blocking_io(o, 1);
	rocksdb_options_set_bytes_per_sync(o, MIB);
	rocksdb_options_set_db_write_buffer_size(
	    o, or_default(from->write_buffers_total_bytes, 48 * MIB));
	/* one thread writes: nothing to share */
	rocksdb_options_set_allow_concurrent_memtable_write(o, 0);
	rocksdb_options_set_enable_write_thread_adaptive_yield(o, 0);
	set_log_options(o);
	if (from->statistics)
		rocksdb_options_enable_statistics(o);
	return o;
}

/* Indexes and filters are cut into blocks as data is. Whole ones, a megabyte for a large file,
 * would push each other out of a small cache, and then each read decompresses one again. */
static void set_table_options(rocksdb_options_t *o, rocksdb_cache_t *cache, bool bloom)
{
	rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
	rocksdb_block_based_options_set_block_cache(table, cache);
	rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
	rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
	rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
	rocksdb_block_based_options_set_index_type(
	    table, rocksdb_block_based_table_index_type_two_level_index_search);
	rocksdb_block_based_options_set_pin_top_level_index_and_filter(table, 1);
	rocksdb_block_based_options_set_format_version(table, 5);
	if (bloom) {
		rocksdb_block_based_options_set_filter_policy(
		    table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS_PER_KEY));
		rocksdb_block_based_options_set_partition_filters(table, 1);
	}
	rocksdb_options_set_block_based_table_factory(o, table);
	rocksdb_block_based_options_destroy(table);
}

/* Chunks lie in files of their own: compaction moves their places, not their bytes. */
static void set_blob_options(rocksdb_options_t *o)
{
	rocksdb_options_set_enable_blob_files(o, 1);
	rocksdb_options_set_min_blob_size(o, BLOB_BYTES_MIN);
	rocksdb_options_set_blob_file_size(o, 64 * MIB);
	/* these tables hold little more than places: cut small, so that a compaction meets few */
	rocksdb_options_set_target_file_size_base(o, ATTACHMENT_TABLE_BYTES);
	rocksdb_options_set_max_compaction_bytes(o, 4 * ATTACHMENT_TABLE_BYTES);
	/* only when there is enough to gain: else each compaction would copy what is old, garbage
	 * or not (store_rocks_reclaim.c) */
	rocksdb_options_set_enable_blob_gc(o, 0);
}

static rocksdb_options_t *family_options(const struct rocks *r, enum store_family family,
					 const struct store_rocks_options *from)
{
	static const int compression[LEVELS] = {
	    rocksdb_no_compression,  rocksdb_no_compression,  rocksdb_lz4_compression,
	    rocksdb_lz4_compression, rocksdb_lz4_compression, rocksdb_lz4_compression,
	    rocksdb_lz4_compression,
	};
	rocksdb_options_t *o = rocksdb_options_create_copy(r->options);
	rocksdb_options_set_write_buffer_size(o, or_default(from->write_buffer_bytes, 16 * MIB));
	if (family == STORE_DOCUMENTS) {
		/* most writes ask for a document that is new: spare them the search in the memtable
		 */
		rocksdb_options_set_memtable_whole_key_filtering(o, 1);
		rocksdb_options_set_memtable_prefix_bloom_size_ratio(o, MEMTABLE_BLOOM_RATIO);
	}
	if (family == STORE_ATTACHMENTS)
		set_blob_options(o);
	rocksdb_options_set_arena_block_size(o, MIB / 4);
	rocksdb_options_set_max_bytes_for_level_base(o, 64 * MIB);
	rocksdb_options_set_compression_per_level(o, compression, LEVELS);
	set_table_options(o, r->cache, family == STORE_DOCUMENTS);
	return o;
}

/* Families are only ever added, at the end: a directory made earlier has fewer. Opening it makes
 * those that lack, but looking at it may not. */
static int families_on_disk(const struct rocks *r)
{
	size_t count = 0;
	char *error = NULL;
	char **names = rocksdb_list_column_families(r->options, r->path, &count, &error);
	/* an empty list is one, too */
	rocksdb_list_column_families_destroy(names, count);
	if (error) {
		rocksdb_free(error);
		return STORE_FAMILIES;
	}
	return count < STORE_FAMILIES ? (int)count : STORE_FAMILIES;
}

enum open_mode { OPEN_ALL, OPEN_READABLE, LOOK_AT_READABLE, LOOK_AT_CUT };

/* OPEN_ALL refuses a log with any damage. READABLE takes it up to the first; CUT takes a last
 * record that is not there to its end, and refuses one that is, but false. To LOOK changes nothing
 * on disk. NULL on success. */
static char *open_database(struct rocks *r, const struct store_rocks_options *from,
			   enum open_mode mode)
{
	static const int recovery[] = {
	    [OPEN_ALL] = rocksdb_absolute_consistency_recovery,
	    [OPEN_READABLE] = rocksdb_point_in_time_recovery,
	    [LOOK_AT_READABLE] = rocksdb_point_in_time_recovery,
	    [LOOK_AT_CUT] = rocksdb_tolerate_corrupted_tail_records_recovery,
	};
	rocksdb_options_t *options[STORE_FAMILIES];
	char *error = NULL;
	rocksdb_options_set_wal_recovery_mode(r->options, recovery[mode]);
	for (int f = 0; f < STORE_FAMILIES; f++)
		options[f] = family_options(r, (enum store_family)f, from);
	if (mode == LOOK_AT_READABLE || mode == LOOK_AT_CUT)
		r->db = rocksdb_open_for_read_only_column_families(
		    r->options, r->path, families_on_disk(r), rocks_family_names,
		    (const rocksdb_options_t *const *)options, r->families, 0, &error);
	else
		r->db = rocksdb_open_column_families(
		    r->options, r->path, STORE_FAMILIES, rocks_family_names,
		    (const rocksdb_options_t *const *)options, r->families, &error);
	for (int f = 0; f < STORE_FAMILIES; f++)
		rocksdb_options_destroy(options[f]);
	if (error)
		r->db = NULL;
	return error;
}

static void close_database(struct rocks *r)
{
	if (!r->db)
		return;
	for (int f = 0; f < STORE_FAMILIES; f++) {
		if (r->families[f])
			rocksdb_column_family_handle_destroy(r->families[f]);
		r->families[f] = NULL;
	}
	rocksdb_close(r->db);
	r->db = NULL;
}

/* What a directory looked like before RocksDB touched it. */
struct contents {
	bool current; /* the pointer file, without which RocksDB would start anew over old data */
	bool data;    /* anything that was committed may be in there */
};

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), end_len = strlen(end);
	return len >= end_len && strcmp(name + len - end_len, end) == 0;
}

static struct contents look_into(const char *path)
{
	struct contents found = {0};
	DIR *directory = opendir(path);
	if (!directory)
		return found;
	for (struct dirent *e = readdir(directory); e; e = readdir(directory)) {
		found.current |= strcmp(e->d_name, "CURRENT") == 0;
		found.data |= ends_with(e->d_name, ".sst") || ends_with(e->d_name, ".log") ||
			      strcmp(e->d_name, MARK_FILE) == 0;
	}
	closedir(directory);
	return found;
}

static enum store_open classify(const char *error, struct contents found)
{
	if (strstr(error, "/LOCK: ") || strstr(error, "lock hold by current process"))
		return STORE_OPEN_BUSY;
	if (strncmp(error, "Corruption", strlen("Corruption")) == 0)
		return STORE_OPEN_CORRUPT;
	/* a file that the store counts on is gone */
	if (found.data && strstr(error, "No such file or directory"))
		return STORE_OPEN_CORRUPT;
	return STORE_OPEN_FAILED;
}

/* Less than the mark vouches for? */
static bool falls_short(const struct mark_found *mark, uint64_t sequence)
{
	return mark->valid &&
	       (sequence < mark->synced || (mark->same_boot && sequence < mark->done));
}

/* How far the log reads in this mode; false: it does not. */
static bool look(struct rocks *r, const struct store_rocks_options *from, enum open_mode mode,
		 uint64_t *sequence)
{
	char *error = open_database(r, from, mode);
	*sequence = error ? 0 : rocksdb_get_latest_sequence_number(r->db);
	bool read = error == NULL;
	rocksdb_free(error);
	close_database(r);
	return read;
}

/* Does the log end in a record that is not there whole? Its file may have learnt of it before its
 * data came, and then it ends in zeros. */
static bool ends_in_a_cut(struct rocks *r, const struct store_rocks_options *from,
			  uint64_t readable)
{
	struct log_tail tail;
	uint64_t cut;
	if (look(r, from, LOOK_AT_CUT, &cut))
		return cut == readable;
	if (!log_tail_cut(&tail, r->path))
		return false;
	bool unfinished = look(r, from, LOOK_AT_CUT, &cut) && cut == readable;
	return log_tail_restore(&tail) && unfinished;
}

/* Is what is torn only what no commit that returned has written?
 *
 * Of a machine that stayed up the mark says so itself. After a power cut the mark is a second old.
 * But the log is written by one thread, which waits for each sync: as a rule what the cut left
 * unfinished is the last record, and it is not there to its end. A record that is there whole with
 * a false checksum, or damage with more behind it, is taken for none of that. It may be: of commits
 * that nobody waits for several lie behind each other unsynced, and a file system that makes pages
 * durable in any order may have kept the later of them. Such a store is set aside for nothing,
 * which costs a rebuilding; the other way round acknowledged writes could go unnoticed. */
static bool only_unfinished(struct rocks *r, const struct store_rocks_options *from)
{
	struct mark_found mark = mark_read(r->path);
	uint64_t readable;
	if (!mark.valid || !look(r, from, LOOK_AT_READABLE, &readable) ||
	    falls_short(&mark, readable))
		return false;
	return mark.same_boot || ends_in_a_cut(r, from, readable);
}

/* The log is damaged: opens what is there if that is all that was ever committed. */
static enum store_open open_torn(struct rocks *r, const struct store_rocks_options *from,
				 struct buf *text)
{
	struct mark_found mark = mark_read(r->path);
	if (!from->accept_torn_log && !only_unfinished(r, from))
		return STORE_OPEN_CORRUPT;
	char *error = open_database(r, from, OPEN_READABLE);
	if (error) {
		buf_printf(text, "; then %s", error);
		rocksdb_free(error);
		return STORE_OPEN_CORRUPT;
	}
	uint64_t sequence = rocksdb_get_latest_sequence_number(r->db);
	buf_printf(text, "; opened up to %llu, vouched for: %llu", (unsigned long long)sequence,
		   (unsigned long long)(mark.same_boot ? mark.done : mark.synced));
	return STORE_OPEN_OK;
}

static enum store_open open_checked(struct rocks *r, const struct store_rocks_options *from,
				    struct buf *text)
{
	struct contents found = look_into(r->path);
	if (found.data && !found.current) {
		buf_append_text(text, "Corruption: there is data but no file CURRENT");
		return STORE_OPEN_CORRUPT;
	}
	char *error = open_database(r, from, OPEN_ALL);
	if (error) {
		enum store_open why = classify(error, found);
		buf_append_text(text, error);
		rocksdb_free(error);
		return why == STORE_OPEN_CORRUPT ? open_torn(r, from, text) : why;
	}
	struct mark_found mark = mark_read(r->path);
	uint64_t sequence = rocksdb_get_latest_sequence_number(r->db);
	if (from->accept_torn_log || !falls_short(&mark, sequence))
		return STORE_OPEN_OK;
	buf_printf(text,
		   "Corruption: commits are missing: found up to %llu, synced %llu, done %llu",
		   (unsigned long long)sequence, (unsigned long long)mark.synced,
		   (unsigned long long)mark.done);
	return STORE_OPEN_CORRUPT;
}

enum store_open store_rocks_open(const struct store_rocks_options *options, struct store **out,
				 struct buf *text)
{
	*out = NULL;
	struct rocks *r = mem_alloc_zero(sizeof *r);
	r->mark.fd = -1;
	r->path = mem_strdup(options->path);
	r->statistics = options->statistics;
	r->reclaim_delay_ms =
	    options->reclaim_delay_ms ? options->reclaim_delay_ms : RECLAIM_DELAY_MS;
	r->options = database_options(options);
	r->cache = rocksdb_cache_create_lru(or_default(options->block_cache_bytes, 32 * MIB));
	enum store_open opened = open_checked(r, options, text);
	if (opened == STORE_OPEN_OK &&
	    !mark_open(&r->mark, r->path, rocksdb_get_latest_sequence_number(r->db))) {
		buf_printf(text, "%s/%s: %s", r->path, MARK_FILE, strerror(errno));
		opened = STORE_OPEN_FAILED;
	}
	if (opened == STORE_OPEN_OK) {
		rocks_start(r);
		*out = &r->base;
		return STORE_OPEN_OK;
	}
	close_database(r);
	rocksdb_options_destroy(r->options);
	rocksdb_cache_destroy(r->cache);
	free(r->path);
	free(r);
	return opened;
}
