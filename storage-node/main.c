/* parley-storage-node: documents, revision graphs and the streams of shards, on one RocksDB. */
#include "common/run/daemon.h"
#include "common/run/script_pool.h"
#include "common/store/store_rocks.h"
#include "storage-node/storage.h"
#include "storage-node/verify.h"

static const struct config_option options[] = {
    {"data_dir", CONFIG_TEXT, NULL, 0, 0, "directory of the store"},
    {"disk_reserve_bytes", CONFIG_NUMBER, "268435456", 0, UINT64_MAX,
     "with less free space writes are refused"},
    {"accept_torn_log", CONFIG_BOOL, "false", 0, 0,
     "last resort: open what is readable of a damaged log, as if nothing had been lost"},
    {"verify", CONFIG_BOOL, "false", 0, 0,
     "read the whole store, say what it holds and what is wrong with it, and end"},
    {"stream_keep_entries", CONFIG_NUMBER, "100000", 100, 100000000,
     "entries kept per shard for catch-up"},
    {"scrub_bytes_per_second", CONFIG_NUMBER, "4194304", 0, 1073741824,
     "read in the background to check what is stored; 0: none"},
    {"scrub_rest_seconds", CONFIG_NUMBER, "900", 1, 31536000,
     "from the start of such a pass to that of the next, at least"},
    {"pending_bytes_max", CONFIG_NUMBER, "67108864", 1048576, UINT64_MAX,
     "unsettled bytes per shard before writes are refused"},
    {"purged_keep_days", CONFIG_NUMBER, "90", 1, 36500,
     "so long a deleted document is remembered after its tombstone has gone"},
    {"checkpoint_keep_days", CONFIG_NUMBER, "30", 1, 36500,
     "a client that syncs and is silent for so long counts as lost"},
    {"upload_keep_seconds", CONFIG_NUMBER, "3600", 1, 31536000,
     "so long contents of attachments wait for the next chunk, or for their document"},
    SCRIPT_POOL_OPTIONS,
};

static void *create(struct daemon *d, uint64_t seed, struct buf *problem)
{
	(void)problem;
	const struct node_identity *identity = daemon_identity(d);
	struct storage_options o = {
	    .self = daemon_self(d)->id,
	    .coordinator = daemon_coordinator(d),
	    .incarnation = identity->incarnation,
	    .boot = identity->boot,
	    .life = identity->life,
	    .stream_keep_entries = config_number(daemon_config(d), "stream_keep_entries"),
	    .scrub_bytes_per_second = config_number(daemon_config(d), "scrub_bytes_per_second"),
	    .scrub_rest_ms = (int64_t)config_number(daemon_config(d), "scrub_rest_seconds") * 1000,
	    .purged_keep_ms = config_number(daemon_config(d), "purged_keep_days") * DAY_MS,
	    .checkpoint_keep_ms = config_number(daemon_config(d), "checkpoint_keep_days") * DAY_MS,
	    .upload_keep_ms = config_number(daemon_config(d), "upload_keep_seconds") * 1000,
	    .pending_bytes_max = config_number(daemon_config(d), "pending_bytes_max"),
	};
	return storage_new(&o, daemon_store(d), seed);
}

static void destroy(void *core)
{
	storage_free(core);
}

static bool visit(void *context, enum store_family family, struct slice key, struct slice value)
{
	verify_pair(context, family, key, value);
	return true;
}

static bool verify(struct daemon *d, struct buf *report)
{
	struct verify *v = verify_new();
	bool read = store_rocks_verify(daemon_store(d), visit, v, report) == STORE_OK;
	bool well = verify_report(v, report);
	verify_free(v);
	return read && well;
}

int main(int argc, char **argv)
{
	const struct daemon_spec spec = {
	    .ops = &storage_ops,
	    .options = options,
	    .options_count = ARRAY_LEN(options),
	    .stores = true,
	    .identity = true,
	    .create = create,
	    .destroy = destroy,
	    .verify = verify,
	    .scripts = true,
	};
	return daemon_run(argc, argv, &spec);
}
