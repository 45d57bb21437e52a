#include "storage-node/derived.h"

#include "common/doc/decide.h"
#include "common/doc/graph.h"
#include "common/probe.h"

enum { DERIVED_ID_BYTES = 16 };

static uint64_t try_of(struct slice operation_id)
{
	return be64_read(operation_id.data + SPLIT_NAME_BYTES);
}

static bool same_split(struct slice a, struct slice b)
{
	return a.len == DERIVED_ID_BYTES && b.len == DERIVED_ID_BYTES &&
	       memcmp(a.data, b.data, SPLIT_NAME_BYTES) == 0;
}

/* The newest try that the document knows; NULL: none. */
static const struct operation *newest_try(const struct document *doc, struct slice operation_id)
{
	const struct operation *newest = NULL;
	for (uint32_t i = 0; doc && i < doc->operations_count; i++) {
		const struct operation *o = &doc->operations[i];
		if (same_split(o->id, operation_id) &&
		    (!newest || try_of(o->id) > try_of(newest->id)))
			newest = o;
	}
	return newest;
}

/* A root of its own: it has nothing in common with what is there. */
static void put_beside(struct derived *out)
{
	REACHED(split_beside);
	out->parent = GRAPH_NONE;
	out->branch = true;
}

/* Index of the winner; GRAPH_NONE: the document is deleted, or there is none. */
static int live_winner(const struct document *doc)
{
	int winner = doc ? graph_winner(doc) : GRAPH_NONE;
	return winner != GRAPH_NONE && graph_is_live(doc, (uint32_t)winner) ? winner : GRAPH_NONE;
}

/* ---- versions ---- */

static bool is_version(const struct msg_doc_write *m)
{
	static const uint8_t document[SPLIT_NAME_BYTES - SPLIT_DOCUMENT_BYTES];
	return memcmp(m->operation_id.data + SPLIT_DOCUMENT_BYTES, document, sizeof document) != 0;
}

/* What the split made of the document itself, whose version it is. */
static const struct operation *document_try(const struct document *doc,
					    const struct msg_doc_write *m)
{
	uint8_t id[DERIVED_ID_BYTES] = {0};
	memcpy(id, m->operation_id.data, SPLIT_DOCUMENT_BYTES);
	return newest_try(doc, slice_of(id, sizeof id));
}

/* What the version is made on. Written anew on what was deleted, or with attachments that were
 * brought, that has another name than as a root, by which the version asks for it. */
static int base_of_version(const struct document *doc, const struct operation *document,
			   const struct msg_doc_write *m)
{
	uint8_t digest[16];
	if (!doc || m->expected[0].generation == 0)
		return GRAPH_NONE;
	digest16(m->expected[0].hash, digest);
	if (document && slice_equal(document->digest, slice_of(digest, sizeof digest)) &&
	    !MUTATION(split_base_by_name)) {
		int base = graph_find(doc, &document->revision);
		if (base != GRAPH_NONE)
			return base;
	}
	return graph_find(doc, &m->expected[0]);
}

/* A version: on what it has in common with the others, if that is there. The document itself comes
 * first: the id may be another one's. */
static bool decide_version(const struct document *doc, const struct msg_doc_write *m,
			   struct derived *out)
{
	const struct operation *document = document_try(doc, m);
	int base = base_of_version(doc, document, m);
	bool early = live_winner(doc) == GRAPH_NONE || (base == GRAPH_NONE && !document);
	if (m->anew && early) {
		REACHED(split_version_early);
		out->status = STATUS_NO_LEAD;
		return true;
	}
	if (base == GRAPH_NONE)
		return false;
	REACHED(split_version);
	out->parent = base;
	out->branch = !graph_is_leaf(doc, (uint32_t)base);
	return true;
}

static void decide_first(const struct document *doc, const struct msg_doc_write *m,
			 struct derived *out)
{
	if (m->expected_count == 1 && decide_version(doc, m, out))
		return;
	bool live = live_winner(doc) != GRAPH_NONE;
	out->parent = doc ? graph_winner(doc) : GRAPH_NONE;
	out->done = !live && m->op == WRITE_DELETE;
	if (!live)
		return;
	/* it has a stub's word that it is this document, if it knows the split no more */
	if (m->keep_as_branch || !m->anew)
		put_beside(out);
	else
		out->status = STATUS_PRECONDITION_FAILED;
}

/* Parents come before children. */
static bool has_reached_parent(const struct revision_node *node, const bool *reached)
{
	for (uint32_t i = 0; i < node->parents_count; i++)
		if (reached[node->parents[i]])
			return true;
	return false;
}

bool derived_stands(const struct document *doc, const struct revision *made, struct arena *arena)
{
	int first = graph_find(doc, made);
	if (first == GRAPH_NONE) /* long ago */
		return live_winner(doc) != GRAPH_NONE;
	bool *reached = arena_alloc(arena, doc->revisions_count * sizeof *reached);
	for (uint32_t i = (uint32_t)first; i < doc->revisions_count; i++) {
		const struct revision_node *node = &doc->revisions[i];
		bool follows = i == (uint32_t)first || has_reached_parent(node, reached);
		reached[i] = follows && !(node->flags & REVISION_DELETED);
		if (reached[i] && graph_is_live(doc, i))
			return true;
	}
	return false;
}

int derived_end(const struct document *doc, const struct revision *made, struct arena *arena)
{
	int first = graph_find(doc, made);
	if (first == GRAPH_NONE)
		return GRAPH_NONE;
	bool *reached = arena_alloc(arena, doc->revisions_count * sizeof *reached);
	for (uint32_t i = (uint32_t)first; i < doc->revisions_count; i++) {
		const struct revision_node *node = &doc->revisions[i];
		reached[i] = i == (uint32_t)first || has_reached_parent(node, reached);
		if (reached[i] && graph_is_leaf(doc, i))
			return (int)i;
	}
	return GRAPH_NONE;
}

/* The split was undone, and the document deleted since. */
static void decide_anew(const struct document *doc, const struct msg_doc_write *m,
			struct derived *out)
{
	if (is_version(m))
		decide_first(doc, m, out);
	else if (live_winner(doc) == GRAPH_NONE)
		out->parent = graph_winner(doc);
	else
		out->status = STATUS_PRECONDITION_FAILED;
}

/* Another try, which saw more, is ahead. */
static bool comes_too_late(const struct document *doc, const struct msg_doc_write *m,
			   const struct operation *before)
{
	const struct operation *document = is_version(m) ? document_try(doc, m) : before;
	uint64_t number = try_of(m->operation_id);
	return (before && try_of(before->id) > number) ||
	       (document && try_of(document->id) > number);
}

void derived_decide(const struct document *doc, const struct msg_doc_write *m, struct arena *arena,
		    struct derived *out)
{
	const struct operation *before = newest_try(doc, m->operation_id);
	*out = (struct derived){.status = STATUS_OK, .parent = GRAPH_NONE};
	if (m->operation_digest.len == 0) {
		out->status = STATUS_BAD_MESSAGE;
		return;
	}
	if (comes_too_late(doc, m, before) && !MUTATION(split_goes_back)) {
		REACHED(split_too_late);
		out->status = STATUS_CONFLICT;
		return;
	}
	if (!before) {
		decide_first(doc, m, out);
		return;
	}
	if (m->anew && !derived_stands(doc, &before->revision, arena) &&
	    !MUTATION(split_counts_deleted)) {
		decide_anew(doc, m, out);
		return;
	}
	if (slice_equal(before->digest, m->operation_digest)) {
		out->done = true;
		out->made = before->revision;
		return;
	}
	if (m->keep_as_branch) {
		put_beside(out);
		return;
	}
	out->parent = graph_find(doc, &before->revision);
	if (out->parent == GRAPH_NONE) {
		out->status = STATUS_PRECONDITION_FAILED;
		return;
	}
	out->branch = !graph_is_leaf(doc, (uint32_t)out->parent);
	if (out->branch)
		REACHED(split_beside_edit);
	else
		REACHED(split_follows);
}
