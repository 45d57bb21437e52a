/* Documents with revisions that were made elsewhere (`new_edits: false`): one message to each
 * shard. What a replicator is told to have been refused it does not send again: so where a part of
 * the request should only be repeated, the whole of it is to be, which does no harm. */
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "common/probe.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/import.h"
#include "gateway/couch/shards.h"

enum {
	IMPORT_MESSAGE_BYTES = 1024 * 1024,
	IMPORT_MESSAGE_ITEMS = 100, /* a lead decides on all of a message in one step */
	GENERATION_GREATEST = 0x7fffffff
};

/* A message, and which of the request's items are in it. */
struct import_part {
	struct msg_doc_import message;
	const uint32_t *items;
};

struct import {
	struct import_item *items;
	struct slice *ids;
	enum status *statuses;
	uint32_t count;
	struct import_part *parts;
	uint32_t parts_count;
	uint32_t left; /* parts without an answer yet */
	couch_imported *done;
	void *op; /* the caller's */
};

/* ---- histories ---- */

static bool bad_history(struct problem *p, const char *reason)
{
	return couch_problem(p, COUCH_BAD_HISTORY, reason);
}

static bool take_hashes(struct request *r, struct mp_reader *ids, uint32_t count,
			struct import_item *out, struct problem *p)
{
	out->hashes = arena_alloc(&r->arena, (count + 1) * sizeof *out->hashes);
	for (uint32_t i = 0; i < count; i++) {
		struct mp_token hash = mp_read(ids);
		if (hash.type != MP_STR || !revision_hash_ok(hash.bytes))
			return bad_history(p, "RevId isn't a string");
		out->hashes[out->hashes_count++] = hash.bytes;
	}
	return true;
}

/* {"start": generation, "ids": [hashes, the newest first]} */
static bool take_revisions(struct request *r, const struct couch_document *d,
			   struct import_item *out, struct problem *p)
{
	struct mp_reader start = mp_reader_of(value_member(d->revisions, slice_text("start")));
	struct mp_token generation = mp_read(&start);
	struct mp_reader ids = mp_reader_of(value_member(d->revisions, slice_text("ids")));
	struct mp_token head = mp_read(&ids);
	if (generation.type != MP_UINT)
		return bad_history(p, "_revisions.start isn't an integer.");
	if (head.type != MP_ARRAY)
		return bad_history(p, "_revisions.ids isn't a array.");
	if (generation.u64 == 0 || generation.u64 > GENERATION_GREATEST || head.count == 0 ||
	    head.count > generation.u64)
		return bad_history(
		    p, "_revisions names more revisions than its start leaves room for.");
	if (head.count > LIMIT_ANCESTORS)
		return bad_history(p, "_revisions names more than 1000 revisions.");
	out->generation = generation.u64;
	if (!take_hashes(r, &ids, head.count, out, p))
		return false;
	struct revision newest = {out->generation, out->hashes[0]};
	return d->revision.generation == 0 || revision_equal(&d->revision, &newest) ||
	       bad_history(p, "_rev is not the first of _revisions.");
}

bool couch_import_item(struct request *r, const struct couch_document *d, struct import_item *out,
		       struct problem *p)
{
	*out = (struct import_item){.id = d->id, .deleted = d->deleted};
	if (d->id.len == 0)
		return couch_problem(p, COUCH_ID_EMPTY, "");
	if (!d->deleted)
		out->body = d->body;
	if (d->revisions.len > 0)
		return take_revisions(r, d, out, p);
	if (d->revision.generation == 0)
		return couch_problem(p, COUCH_NO_REV, "");
	if (d->revision.generation > GENERATION_GREATEST)
		return couch_problem(p, COUCH_BAD_REV, "");
	out->generation = d->revision.generation;
	out->hashes = arena_alloc(&r->arena, sizeof *out->hashes);
	out->hashes[out->hashes_count++] = d->revision.hash;
	return true;
}

/* ---- asking ---- */

/* Why all of it is to be repeated; OK: it is not. Any other reason than that nobody knows would say
 * that nothing was changed. */
static enum status repeat_for(const struct import *op)
{
	enum status why = STATUS_OK;
	bool changed = false;
	for (uint32_t i = 0; i < op->count; i++) {
		changed |=
		    status_is_success(op->statuses[i]) || op->statuses[i] == STATUS_OUTCOME_UNKNOWN;
		if (why == STATUS_OK && status_row(op->statuses[i])->retry == RETRY_LATER)
			why = op->statuses[i];
	}
	return why != STATUS_OK && changed ? STATUS_OUTCOME_UNKNOWN : why;
}

static void finish(struct turn *t, struct request *r, struct import *op)
{
	enum status why = repeat_for(op);
	for (uint32_t i = 0; i < op->count; i++)
		couch_wrote(t, r, op->ids[i]);
	if (why != STATUS_OK) {
		struct problem problem;
		write_problem(WRITE_PUT, why, NULL, &problem);
		answer_problem(t, r, &problem);
		return;
	}
	r->op = op->op;
	op->done(t, r, op->statuses);
}

static void part_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct import *op = r->op;
	const struct msg_doc_import_ack *ack = body;
	struct import_part *part = &op->parts[index];
	for (uint32_t i = 0; i < part->message.items_count; i++)
		op->statuses[part->items[i]] = status;
	for (uint32_t i = 0; ack && i < ack->refused_count; i++)
		if (ack->refused[i].index < part->message.items_count)
			op->statuses[part->items[ack->refused[i].index]] =
			    status_row(ack->refused[i].status)->status;
	if (--op->left == 0)
		finish(t, r, op);
}

static size_t bytes_of(const struct import_item *item)
{
	size_t bytes = item->id.len + item->body.len + 32;
	for (uint32_t i = 0; i < item->hashes_count; i++)
		bytes += item->hashes[i].len + 2;
	return bytes;
}

/* Of one shard: as many messages as its documents need. */
static void make_parts(struct request *r, struct import *op, const struct couch_group *group)
{
	size_t bytes = 0;
	struct import_part *part = NULL;
	for (uint32_t i = 0; i < group->count; i++) {
		const struct import_item *item = &op->items[group->items[i]];
		bytes += bytes_of(item);
		if (!part || bytes > IMPORT_MESSAGE_BYTES ||
		    part->message.items_count == BOUND(import_items, IMPORT_MESSAGE_ITEMS)) {
			part = &op->parts[op->parts_count++];
			part->items = &group->items[i];
			part->message = (struct msg_doc_import){
			    .shard = group->shard,
			    .lock_ids = r->lock_ids,
			    .lock_ids_count = r->lock_ids_count,
			};
			uint32_t most = group->count - i;
			if (most > IMPORT_MESSAGE_ITEMS)
				most = IMPORT_MESSAGE_ITEMS;
			part->message.items =
			    arena_alloc(&r->arena, most * sizeof *part->message.items);
			bytes = bytes_of(item);
		}
		part->message.items[part->message.items_count++] = *item;
	}
}

static void import_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct import *op = r->op;
	struct couch_group *groups;
	uint32_t groups_count = couch_groups(r, c, op->ids, op->count, &groups);
	op->parts = arena_alloc(&r->arena, (op->count + 1) * sizeof *op->parts);
	for (uint32_t i = 0; i < groups_count; i++)
		make_parts(r, op, &groups[i]);
	/* One more than there are, so that an early failure does not answer before all were sent.
	 */
	op->left = op->parts_count + 1;
	for (uint32_t i = 0; i < op->parts_count; i++) {
		struct call_spec spec = {.shard = op->parts[i].message.shard,
					 .type = MSG_doc_import,
					 .answer = MSG_doc_import_ack,
					 .message = &op->parts[i].message,
					 .index = i,
					 .done = part_done};
		couch_tell_lead(t, r, spec);
	}
	if (--op->left == 0)
		finish(t, r, op);
}

bool couch_import(struct turn *t, struct request *r, const struct couch_document *documents,
		  uint32_t count, couch_imported *done, struct problem *p)
{
	struct import *op = arena_alloc(&r->arena, sizeof *op);
	*op = (struct import){.count = count, .done = done, .op = r->op};
	op->items = arena_alloc(&r->arena, (count + 1) * sizeof *op->items);
	op->ids = arena_alloc(&r->arena, (count + 1) * sizeof *op->ids);
	op->statuses = arena_alloc(&r->arena, (count + 1) * sizeof *op->statuses);
	for (uint32_t i = 0; i < count; i++) {
		if (!couch_import_item(r, &documents[i], &op->items[i], p))
			return false;
		op->ids[i] = op->items[i].id;
	}
	r->op = op;
	couch_find(t, r, import_go);
	return true;
}

struct revision couch_newest(const struct couch_document *d)
{
	struct mp_reader start = mp_reader_of(value_member(d->revisions, slice_text("start")));
	struct mp_reader ids = mp_reader_of(value_member(d->revisions, slice_text("ids")));
	struct mp_token generation = mp_read(&start);
	struct mp_token head = mp_read(&ids);
	struct mp_token hash = mp_read(&ids);
	/* a document may be refused, and told of, before anybody has looked at its history */
	if (generation.type != MP_UINT || head.type != MP_ARRAY || hash.type != MP_STR)
		return d->revision;
	return (struct revision){generation.u64, hash.bytes};
}
