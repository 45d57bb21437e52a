/* What a list has cost, and how its rows were found. */
#include "gateway/list.h"

#include <inttypes.h>

/* Costs are few: as many as shards of a collection. */
static bool is_first_of_its_index(const struct list_cost *costs, uint32_t at)
{
	for (uint32_t i = 0; i < at; i++)
		if (slice_equal(costs[i].index, costs[at].index))
			return false;
	return true;
}

static void print_indexes(const struct list_cost *costs, uint32_t count, struct buf *out)
{
	size_t before = out->len;
	for (uint32_t i = 0; i < count; i++) {
		if (!is_first_of_its_index(costs, i))
			continue;
		if (out->len > before)
			buf_append_text(out, ", ");
		if (costs[i].index.len > 0)
			buf_append_slice(out, costs[i].index);
		else
			buf_append_text(out, "none");
	}
	if (out->len == before)
		buf_append_text(out, "none");
}

void list_index_header(struct request *r, struct reply *reply, const struct list_params *params,
		       const struct list_cost *costs, uint32_t count)
{
	struct buf names = {0};
	if (params->filter.len == 0 && (params->order.count == 0 || params->count))
		return;
	print_indexes(costs, count, &names);
	reply_header(r, reply, "X-Parley-Index", buf_slice(&names));
	buf_close(&names);
}

static void print_index(const struct list_cost *costs, uint32_t count, struct buf *out)
{
	struct buf names = {0};
	print_indexes(costs, count, &names);
	json_string(buf_slice(&names), out);
	buf_close(&names);
}

static void print_cost(const struct list_cost *cost, struct buf *out)
{
	buf_printf(out, "{\"shard\":\"%016" PRIx64 "\",\"index\":", cost->shard);
	print_index(cost, 1, out);
	buf_printf(out,
		   ",\"keysRead\":%" PRIu64 ",\"documentsRead\":%" PRIu64 ",\"rows\":%" PRIu64
		   ",\"pages\":%" PRIu64 ",\"sorted\":%s}",
		   cost->keys_read, cost->documents_read, cost->rows, cost->pages,
		   cost->sorted ? "true" : "false");
}

/* One sentence for people. */
static void print_plan(const struct list_params *params, const struct list_cost *total,
		       bool indexed, uint32_t shards, struct buf *out)
{
	bool ordered = params->order.count > 0 && !params->count;
	bool counters = params->count && params->filter.len == 0;
	buf_append_text(out, counters ? "\"counters" : indexed ? "\"index" : "\"all documents");
	if (params->filter.len > 0)
		buf_append_text(out, ", filtered");
	if (ordered)
		buf_append_text(out, total->sorted ? ", sorted" : ", in order of the index");
	else if (!params->count)
		buf_append_text(out, ", by id");
	if (shards > 1)
		buf_printf(out,
			   params->count ? ", summed over %" PRIu32 " shards"
					 : ", merged from %" PRIu32 " shards",
			   shards);
	buf_append_byte(out, '"');
}

static struct list_cost sum_of(const struct list_cost *costs, uint32_t count, bool *indexed)
{
	struct list_cost total = {0};
	*indexed = count > 0;
	for (uint32_t i = 0; i < count; i++) {
		total.keys_read += costs[i].keys_read;
		total.documents_read += costs[i].documents_read;
		total.sorted |= costs[i].sorted;
		*indexed &= costs[i].index.len > 0;
	}
	return total;
}

void list_explain(struct turn *t, struct request *r, const struct list_params *params,
		  const struct list_cost *costs, uint32_t count, uint64_t returned)
{
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	bool indexed;
	struct list_cost total = sum_of(costs, count, &indexed);
	buf_append_text(out, "{\"collection\":");
	json_string(r->collection.len > 0 ? r->collection : system_collection(r), out);
	buf_append_text(out, ",\"plan\":");
	print_plan(params, &total, indexed, count, out);
	buf_append_text(out, ",\"index\":");
	print_index(costs, count, out);
	buf_printf(out,
		   ",\"keysRead\":%" PRIu64 ",\"documentsRead\":%" PRIu64 ",\"%s\":%" PRIu64
		   ",\"sorted\":%s,\"shards\":[",
		   total.keys_read, total.documents_read, params->count ? "documentCount" : "rows",
		   returned, total.sorted ? "true" : "false");
	for (uint32_t i = 0, printed = 0; i < count; i++) {
		if (costs[i].shard == 0)
			continue; /* rows made here */
		if (printed++ > 0)
			buf_append_byte(out, ',');
		print_cost(&costs[i], out);
	}
	buf_append_text(out, "]}");
	list_index_header(r, reply, params, costs, count);
	reply_send(t, r, reply);
}
