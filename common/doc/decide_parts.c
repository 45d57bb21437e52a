/* What a split makes: documents with ids of their own, and the stub that names them. */
#include <stdlib.h>

#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "common/doc/split_internal.h"
#include "proto/msgpack.h"

enum { ID_HASH_CHARS = 16 };

/* ---- ids of their own ---- */

static bool fill_id(struct splitting *s, const struct entity *e, struct split_part *part)
{
	struct decide *w = s->w;
	int root = graph_first_root(&s->history.cut, e->nodes, e->count, w->arena);
	struct slice hash = w->doc.revisions[root].hash;
	struct buf id = {0};
	buf_append_slice(&id, s->out->resolve.id);
	buf_append_byte(&id, '~');
	buf_append(&id, hash.data, hash.len < ID_HASH_CHARS ? hash.len : ID_HASH_CHARS);
	part->id = arena_copy(w->arena, buf_slice(&id));
	buf_close(&id);
	return part->id.len <= LIMIT_ID_BYTES;
}

/* The same for the same try, greater for a later one: of two tries whoever saw more of the
 * document, or a newer policy, has the greater number. version: empty, or whose part it is. */
static void name_operation(const struct decide *w, struct slice version, struct split_part *part)
{
	struct buf form = {0};
	uint64_t number = w->graph->conflict.number + w->graph->policy_version;
	mp_write_array(&form, version.len > 0 ? 4 : 3);
	mp_write_text(&form, "split");
	mp_write_u64(&form, w->graph->shard);
	mp_write_bin(&form, part->id);
	if (version.len > 0)
		mp_write_str(&form, version);
	digest16(buf_slice(&form), part->operation_id);
	buf_close(&form);
	if (version.len == 0)
		memset(part->operation_id + SPLIT_DOCUMENT_BYTES, 0,
		       SPLIT_NAME_BYTES - SPLIT_DOCUMENT_BYTES);
	else
		part->operation_id[SPLIT_NAME_BYTES - 1] |= 1;
	be64_write(part->operation_id + SPLIT_NAME_BYTES, number);
}

/* By it a version finds what it is made on. */
static struct revision *name_as_root(const struct decide *w, struct split_part *part)
{
	struct revision *name = arena_alloc(w->arena, sizeof *name);
	struct revision_content content = {.body = part->body};
	revision_name(&content, arena_alloc(w->arena, REVISION_HASH_CHARS), name);
	digest16(name->hash, part->digest);
	return name;
}

static int compare_ids(const void *a, const void *b)
{
	return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static bool stub_names(const struct splitting *s, struct slice id)
{
	for (uint32_t i = 0; i < s->stub_ids; i++)
		if (slice_equal(s->ids[i], id))
			return true;
	return false;
}

/* False: one has no content any more. */
static bool add_versions(struct splitting *s, const struct entity *e, struct revision *base)
{
	struct decide *w = s->w;
	struct decision *out = s->out;
	const struct split_part document = out->parts[out->parts_count - 1];
	if (!e->on_base)
		base->generation = 0;
	for (uint32_t i = 0; i < e->versions_count; i++) {
		struct split_part *part = &out->parts[out->parts_count++];
		*part = (struct split_part){
		    .id = document.id, .anew = document.anew, .beside = true, .base = base};
		if (!decide_body(w, e->versions[i], &part->body))
			return splitting_fail(s, "body_missing");
		name_operation(w, decide_revision_text(w, e->versions[i]), part);
		digest16(part->body, part->digest);
		memcpy(part->operation_id, document.operation_id, SPLIT_DOCUMENT_BYTES);
	}
	return true;
}

/* False: it gets no id. */
static bool add_document(struct splitting *s, const struct entity *e)
{
	struct decision *out = s->out;
	struct split_part *part = &out->parts[out->parts_count];
	*part = (struct split_part){.body = e->body, .deleted = e->deleted};
	if (!fill_id(s, e, part))
		return splitting_fail(s, "id_too_long");
	for (uint32_t k = 0; k < out->parts_count; k++)
		if (slice_equal(out->parts[k].id, part->id))
			return splitting_fail(s, "roots_alike");
	part->anew = !e->late && !stub_names(s, part->id);
	if (part->deleted && part->anew)
		return true;
	part->beside = (s->stub_inputs || e->beside) && !part->deleted;
	/* what the split made before may hold more than the versions have in common */
	part->beside |= e->on_base && !part->anew;
	part->divided = e->versions_count > 0;
	name_operation(s->w, (struct slice){0}, part);
	splitting_add_id(s, part->id);
	out->parts_count++;
	return add_versions(s, e, name_as_root(s->w, part));
}

static bool make_parts(struct splitting *s)
{
	struct decision *out = s->out;
	uint64_t count = s->entities_count;
	out->parts_count = 0;
	for (uint32_t i = 0; i < s->entities_count; i++)
		count += s->entities[i].versions_count;
	if (count > SPLIT_PARTS_MAX)
		return splitting_fail(s, "too_many_roots");
	out->parts = arena_alloc(s->w->arena, (count + 1) * sizeof *out->parts);
	for (uint32_t i = 0; i < s->entities_count; i++)
		if (!add_document(s, &s->entities[i]))
			return false;
	if (s->ids_count > 1)
		qsort(s->ids, s->ids_count, sizeof *s->ids, compare_ids);
	return true;
}

static void write_ids(const struct splitting *s, struct buf *out)
{
	mp_write_array(out, s->ids_count);
	for (uint32_t i = 0; i < s->ids_count; i++)
		mp_write_str(out, s->ids[i]);
}

/* Ids of the documents that it is true of; none: nothing. */
static uint32_t write_those(const struct decision *d, const char *name,
			    bool is_one(const struct split_part *part), struct buf *out)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < d->parts_count; i++)
		count += is_one(&d->parts[i]);
	if (count == 0)
		return 0;
	mp_write_text(out, name);
	mp_write_array(out, count);
	for (uint32_t i = 0; i < d->parts_count; i++)
		if (is_one(&d->parts[i]))
			mp_write_str(out, d->parts[i].id);
	return 1;
}

static bool is_deleted(const struct split_part *part)
{
	return part->deleted;
}

static bool is_divided(const struct split_part *part)
{
	return part->divided;
}

void splitting_become_parts(struct splitting *s, struct slice detail)
{
	struct buf stub = {0};
	struct buf told = {0};
	struct mp_reader r = mp_reader_of(detail);
	struct buf some = {0};
	if (!make_parts(s)) {
		s->out->parts_count = 0;
		return;
	}
	uint32_t parts = s->out->parts_count;
	uint32_t members = write_those(s->out, "deleted", is_deleted, &some);
	members += write_those(s->out, "inConflict", is_divided, &some);
	mp_write_map(&stub, 1);
	mp_write_text(&stub, "_split");
	write_ids(s, &stub);
	mp_write_map(&told, mp_read(&r).count + 1 + members);
	buf_append_slice(&told, buf_slice(&some));
	mp_write_text(&told, "documents");
	write_ids(s, &told);
	buf_append(&told, r.at, (size_t)(r.end - r.at));
	if (s->own_stays)
		decide_becomes(s->w, s->own_entity.deleted, s->own_entity.body, buf_slice(&told),
			       s->out);
	else
		decide_becomes(s->w, false, buf_slice(&stub), buf_slice(&told), s->out);
	s->out->resolve.split = !s->own_stays;
	s->out->parts_count = parts;
	buf_close(&stub);
	buf_close(&told);
	buf_close(&some);
}

/* ---- as they are sent ---- */

struct msg_doc_write split_part_write(const struct split_part *part)
{
	return (struct msg_doc_write){
	    .op = part->deleted ? WRITE_DELETE : WRITE_PUT,
	    .id = part->id,
	    .body = part->body,
	    .expect = EXPECT_DERIVED,
	    .expected = part->base,
	    .expected_count = part->base != NULL,
	    .keep_as_branch = part->beside,
	    .anew = part->anew,
	    .operation_id = slice_of(part->operation_id, sizeof part->operation_id),
	    .operation_digest = slice_of(part->digest, sizeof part->digest)};
}

struct msg_derived_check split_part_check(const struct split_part *part)
{
	return (struct msg_derived_check){
	    .id = part->id,
	    .body = part->body,
	    .keep_as_branch = part->beside,
	    .anew = part->anew,
	    .deleted = part->deleted,
	    .operation_id = slice_of(part->operation_id, sizeof part->operation_id),
	    .operation_digest = slice_of(part->digest, sizeof part->digest)};
}
