/* A version is what its name stands for: whatever replicas hold under the name of a revision, the
 * shown one's in the record, others' beside it, is what the applied entry said that made it. */
#include <xxhash.h>

#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "storage-node/keys.h"
#include "tests/sim/records.h"

enum {
	EPOCH_BYTES = 8, /* before the change, in what is stored */
	KEY_OF_BODY = 1  /* behind a document's id: key_body of storage-node/keys.h */
};

static struct slice name_of(struct buf *key, uint64_t shard, struct slice id, struct slice revision)
{
	buf_clear(key);
	buf_append_be64(key, shard);
	buf_append_slice(key, id);
	buf_append_byte(key, 0);
	buf_append_slice(key, revision);
	return buf_slice(key);
}

/* Not a pointer to anything; never 0. */
static uintptr_t digest(struct slice body)
{
	return (uintptr_t)XXH3_64bits(body.data, body.len) | 1;
}

void contents_note(struct sim *sim, uint64_t shard, struct slice entry)
{
	struct change change;
	struct buf key = {0};
	struct buf text = {0};
	if (entry.len > EPOCH_BYTES &&
	    schema_decode(&schema_change,
			  slice_of(entry.data + EPOCH_BYTES, entry.len - EPOCH_BYTES), &sim->arena,
			  &change) &&
	    change.revision.generation > 0 && change.body.len > 0) {
		revision_print(&change.revision, &text);
		map_put(&sim->contents, name_of(&key, shard, change.id, buf_slice(&text)),
			(void *)digest(change.body));
	}
	buf_close(&key);
	buf_close(&text);
}

static void check(struct sim *sim, const struct sim_node *node, struct slice name,
		  struct slice revision, struct slice body)
{
	uintptr_t known = (uintptr_t)map_get(&sim->contents, name);
	if (known != 0 && known != digest(body))
		sim_violation(sim, "%s holds something else as %.*s of %s", node->name,
			      (int)revision.len, (const char *)revision.data, name.data + 8);
}

void contents_check(struct sim *sim, const struct sim_node *node, uint64_t shard, struct slice key,
		    struct slice value, const struct document *doc)
{
	struct slice id;
	struct slice rest;
	struct buf name = {0};
	struct buf text = {0};
	if (!key_split(key, &id, &rest))
		return;
	if (rest.len > 0 && rest.data[0] == KEY_OF_BODY) {
		struct slice revision = slice_of(rest.data + 1, rest.len - 1);
		check(sim, node, name_of(&name, shard, id, revision), revision, value);
	} else if (doc) {
		int winner = graph_winner(doc);
		struct revision shown = graph_name(doc, (uint32_t)winner);
		revision_print(&shown, &text);
		if (doc->revisions[winner].flags & REVISION_HAS_BODY)
			check(sim, node, name_of(&name, shard, id, buf_slice(&text)),
			      buf_slice(&text), doc->body);
	}
	buf_close(&name);
	buf_close(&text);
}
