/* CPU time of one query_matches on documents of about 300 bytes, filter by filter. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/check.h"
#include "common/doc/json.h"
#include "common/doc/query.h"

enum { DOCUMENTS = 1000, ROUNDS = 300 };

static const char *const filters[] = {
    "{\"n\":17}",
    "{\"n\":{\"$gte\":500,\"$lt\":510}}",
    "{\"city\":\"Lyon\"}",
    "{\"address.zip\":{\"$gt\":\"69\"}}",
    "{\"tags\":\"red\"}",
    "{\"absent\":1}",
    "{\"score\":{\"$gt\":99.5}}",
    "{\"n\":{\"$in\":[1,5,9,14,200,733]}}",
    "{\"$or\":[{\"city\":\"Lyon\"},{\"tags\":\"red\"}],\"active\":true}",
    "{\"items\":{\"$elemMatch\":{\"sku\":\"b7\",\"count\":{\"$gt\":3}}}}",
    "{\"items.count\":{\"$gt\":8}}",
    "{\"name\":{\"$regex\":\"^person 1\"}}",
    "{\"text\":{\"$regex\":\"dolor (sit|stand) amet\",\"$options\":\"i\"}}",
};

static struct buf document(struct json_parser *parser, int i)
{
	static const char *const cities[] = {"Paris", "Lyon", "Lille", "Nantes", "Toulouse"};
	struct buf json = {0}, out = {0};
	struct json_error error;
	buf_printf(&json,
		   "{\"name\":\"person %d\",\"city\":\"%s\",\"n\":%d,\"score\":%d.25,"
		   "\"active\":%s,\"address\":{\"street\":\"1 rue de la Paix\",\"zip\":\"%05d\"},"
		   "\"tags\":[\"%s\",\"green\"],\"items\":[{\"sku\":\"a1\",\"count\":%d},"
		   "{\"sku\":\"b%d\",\"count\":4}],\"text\":\"lorem ipsum dolor sit amet, "
		   "consectetur adipiscing elit\",\"created\":1763712000000}",
		   i, cities[i % 5], i, i % 100, i % 2 ? "true" : "false", i * 97 % 100000,
		   i % 7 ? "blue" : "red", i % 10, i % 9);
	CHECK(json_to_msgpack(parser, buf_slice(&json), &out, &error));
	buf_close(&json);
	return out;
}

static double cpu_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void measure(struct json_parser *parser, const char *text, const struct buf *documents)
{
	struct arena arena = {0};
	struct buf filter = {0};
	struct json_error json;
	struct query_error error;
	uint64_t found = 0;
	CHECK(json_to_msgpack(parser, slice_text(text), &filter, &json));
	struct query *q = query_compile(buf_slice(&filter), &arena, &error);
	CHECK(q != NULL);
	double start = cpu_ns();
	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < DOCUMENTS; i++)
			found += query_matches(q, slice_text("0123456789abcdef"),
					       buf_slice(&documents[i]));
	double each = (cpu_ns() - start) / (DOCUMENTS * (double)ROUNDS);
	printf("%7.1f ns  %5.1f %%  %s%s\n", each,
	       (double)found * 100 / (DOCUMENTS * (double)ROUNDS), text,
	       query_too_costly(q) ? "  (too costly)" : "");
	buf_close(&filter);
	arena_close(&arena);
}

int main(void)
{
	struct json_parser *parser = json_parser_new();
	struct buf documents[DOCUMENTS];
	size_t bytes = 0;
	for (int i = 0; i < DOCUMENTS; i++) {
		documents[i] = document(parser, i);
		bytes += documents[i].len;
	}
	printf("documents of %zu bytes\n", bytes / DOCUMENTS);
	for (size_t i = 0; i < ARRAY_LEN(filters); i++)
		measure(parser, filters[i], documents);
	for (int i = 0; i < DOCUMENTS; i++)
		buf_close(&documents[i]);
	json_parser_free(parser);
	return EXIT_SUCCESS;
}
