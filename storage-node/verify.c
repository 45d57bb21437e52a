#include "storage-node/verify.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/base/map.h"
#include "common/base/memory.h"
#include "common/doc/attachment.h"
#include "common/doc/graph.h"
#include "common/doc/value.h"
#include "storage-node/digest.h"
#include "storage-node/feed.h"
#include "storage-node/keys.h"

enum { VERIFY_FAULTS_SHOWN = 100 };

struct verified_shard {
	uint64_t id;
	struct shard_position position;
	bool positioned;
	uint64_t documents, deleted, conflicts, entries;
	uint64_t last_entry; /* number of the last one seen */
	uint64_t digest;
	uint64_t latest; /* of the documents and their changes, less the keys that list these */
	struct map references; /* content -> int64_t*: bodies that name it, less those counted */
};

struct verify {
	struct map shards; /* id -> struct verified_shard* */
	struct arena arena;
	struct buf faults;
	uint64_t faults_count;
};

struct verify *verify_new(void)
{
	return mem_alloc_zero(sizeof(struct verify));
}

void verify_free(struct verify *v)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&v->shards, &at));) {
		struct verified_shard *shard = e->value;
		size_t next = 0;
		for (struct map_entry *r; (r = map_next(&shard->references, &next));)
			free(r->value);
		map_close(&shard->references);
		free(shard);
	}
	map_close(&v->shards);
	arena_close(&v->arena);
	buf_close(&v->faults);
	free(v);
}

static void fault(struct verify *v, enum store_family family, struct slice key, const char *what)
{
	if (v->faults_count++ >= VERIFY_FAULTS_SHOWN)
		return;
	buf_printf(&v->faults, "fault family=%d key=", (int)family);
	for (size_t i = 0; i < key.len; i++)
		buf_printf(&v->faults, "%02x", key.data[i]);
	buf_printf(&v->faults, " what=\"%s\"\n", what);
}

static struct verified_shard *shard_of(struct verify *v, uint64_t id)
{
	struct slice key = slice_of(&id, sizeof id);
	struct verified_shard *shard = map_get(&v->shards, key);
	if (!shard) {
		shard = mem_alloc_zero(sizeof *shard);
		shard->id = id;
		map_put(&v->shards, key, shard);
	}
	return shard;
}

static bool decodes(struct verify *v, const struct schema *schema, struct slice value, void *out)
{
	return schema_decode(schema, value, &v->arena, out);
}

/* ---- attachments ---- */

static void add_references(struct verified_shard *shard, struct slice content, int64_t count)
{
	int64_t *sum = map_get(&shard->references, content);
	if (!sum) {
		sum = mem_alloc_zero(sizeof *sum);
		map_put(&shard->references, content, sum);
	}
	*sum += count;
}

static void count_references(struct verified_shard *shard, struct slice body)
{
	struct attachment_stub stub;
	struct attachments walk = attachments_begin(attachments_of(body));
	while (attachments_next(&walk, &stub))
		add_references(shard, slice_of(stub.content, CONTENT_BYTES), 1);
}

static bool references_fit(struct verified_shard *shard)
{
	size_t at = 0;
	for (struct map_entry *r; (r = map_next(&shard->references, &at));)
		if (*(const int64_t *)r->value != 0)
			return false;
	return true;
}

static const char *check_attachments(struct verify *v, struct slice key, struct slice value)
{
	union {
		struct attachment attachment;
		struct upload upload;
	} out;
	bool known;
	const struct schema *schema = key_attachments_schema(key, &known);
	if (!known)
		return "a key of no known kind";
	struct verified_shard *shard = shard_of(v, be64_read(key.data + 1));
	shard->digest += digest_pair(STORE_ATTACHMENTS, key, value);
	if (schema && !decodes(v, schema, value, &out))
		return "it is not what its key says";
	if (schema == &schema_attachment)
		add_references(
		    shard, slice_of(key.data + KEY_SHARD_BYTES + 1, key.len - KEY_SHARD_BYTES - 1),
		    -(int64_t)out.attachment.references);
	return NULL;
}

/* ---- families ---- */

static const char *check_meta(struct verify *v, struct slice key, struct slice value)
{
	union {
		struct node_identity identity;
		struct collection collection;
		struct shard shard;
		struct shard_promise promise;
		struct edit_record edit;
		struct index_state index;
		struct trail trail;
		struct change refusal;
		struct view_state view;
		struct stream_kept kept;
	} out;
	static const struct {
		char letter;
		const struct schema *schema;
	} kinds[] = {
	    {'c', &schema_collection}, {'s', &schema_shard},       {'p', &schema_shard_promise},
	    {'g', &schema_collection}, {'t', &schema_edit_record}, {'n', &schema_index_state},
	    {'w', &schema_view_state}, {'r', &schema_change},      {'b', &schema_stream_kept},
	};
	if (slice_equal(key, slice_text("identity")))
		return decodes(v, &schema_node_identity, value, &out) ? NULL : "no identity";
	if (slice_equal(key, slice_text("trail")))
		return decodes(v, &schema_trail, value, &out) ? NULL : "no trail";
	if (key.len < KEY_SHARD_BYTES)
		return "a key of no known kind";
	if (key.data[0] == 'x') {
		struct verified_shard *shard = shard_of(v, be64_read(key.data + 1));
		shard->positioned = true;
		return decodes(v, &schema_shard_position, value, &shard->position) ? NULL
										   : "no position";
	}
	if (key.data[0] == 'd')
		return key.len == KEY_SHARD_BYTES ? NULL : "a key of no known kind";
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
		if (kinds[i].letter == (char)key.data[0])
			return decodes(v, kinds[i].schema, value, &out)
				   ? NULL
				   : "it is not what its key says";
	return "a key of no known kind";
}

/* Of a document's latest change. */
static uint64_t change_digest(struct slice id, uint64_t number)
{
	return digest_pair(STORE_CONFLICTS, id, slice_of(&number, sizeof number));
}

static const char *check_document(struct verify *v, struct verified_shard *shard, struct slice id,
				  struct slice value)
{
	struct document doc;
	if (!decodes(v, &schema_document, value, &doc) || doc.revisions_count == 0)
		return "no document";
	int winner = graph_winner(&doc);
	bool live = winner != GRAPH_NONE && graph_is_live(&doc, (uint32_t)winner);
	shard->documents += live;
	shard->deleted += !live;
	shard->latest += change_digest(id, doc.changed);
	count_references(shard, doc.body);
	if (live && !value_is_document(doc.body))
		return "its body is not well formed";
	return NULL;
}

static const char *check_documents(struct verify *v, struct slice key, struct slice value)
{
	struct slice id, rest;
	struct operation operation;
	if (key.len <= KEY_SHARD_BYTES || key.data[0] != 'd' || !key_split(key, &id, &rest))
		return "a key of no known kind";
	struct verified_shard *shard = shard_of(v, be64_read(key.data + 1));
	shard->digest += digest_pair(STORE_DOCUMENTS, key, value);
	switch (key_part_of(rest)) {
	case KEY_PART_RECORD:
		return check_document(v, shard, id, value);
	case KEY_PART_OPERATION:
		return decodes(v, &schema_operation, value, &operation) ? NULL : "no operation id";
	case KEY_PART_SEQUENCE:
		return value.len == KEY_SEQUENCE_VALUE_BYTES ? NULL : "no operation id";
	case KEY_PART_BODY:
		count_references(shard, value);
		break;
	}
	return value_is_document(value) ? NULL : "the body is not well formed";
}

static const char *check_entry(struct verify *v, struct slice key, struct slice value)
{
	struct change change;
	struct verified_shard *shard = shard_of(v, be64_read(key.data + 1));
	uint64_t number =
	    key.len == KEY_SHARD_BYTES + 8 ? be64_read(key.data + KEY_SHARD_BYTES) : 0;
	bool follows = shard->entries == 0 || number == shard->last_entry + 1;
	shard->entries++;
	shard->last_entry = number;
	if (value.len < 8 ||
	    !decodes(v, &schema_change, slice_of(value.data + 8, value.len - 8), &change))
		return "no entry";
	return follows ? NULL : "entries are missing before it";
}

static const char *check_stream(struct verify *v, struct slice key, struct slice value)
{
	struct outbox_entry entry;
	struct change change;
	if (key.len < KEY_SHARD_BYTES)
		return "a key of no known kind";
	switch (key.data[0]) {
	case 'e':
		return check_entry(v, key, value);
	case 'v':
		return value.len == 0 || value.len == FEED_MARK_BYTES ? NULL : "no mark";
	case 'o':
		return decodes(v, &schema_outbox_entry, value, &entry) &&
			       decodes(v, &schema_change, entry.change, &change)
			   ? NULL
			   : "no branch";
	case 'z':
		return value.len >= 8 && decodes(v, &schema_change,
						 slice_of(value.data + 8, value.len - 8), &change)
			   ? NULL
			   : "no discarded entry";
	default:
		return "a key of no known kind";
	}
}

static const char *check_conflicts(struct verify *v, struct slice key, struct slice value)
{
	struct slice id, rest;
	union {
		struct conflict conflict;
		struct shard_lock lock;
		struct epoch_starts epochs;
		struct tombstone tombstone;
		struct latest latest;
		struct purged purged;
		struct checkpoint checkpoint;
	} out;
	if (key.len <= KEY_SHARD_BYTES || key.data[0] != 'd' || !key_split(key, &id, &rest) ||
	    rest.len == 0)
		return "a key of no known kind";
	struct verified_shard *shard = shard_of(v, be64_read(key.data + 1));
	shard->digest += digest_pair(STORE_CONFLICTS, key, value);
	const struct schema *schema = key_conflicts_schema(id, rest);
	if (!schema)
		return value.len == sizeof(uint64_t) ? NULL : "no hash";
	if (!decodes(v, schema, value, &out))
		return "it is not what its key says";
	if (schema == &schema_latest)
		shard->latest -= change_digest(
		    out.latest.id,
		    key.len == KEY_BESIDE_BYTES + 8 ? be64_read(key.data + KEY_BESIDE_BYTES) : 0);
	shard->conflicts += schema == &schema_conflict && out.conflict.state == CONFLICT_OPEN;
	return NULL;
}

void verify_pair(struct verify *v, enum store_family family, struct slice key, struct slice value)
{
	const char *wrong = NULL;
	if (family == STORE_META)
		wrong = check_meta(v, key, value);
	else if (family == STORE_DOCUMENTS)
		wrong = check_documents(v, key, value);
	else if (family == STORE_STREAM)
		wrong = check_stream(v, key, value);
	else if (family == STORE_CONFLICTS)
		wrong = check_conflicts(v, key, value);
	else if (family == STORE_ATTACHMENTS)
		wrong = check_attachments(v, key, value);
	if (wrong)
		fault(v, family, key, wrong);
	arena_reset(&v->arena);
}

/* ---- the report ---- */

static int by_id(const void *a, const void *b)
{
	const struct verified_shard *const *x = a;
	const struct verified_shard *const *y = b;
	return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

static void report_shard(struct verify *v, struct verified_shard *s, struct buf *out)
{
	const struct shard_position *p = &s->position;
	buf_printf(out,
		   "shard %016" PRIx64 " last=%" PRIu64 " applied=%" PRIu64 " documents=%" PRIu64
		   " deleted=%" PRIu64 " conflicts=%" PRIu64 " digest=%016" PRIx64 "%s\n",
		   s->id, p->last, p->applied, s->documents, s->deleted, s->conflicts, s->digest,
		   p->copying ? " copying" : "");
	if (p->copying)
		return; /* half a snapshot: it vouches for nothing */
	const char *wrong = NULL;
	if (!s->positioned)
		wrong = "data without a position";
	else if (s->documents != p->documents || s->deleted != p->deleted ||
		 s->conflicts != p->conflicts)
		wrong = "its counters differ from what is there";
	else if (s->latest != 0)
		wrong = "its list of changes differs from what is there";
	else if (p->digested && s->digest != p->digest)
		wrong = "its digest differs from what is there";
	else if (!references_fit(s))
		wrong = "attachments are counted otherwise than documents name them";
	else if (s->entries > 0 && s->last_entry != p->last)
		wrong = "its stream does not end where its position says";
	else if (s->entries != p->last - p->trimmed)
		wrong = "entries of its stream are missing";
	if (!wrong)
		return;
	v->faults_count++;
	buf_printf(out, "fault shard=%016" PRIx64 " what=\"%s\"\n", s->id, wrong);
}

bool verify_report(struct verify *v, struct buf *out)
{
	uint32_t count = 0;
	struct verified_shard **shards = mem_alloc((v->shards.count + 1) * sizeof(*shards));
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&v->shards, &at));)
		shards[count++] = e->value;
	qsort(shards, count, sizeof(struct verified_shard *), by_id);
	buf_append_slice(out, buf_slice(&v->faults));
	for (uint32_t i = 0; i < count; i++)
		report_shard(v, shards[i], out);
	free(shards);
	buf_printf(out, "faults=%" PRIu64 "\n", v->faults_count);
	return v->faults_count == 0;
}
