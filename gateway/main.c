/* parley-gateway: HTTPS to messages and back. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/gateway.h"
#include "gateway/http_api.h"

static const struct config_option options[] = {
    HTTP_API_OPTIONS,
    {"max_document_bytes", CONFIG_NUMBER, "8000000", 1024, LIMIT_BODY_BYTES, "greatest document"},
    {"max_request_bytes", CONFIG_NUMBER, "67108864", 1024, UINT32_MAX, "greatest request body"},
    {"max_uri_bytes", CONFIG_NUMBER, "16384", 1024, 32768, "longest path and query string"},
    {"max_inflight", CONFIG_NUMBER, "10000", 1, 1000000, "requests at the same time; past it 429"},
    {"max_batch_items", CONFIG_NUMBER, "1000", 1, 100000, "documents in one POST"},
    {"max_list_rows", CONFIG_NUMBER, "10000", 1, LIMIT_ROWS, "documents in one answer"},
    {"max_list_bytes", CONFIG_NUMBER, "16777216", 65536, UINT32_MAX, "bytes of one list"},
    {"request_deadline_ms", CONFIG_NUMBER, "5000", 100, 600000, "then a request is given up"},
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
	    .coordinator = daemon_coordinator(d),
	    .version = GATEWAY_VERSION,
	    .limits =
		{
		    .document_bytes_max = number(c, "max_document_bytes"),
		    .request_bytes_max = number(c, "max_request_bytes"),
		    .uri_bytes_max = number(c, "max_uri_bytes"),
		    .inflight_max = number(c, "max_inflight"),
		    .batch_items_max = number(c, "max_batch_items"),
		    .list_rows_max = number(c, "max_list_rows"),
		    .list_bytes_max = number(c, "max_list_bytes"),
		    .deadline_ms = number(c, "request_deadline_ms"),
		},
	};
	if (o.coordinator == 0) {
		buf_append_text(problem, "the member list has no coordinator");
		return NULL;
	}
	uint64_t *storage = storage_members(d, &o.storage_count);
	o.storage = storage;
	struct gateway *gw = gateway_new(&o, seed);
	free(storage);
	return gw;
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
	    .create = create,
	    .destroy = destroy,
	    .setup = http_api_setup,
	    .teardown = http_api_teardown,
	    .respond = http_api_respond,
	    .turn_end = http_api_turn_end,
	    .reload = reload,
	    .drained = http_api_drained,
	};
	return daemon_run(argc, argv, &spec);
}
