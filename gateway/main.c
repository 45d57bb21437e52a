/* parley-gateway: HTTPS to messages and back. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/run/script_pool.h"
#include "gateway/gateway.h"
#include "gateway/http/access.h"
#include "gateway/http/api.h"

static const struct config_option options[] = {
    HTTP_API_OPTIONS,
    HTTP_ACCESS_OPTIONS,
    SCRIPT_POOL_OPTIONS,
    REPLICATE_OPTIONS,
#define LIMIT(field, name, value, least, greatest, doc)                                            \
	{name, CONFIG_NUMBER, #value, least, greatest, doc},
#include "gateway/limits.def"
#undef LIMIT
};

/* Storage nodes of the member list; the caller frees. */
static uint64_t *storage_members(struct daemon *d, uint32_t *count)
{
	const struct members *m = daemon_members(d);
	uint64_t *ids = mem_alloc_zero((m->count + 1) * sizeof *ids);
	*count = 0;
	for (uint32_t i = 0; i < m->count; i++)
		if (m->rows[i].role == ROLE_STORAGE)
			ids[(*count)++] = m->rows[i].id;
	return ids;
}

static uint32_t number(const struct config *c, const char *name)
{
	return (uint32_t)config_number(c, name);
}

static void *create(struct daemon *d, uint64_t seed, struct buf *problem)
{
	const struct config *c = daemon_config(d);
	struct gateway_options o = {
	    .self = daemon_self(d)->id,
	    .name = daemon_self(d)->name,
	    .coordinator = daemon_coordinator(d),
	    .version = GATEWAY_VERSION,
	    .cluster = daemon_members(d)->cluster,
	    .replicate_hosts = config_text(c, "replicate_hosts"),
	};
#define LIMIT(field, name, value, least, greatest, doc) o.limits.field = number(c, name);
#include "gateway/limits.def"
#undef LIMIT
	if (o.coordinator == 0) {
		buf_append_text(problem, "the member list has no coordinator");
		return NULL;
	}
	if (!http_access_options(c, &o.couch, problem))
		return NULL;
	uint64_t *storage = storage_members(d, &o.storage_count);
	o.storage = storage;
	struct gateway *gw = gateway_new(&o, seed);
	free(storage);
	if (http_access_secrets(d, gw, problem))
		return gw;
	gateway_free(gw);
	return NULL;
}

static void destroy(void *core)
{
	gateway_free(core);
}

static void reload(struct daemon *d)
{
	uint32_t count;
	uint64_t *storage = storage_members(d, &count);
	gateway_set_storage(daemon_core(d), storage, count);
	free(storage);
	http_api_reload(d);
}

int main(int argc, char **argv)
{
	const struct daemon_spec spec = {
	    .ops = &gateway_ops,
	    .options = options,
	    .options_count = ARRAY_LEN(options),
	    .scripts = true,
	    .create = create,
	    .destroy = destroy,
	    .setup = http_api_setup,
	    .teardown = http_api_teardown,
	    .respond = http_api_respond,
	    .metrics = http_api_metrics,
	    .turn_end = http_api_turn_end,
	    .reload = reload,
	    .drained = http_api_drained,
	};
	return daemon_run(argc, argv, &spec);
}
