/* Any bytes as what clients name things by: parts of addresses, ids of collections, documents and
 * locks, revisions, keys to lock, patterns to listen to. What is taken keeps its bounds and reads
 * back to what it was. Input: a text; of a pattern, paths that it is held against follow, separated
 * by a byte 0. */
#include <stdlib.h>

#include "common/doc/query_plan.h"
#include "common/doc/revision.h"
#include "gateway/lock.h"
#include "gateway/native.h"
#include "gateway/notify/internal.h"
#include "gateway/routes.h"
#include "gateway/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void encodings(struct slice text, struct arena *arena)
{
	struct buf encoded = {0}, decoded = {0};
	struct slice back;
	url_encode(text, &encoded);
	CHECK(url_decode(buf_slice(&encoded), true, arena, &back) && slice_equal(back, text));
	buf_clear(&encoded);
	base64url_encode(text, &encoded);
	CHECK(base64url_decode(buf_slice(&encoded), &decoded));
	CHECK(slice_equal(buf_slice(&decoded), text));
	buf_clear(&decoded);
	if (base64url_decode(text, &decoded)) {
		CHECK(decoded.len <= text.len);
		buf_clear(&encoded);
		base64url_encode(buf_slice(&decoded), &encoded);
		CHECK(encoded.len == text.len);
	}
	if (url_decode(text, false, arena, &back))
		CHECK(back.len <= text.len);
	buf_close(&encoded);
	buf_close(&decoded);
}

static void address(struct slice text)
{
	static const char *const prefixes[] = {"/", "/_/", "/_/locks/", "/c/"};
	struct slice segments[URL_SEGMENTS_MAX];
	struct http_field parameter;
	struct slice rest = text;
	CHECK(url_segments(text, segments) <= URL_SEGMENTS_MAX);
	while (url_parameter_next(&rest, &parameter))
		CHECK(parameter.name.len + parameter.value.len <= text.len);
	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		struct buf path = {0}, allow = {0};
		struct problem problem = {0};
		struct request *r = calloc(1, sizeof *r);
		CHECK(r);
		r->method = (enum http_method)(text.len % (HTTP_OTHER + 1));
		buf_append_text(&path, prefixes[i]);
		buf_append_slice(&path, text);
		if (route_find(r, buf_slice(&path), &allow, &problem) == ROUTE_FOUND)
			CHECK(r->route != NULL && r->collection.len <= path.len);
		buf_close(&path);
		buf_close(&allow);
		arena_close(&r->arena);
		free(r);
	}
}

static void ids(struct slice text)
{
	struct revision revision;
	struct buf printed = {0};
	uint8_t id[LOCK_ID_BYTES];
	if (collection_name_valid(text))
		CHECK(text.len <= LIMIT_NAME_BYTES && document_id_valid(text));
	if (document_id_valid(text))
		CHECK(text.len > 0 && text.len <= LIMIT_ID_BYTES);
	if (revision_parse(text, &revision)) {
		revision_print(&revision, &printed);
		CHECK(slice_equal(buf_slice(&printed), text));
	}
	(void)native_etag_matches(text, &(struct revision){1, slice_text("a")});
	buf_clear(&printed);
	if (lock_id_parse(text, id)) {
		uint8_t again[LOCK_ID_BYTES];
		lock_id_print(slice_of(id, sizeof id), &printed);
		CHECK(lock_id_parse(buf_slice(&printed), again));
		CHECK(memcmp(id, again, sizeof id) == 0);
	}
	buf_close(&printed);
}

static void lock_keys(struct slice text)
{
	struct gateway *gw = calloc(1, sizeof *gw);
	struct request *r = calloc(1, sizeof *r);
	struct problem problem = {0};
	struct lock_parsed parsed;
	CHECK(gw && r);
	cluster_map_init(&gw->map, 1);
	if (!lock_key_parse(r, text, "/keys/0", &parsed, &problem) ||
	    !lock_key_resolve(gw, "/keys/0", &parsed, &problem)) {
		CHECK(problem.status != STATUS_OK);
	} else {
		struct buf bytes = {0};
		CHECK(!parsed.dotted && parsed.key.name.len > 0);
		CHECK(parsed.key.path.document.len > 0 || parsed.key.path.field.len == 0);
		schema_encode(&schema_lock_key, &parsed.key, &bytes);
		buf_close(&bytes);
	}
	cluster_map_close(&gw->map);
	arena_close(&r->arena);
	free(r);
	free(gw);
}

/* What a pattern with ^ is told of lies in the collection that it fixes. */
static void pattern(struct slice text, struct slice paths)
{
	static const char *const usual[] = {"PUT:/a/x", "POST:/b/y", "DELETE:/ab/a", "PATCH:/a/b"};
	struct arena arena = {0};
	char why[PLACE_BYTES] = "";
	bool too_costly = false;
	struct slice name = pattern_collection(text);
	CHECK(name.len == 0 || collection_name_valid(name));
	struct query_regex *regex =
	    query_regex_compile(text, slice_of(NULL, 0), &arena, why, sizeof why);
	CHECK(regex || strlen(why) > 0);
	if (regex)
		query_regex_matches(regex, paths, &too_costly);
	for (size_t i = 0; regex && i < ARRAY_LEN(usual); i++) {
		struct slice path = slice_text(usual[i]);
		bool anchored = text.len > 0 && text.data[0] == '^';
		struct buf inside = {0};
		buf_printf(&inside, ":/%.*s/", (int)name.len, (const char *)name.data);
		if (query_regex_matches(regex, path, &too_costly) && anchored && name.len > 0)
			CHECK(strstr(usual[i], buf_cstr(&inside)) != NULL);
		buf_close(&inside);
	}
	arena_close(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = {0};
	struct slice text = slice_of(data, size);
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	size_t first = zero ? (size_t)(zero - data) : size;
	encodings(text, &arena);
	address(text);
	ids(text);
	lock_keys(text);
	if (first <= NOTIFY_PATTERN_BYTES)
		pattern(slice_of(data, first),
			slice_of(data + first + (zero != NULL), size - first - (zero != NULL)));
	arena_close(&arena);
	return 0;
}
