/* Lists over several shards against a model: random documents, filters, orders, skips and limits;
 * the shards' answers are cut where they like. All pages together are the model's list. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/doc/json.h"
#include "common/doc/query.h"
#include "common/doc/value.h"
#include "tests/sim/gateway_bench.h"

enum { DOCUMENTS_FEW = 120, DOCUMENTS_MANY = 1400, SEEDS = 12, TEXT_BYTES = 512 };

struct model_document {
	char id[16];
	uint32_t n;
	uint64_t shard;
	struct buf body;
};

/* What is listed. */
struct listing {
	const char *query;
	const char *orders[3];
	uint32_t orders_count;
};

struct model {
	struct gateway_bench bench;
	struct rng rng;
	uint32_t shards;
	struct model_document documents[DOCUMENTS_MANY];
	uint32_t count;
	uint32_t rows_cut; /* an answer of a shard has at most so many rows */
};

/* ---- documents ---- */

static void random_value(struct rng *rng, struct buf *out)
{
	static const char *const values[] = {"null",        "1",        "2",     "2.5",
					     "\"x\"",       "true",     "\"y\"", "[3,0,1]",
					     "[{\"c\":2}]", "{\"c\":1}"};
	buf_append_text(out, values[rng_below(rng, ARRAY_LEN(values))]);
}

static void make_documents(struct model *m)
{
	struct json_parser *parser = json_parser_new();
	for (uint32_t i = 0; i < m->count; i++) {
		struct model_document *d = &m->documents[i];
		struct buf json = {0};
		struct json_error error;
		snprintf(d->id, sizeof d->id, "d%" PRIu64, rng_below(&m->rng, 1000) * 1000 + i);
		d->n = i;
		d->shard = 1 + rng_below(&m->rng, m->shards);
		buf_printf(&json, "{\"n\":%u", i);
		for (const char *name = "ab"; *name; name++) {
			if (rng_below(&m->rng, 4) == 0)
				continue;
			buf_printf(&json, ",\"%c\":", *name);
			random_value(&m->rng, &json);
		}
		buf_append_byte(&json, '}');
		assert_true(json_to_msgpack(parser, buf_slice(&json), &d->body, &error));
		buf_close(&json);
	}
	json_parser_free(parser);
}

/* ---- what a shard, or the model with shard 0, has ---- */

struct found {
	const struct model_document *document;
	struct slice keys[3];
	struct buf memory[3];
};

/* For qsort. */
static struct query_order sort_orders[3];
static uint32_t sort_orders_count;

static int compare_found(const void *a, const void *b)
{
	const struct found *x = a;
	const struct found *y = b;
	for (uint32_t i = 0; i < sort_orders_count; i++) {
		int order = value_compare(x->keys[i], y->keys[i]);
		if (order != 0)
			return sort_orders[i].descending ? -order : order;
	}
	return slice_compare(slice_text(x->document->id), slice_text(y->document->id));
}

static void fill_keys(struct found *f)
{
	for (uint32_t i = 0; i < sort_orders_count; i++)
		f->keys[i] = query_order_value(&sort_orders[i], slice_text(f->document->id),
					       buf_slice(&f->document->body), &f->memory[i]);
}

static uint32_t find(struct model *m, uint64_t shard, struct slice filter, struct found *found)
{
	struct arena arena = {0};
	struct query_error error;
	struct query *q = query_compile(filter, &arena, &error);
	uint32_t count = 0;
	assert_non_null(q);
	for (uint32_t i = 0; i < m->count; i++) {
		const struct model_document *d = &m->documents[i];
		if (shard != 0 && d->shard != shard)
			continue;
		if (!query_matches(q, slice_text(d->id), buf_slice(&d->body)))
			continue;
		found[count] = (struct found){.document = d};
		fill_keys(&found[count++]);
	}
	qsort(found, count, sizeof *found, compare_found);
	arena_close(&arena);
	return count;
}

static void found_close(struct found *found, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t k = 0; k < 3; k++)
			buf_close(&found[i].memory[k]);
}

/* ---- a shard ---- */

static bool is_behind(const struct found *f, const struct msg_shard_query *m)
{
	struct model_document after_document;
	struct found after = {.document = &after_document};
	if (m->after.len == 0)
		return true;
	assert_int_equal(m->after_keys_count, m->order_count);
	snprintf(after_document.id, sizeof after_document.id, "%.*s", (int)m->after.len,
		 (const char *)m->after.data);
	for (uint32_t i = 0; i < m->after_keys_count; i++)
		after.keys[i] = m->after_keys[i];
	return compare_found(f, &after) > 0;
}

static void answer_shard(struct model *m, uint32_t index, const struct msg_shard_query *query)
{
	struct found found[DOCUMENTS_MANY];
	struct row rows[DOCUMENTS_MANY];
	struct buf projected[DOCUMENTS_MANY] = {{0}};
	struct msg_shard_query_ack ack = {.status = STATUS_OK, .rows = rows};
	uint32_t count = find(m, query->shard, query->filter, found);
	uint64_t cut = m->rows_cut;
	if (query->limit > 0 && query->limit < cut)
		cut = query->limit;
	if (query->count)
		ack.count = count;
	bool more = false;
	for (uint32_t i = 0; i < count && !query->count && !more; i++) {
		if (!is_behind(&found[i], query))
			continue;
		more = ack.rows_count == cut;
		if (more)
			break;
		struct row *row = &rows[ack.rows_count];
		*row = (struct row){.id = slice_text(found[i].document->id),
				    .revision = {1, slice_text("r")},
				    .body = buf_slice(&found[i].document->body),
				    .order_key = found[i].keys,
				    .order_key_count = sort_orders_count};
		if (query->fields_count > 0) {
			value_project(row->body, query->fields, query->fields_count,
				      &projected[ack.rows_count]);
			row->body = buf_slice(&projected[ack.rows_count]);
		}
		ack.rows_count++;
	}
	if (more)
		ack.more_after = rows[ack.rows_count - 1].id;
	gateway_bench_answer(&m->bench, index, MSG_shard_query_ack, &ack);
	found_close(found, count);
	for (uint32_t i = 0; i < DOCUMENTS_MANY; i++)
		buf_close(&projected[i]);
}

/* Answers in any order until the request is answered. */
static void serve(struct model *m)
{
	struct gateway_bench *b = &m->bench;
	bool done[BENCH_SENT_MAX] = {false};
	while (b->status == 0) {
		uint32_t open[BENCH_SENT_MAX];
		uint32_t count = 0;
		assert_true(b->sent_count < BENCH_SENT_MAX);
		for (uint32_t i = 0; i < b->sent_count; i++)
			if (!done[i])
				open[count++] = i;
		assert_true(count > 0);
		uint32_t index = open[rng_below(&m->rng, count)];
		struct arena arena = {0};
		struct msg_shard_query query;
		assert_true(schema_decode(schema_of_message(MSG_shard_query), b->sent[index].body,
					  &arena, &query));
		done[index] = true;
		answer_shard(m, index, &query);
		arena_close(&arena);
	}
	assert_int_equal(b->status, 200);
}

/* ---- one listing ---- */

static void ask(struct model *m, const struct listing *l, uint64_t skip, uint64_t limit,
		const char *cursor, bool count)
{
	char text[TEXT_BYTES];
	struct buf request = {0};
	gateway_bench_clear(&m->bench);
	buf_printf(&request, "POST /c/_query\n\n{\"query\":%s,\"order\":[", l->query);
	for (uint32_t i = 0; i < l->orders_count; i++)
		buf_printf(&request, "%s\"%s\"", i > 0 ? "," : "", l->orders[i]);
	snprintf(text, sizeof text, "%s", cursor);
	buf_printf(&request,
		   "],\"skip\":%" PRIu64 ",\"limit\":%" PRIu64
		   ",\"fields\":[\"n\"],\"cursor\":\"%s\",\"count\":%s}",
		   skip, limit, text, count ? "true" : "false");
	gateway_bench_http(&m->bench, buf_cstr(&request));
	buf_close(&request);
	serve(m);
}

static void take_cursor(const struct gateway_bench *b, char cursor[TEXT_BYTES])
{
	struct buf headers = {0};
	buf_append_slice(&headers, buf_slice(&b->headers));
	const char *from = strstr(buf_cstr(&headers), "X-Parley-Cursor: ");
	cursor[0] = 0;
	if (from)
		snprintf(cursor, TEXT_BYTES, "%.*s", (int)strcspn(from + 17, "\n"), from + 17);
	buf_close(&headers);
}

/* The page as it must be: the rows from..to of the model. */
static void check_page(const struct gateway_bench *b, const struct found *found, uint32_t from,
		       uint32_t to)
{
	struct buf want = {0};
	struct buf have = {0};
	buf_append_byte(&want, '[');
	for (uint32_t i = from; i < to; i++)
		buf_printf(&want, "%s{\"id\":\"%s\",\"n\":%u}", i > from ? "," : "",
			   found[i].document->id, (unsigned)found[i].document->n);
	buf_append_byte(&want, ']');
	buf_append_slice(&have, buf_slice(&b->body));
	assert_string_equal(buf_cstr(&have), buf_cstr(&want));
	buf_close(&want);
	buf_close(&have);
}

static void run_case(struct model *m, const struct listing *l)
{
	struct found found[DOCUMENTS_MANY];
	char cursor[TEXT_BYTES] = "";
	uint64_t skip = rng_below(&m->rng, 3) ? rng_below(&m->rng, m->count * 5 / 4) : 0;
	uint64_t limit = 1 + rng_below(&m->rng, m->count / 3);
	sort_orders_count = l->orders_count;
	for (uint32_t i = 0; i < l->orders_count; i++) {
		struct query_error error;
		assert_true(query_order_parse(slice_text(l->orders[i]), &sort_orders[i], &error));
	}
	struct slice filter = gateway_bench_document(&m->bench, l->query);
	uint32_t count = find(m, 0, filter, found);
	uint32_t at = skip < count ? (uint32_t)skip : count;
	do {
		m->rows_cut = m->count / 40 + (uint32_t)rng_below(&m->rng, m->count / 4);
		ask(m, l, skip, limit, cursor, false);
		uint32_t to = limit < count - at ? at + (uint32_t)limit : count;
		check_page(&m->bench, found, at, to);
		at = to;
		take_cursor(&m->bench, cursor);
	} while (cursor[0]);
	assert_int_equal(at, count);
	ask(m, l, skip, limit, "", true);
	char text[64];
	snprintf(text, sizeof text, "{\"documentCount\":%u}", (unsigned)count);
	assert_memory_equal(m->bench.body.data, text, strlen(text));
	found_close(found, count);
}

static void run_seed(uint64_t seed)
{
	static const char *const queries[] = {"{}", "{\"a\":{\"$exists\":true}}",
					      "{\"b\":{\"$ne\":1}}", "{\"n\":{\"$lt\":30}}",
					      "{\"a\":\"none\"}"};
	static const char *const orders[] = {"asc(a)",   "desc(a)",  "asc(b)", "desc(b.c)",
					     "desc(id)", "asc(a.c)", "asc(n)"};
	struct model *m = calloc(1, sizeof *m);
	assert_non_null(m);
	rng_init(&m->rng, seed);
	m->shards = 1 + (uint32_t)rng_below(&m->rng, 8);
	gateway_bench_open(&m->bench, NULL);
	gateway_bench_map(&m->bench, m->shards, MODE_CONSISTENT);
	/* Many, so that rows to skip are passed without their bodies. */
	bool many = seed % 4 == 0;
	m->count = many ? DOCUMENTS_MANY : DOCUMENTS_FEW;
	make_documents(m);
	for (int i = 0; i < (many ? 15 : 60); i++) {
		struct listing l = {.query = queries[rng_below(&m->rng, ARRAY_LEN(queries))]};
		l.orders_count = (uint32_t)rng_below(&m->rng, 4);
		for (uint32_t k = 0; k < l.orders_count; k++)
			l.orders[k] = orders[rng_below(&m->rng, ARRAY_LEN(orders))];
		run_case(m, &l);
	}
	for (uint32_t i = 0; i < m->count; i++)
		buf_close(&m->documents[i].body);
	gateway_bench_close(&m->bench);
	free(m);
}

static void test_lists_are_the_models(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run_seed(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lists_are_the_models),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
