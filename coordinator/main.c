/* parley-coordinator: membership, placement, naming of leads. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/run/daemon.h"
#include "coordinator/coordinator.h"

static const struct config_option options[] = {
    {"data_dir", CONFIG_TEXT, NULL, 0, 0, "directory of the store"},
    {"disk_reserve_bytes", CONFIG_NUMBER, "16777216", 0, UINT64_MAX,
     "with less free space it warns"},
    {"replicas", CONFIG_NUMBER, "3", 1, LIMIT_REPLICAS, "N of collections that don't choose"},
    {"shards", CONFIG_NUMBER, "3", 1, LIMIT_COLLECTION_SHARDS,
     "shards of collections that don't choose"},
    {"retain_ms", CONFIG_NUMBER, "604800000", 0, UINT64_MAX,
     "how long resolved conflicts keep their losers"},
    {"rebalance", CONFIG_BOOL, "true", 0, 0, "move replicas to nodes that have fewer of them"},
    {"evict_after_ms", CONFIG_NUMBER, "604800000", 0, UINT64_MAX,
     "away for so long, a storage node loses its replicas to others; 0: never"},
    {"accept_torn_log", CONFIG_BOOL, "false", 0, 0,
     "last resort: open what is readable of a damaged log, as if nothing had been lost"},
    {"recover_from_nodes", CONFIG_BOOL, "false", 0, 0,
     "own state is lost or old: adopt the newest that the nodes know"},
};

static struct coordinator_member *member_rows(struct daemon *d, uint32_t *count)
{
	const struct members *m = daemon_members(d);
	struct coordinator_member *rows = mem_alloc_zero(m->count * sizeof *rows);
	for (uint32_t i = 0; i < m->count; i++)
		rows[i] =
		    (struct coordinator_member){m->rows[i].id, m->rows[i].name, m->rows[i].role};
	*count = m->count;
	return rows;
}

static void *create(struct daemon *d, uint64_t seed, struct buf *problem)
{
	(void)problem;
	const struct config *c = daemon_config(d);
	struct coordinator_options o = {
	    .self = daemon_self(d)->id,
	    .cluster = daemon_members(d)->cluster,
	    .recover_from_nodes = config_bool(c, "recover_from_nodes"),
	    .replicas = config_number(c, "replicas"),
	    .shards = config_number(c, "shards"),
	    .retain_ms = config_number(c, "retain_ms"),
	    .rebalance = config_bool(c, "rebalance"),
	    .evict_after_ms = config_number(c, "evict_after_ms"),
	};
	struct coordinator_member *rows = member_rows(d, &o.members_count);
	o.members = rows;
	void *core = coordinator_new(&o, daemon_store(d), seed);
	free(rows);
	return core;
}

static void destroy(void *core)
{
	coordinator_free(core);
}

static void reload(struct daemon *d)
{
	uint32_t count;
	struct coordinator_member *rows = member_rows(d, &count);
	coordinator_members_set(daemon_core(d), rows, count);
	free(rows);
}

int main(int argc, char **argv)
{
	const struct daemon_spec spec = {
	    .ops = &coordinator_ops,
	    .options = options,
	    .options_count = ARRAY_LEN(options),
	    .stores = true,
	    .create = create,
	    .destroy = destroy,
	    .reload = reload,
	};
	return daemon_run(argc, argv, &spec);
}
