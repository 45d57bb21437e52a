#include "storage-node/query_look.h"

#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "proto/msgpack.h"
#include "storage-node/record_peek.h"

enum { LOOK_STEPS = 512 }; /* of a filter, about as long as a document takes */

/* Empty: there are none. */
static struct slice others_value(const struct document *doc, uint32_t winner, struct arena *arena)
{
	struct buf names = {0};
	struct buf name = {0};
	uint32_t count = 0;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		count += i != winner && graph_is_live(doc, i);
	if (count == 0)
		return slice_of(NULL, 0);
	mp_write_array(&names, count);
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		struct revision revision = graph_name(doc, i);
		if (i == winner || !graph_is_live(doc, i))
			continue;
		buf_clear(&name);
		revision_print(&revision, &name);
		mp_write_str(&names, buf_slice(&name));
	}
	struct slice value = arena_copy(arena, buf_slice(&names));
	buf_close(&name);
	buf_close(&names);
	return value;
}

static bool winner_matches(const struct query *q, struct slice id, struct slice body,
			   const struct document *doc, bool conflicts, struct arena *arena)
{
	uint32_t winner = (uint32_t)graph_winner(doc);
	struct revision name = graph_name(doc, winner);
	struct query_version version = {.revision = &name, .deleted = !graph_is_live(doc, winner)};
	if (conflicts)
		version.conflicts = others_value(doc, winner, arena);
	return query_matches_version(q, id, body, &version);
}

bool query_look_document(const struct query *q, struct slice id, const struct document *doc,
			 bool conflicts, struct arena *arena)
{
	return query_looks_at_version(q) ? winner_matches(q, id, doc->body, doc, conflicts, arena)
					 : query_matches(q, id, doc->body);
}

bool query_look_row(const struct query *q, const struct scan_row *row, bool conflicts,
		    struct arena *arena, bool *holds)
{
	struct record_peek peek;
	struct document doc;
	if (!query_looks_at_version(q)) {
		*holds = query_matches(q, row->id, row->body);
		return true;
	}
	if (!record_peek(row->record, &peek))
		return false;
	if (peek.live && peek.leaves == 1) {
		struct query_version version = {.revision = &peek.winner};
		*holds = query_matches_version(q, row->id, row->body, &version);
		return true;
	}
	if (!schema_decode(&schema_document, row->record, arena, &doc) ||
	    graph_winner(&doc) == GRAPH_NONE)
		return false;
	*holds = winner_matches(q, row->id, row->body, &doc, conflicts, arena);
	return true;
}

int64_t query_look_cost(const struct query *q)
{
	return q ? (int64_t)(query_steps(q) / LOOK_STEPS) : 0;
}
