/* Looking at a store from outside its work: metrics and the full check. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/store/store_rocks_reclaim.h"

static const char *const shown_names[STORE_FAMILIES] = {
    [STORE_META] = "meta",       [STORE_DOCUMENTS] = "documents",
    [STORE_STREAM] = "stream",   [STORE_CONFLICTS] = "conflicts",
    [STORE_INDEXES] = "indexes", [STORE_ATTACHMENTS] = "attachments",
};

static uint64_t directory_bytes(const char *path)
{
	uint64_t bytes = 0;
	DIR *directory = opendir(path);
	if (!directory)
		return 0;
	for (struct dirent *e = readdir(directory); e; e = readdir(directory)) {
		struct stat st;
		if (fstatat(dirfd(directory), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_blocks * 512;
	}
	closedir(directory);
	return bytes;
}

static void header(struct buf *out, const char *name, const char *type, const char *help)
{
	buf_printf(out, "# HELP parley_store_%s %s\n# TYPE parley_store_%s %s\n", name, help, name,
		   type);
}

static void single(struct buf *out, const char *name, const char *type, const char *help,
		   uint64_t value)
{
	header(out, name, type, help);
	buf_printf(out, "parley_store_%s %" PRIu64 "\n", name, value);
}

static void blobs(struct rocks *r, struct buf *out, const char *name, const char *property,
		  const char *help)
{
	uint64_t value = 0;
	if (rocksdb_property_int_cf(r->db, r->families[STORE_ATTACHMENTS], property, &value) == 0)
		single(out, name, "gauge", help, value);
}

static void per_family(struct rocks *r, struct buf *out, const char *name, const char *property,
		       const char *help)
{
	header(out, name, "gauge", help);
	for (int f = 0; f < STORE_FAMILIES; f++) {
		uint64_t value = 0;
		if (rocksdb_property_int_cf(r->db, r->families[f], property, &value) == 0)
			buf_printf(out, "parley_store_%s{family=\"%s\"} %" PRIu64 "\n", name,
				   shown_names[f], value);
	}
}

/* Lines such as `rocksdb.block.cache.miss COUNT : 17`; histograms have more fields and are left
 * out. */
static void ticker(struct buf *out, char *line)
{
	char *value = strstr(line, " COUNT : ");
	if (!value || strstr(line, " P50 "))
		return;
	*value = 0;
	buf_printf(out, "parley_store_rocksdb_total{ticker=\"%s\"} %s\n", line,
		   value + strlen(" COUNT : "));
}

static void tickers(struct rocks *r, struct buf *out)
{
	char *all = rocksdb_options_statistics_get_string(r->options);
	if (!all)
		return;
	header(out, "rocksdb_total", "counter", "RocksDB's own counters.");
	char *line = all;
	for (char *end = strchr(line, '\n'); end; end = strchr(line, '\n')) {
		*end = 0;
		ticker(out, line);
		line = end + 1;
	}
	free(all);
}

void store_rocks_metrics(struct store *s, struct buf *out)
{
	struct rocks *r = rocks_of(s);
	single(out, "disk_bytes", "gauge", "Bytes that the data directory takes on disk.",
	       directory_bytes(r->path));
	single(out, "block_cache_bytes", "gauge", "Bytes in the block cache.",
	       rocksdb_cache_get_usage(r->cache));
	single(out, "commits_total", "counter", "Batches committed.", r->commits);
	single(out, "syncs_total", "counter", "Commits that were synced.", r->syncs);
	header(out, "sync_seconds_total", "counter", "Seconds spent in synced commits.");
	buf_printf(out, "parley_store_sync_seconds_total %" PRIu64 ".%09" PRIu64 "\n",
		   r->sync_ns / 1000000000u, r->sync_ns % 1000000000u);
	single(out, "failed", "gauge", "1 when a commit or read failed; the process must restart.",
	       r->failed != STORE_OK);
	per_family(r, out, "pending_compaction_bytes", "rocksdb.estimate-pending-compaction-bytes",
		   "Bytes that wait for compaction.");
	per_family(r, out, "memtable_bytes", "rocksdb.cur-size-all-mem-tables",
		   "Bytes in memtables.");
	per_family(r, out, "table_bytes", "rocksdb.live-sst-files-size",
		   "Bytes in live table files.");
	blobs(r, out, "blob_bytes", "rocksdb.total-blob-file-size",
	      "Bytes of files with contents of attachments.");
	blobs(r, out, "blob_garbage_bytes", "rocksdb.live-blob-file-garbage-size",
	      "Bytes in them that nothing names any more.");
	single(out, "reclaims_total", "counter",
	       "Passes that gave the space of removed ranges back.", reclaim_passes(r->reclaim));
	if (r->statistics)
		tickers(r, out);
}

struct scan {
	struct rocks *store;
	enum store_family family;
	store_rocks_visit *visit;
	void *context;
	uint64_t keys;
	uint64_t bytes;
};

static enum store_result scan_family(struct scan *scan, rocksdb_iterator_t *it, struct buf *report)
{
	for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
		size_t key_len, value_len;
		const char *key = rocksdb_iter_key(it, &key_len);
		const char *value = rocksdb_iter_value(it, &value_len);
		scan->keys++;
		scan->bytes += key_len + value_len;
		if (scan->visit && !scan->visit(scan->context, scan->family, slice_of(key, key_len),
						slice_of(value, value_len)))
			return STORE_BROKEN;
	}
	char *error = NULL;
	rocksdb_iter_get_error(it, &error);
	if (!error)
		return STORE_OK;
	buf_printf(report, "%s broken after %" PRIu64 " keys: %s\n", shown_names[scan->family],
		   scan->keys, error);
	(void)rocks_failed(scan->store, error);
	scan->store->failed = STORE_BROKEN;
	return STORE_BROKEN;
}

enum store_result store_rocks_verify(struct store *s, store_rocks_visit *visit, void *context,
				     struct buf *report)
{
	struct rocks *r = rocks_of(s);
	enum store_result result = STORE_OK;
	rocksdb_readoptions_t *options = rocksdb_readoptions_create();
	rocksdb_readoptions_set_verify_checksums(options, 1);
	rocksdb_readoptions_set_fill_cache(options, 0);
	for (int f = 0; f < STORE_FAMILIES && result == STORE_OK; f++) {
		struct scan scan = {
		    .store = r,
		    .family = (enum store_family)f,
		    .visit = visit,
		    .context = context,
		};
		rocksdb_iterator_t *it = rocksdb_create_iterator_cf(r->db, options, r->families[f]);
		result = scan_family(&scan, it, report);
		rocksdb_iter_destroy(it);
		if (result == STORE_OK)
			buf_printf(report, "%s keys=%" PRIu64 " bytes=%" PRIu64 "\n",
				   shown_names[f], scan.keys, scan.bytes);
	}
	rocksdb_readoptions_destroy(options);
	return result;
}
