/* Databases: made, described, dropped. A database is a collection. */
#include <inttypes.h>
#include <stdio.h>

#include "gateway/couch/auth.h"
#include "gateway/couch/couch.h"
#include "gateway/routes.h"
#include "gateway/served.h"
#include "proto/msgpack.h"

enum {
	REVS_LIMIT = 1000,
	/* whoever was offline brings edits of what is no longer current: a merge needs their base
	 */
	KEEP_ANCESTORS = 10
};

/* ---- there or not ---- */

struct couch_finding {
	collection_step *found;
	void *op;
};

static void have_looked(struct turn *t, struct request *r, struct map_collection *c)
{
	const struct couch_finding *f = r->op;
	r->op = f->op;
	if (c)
		f->found(t, r, c);
	else
		couch_answer_error(t, r, COUCH_DB_MISSING);
}

void couch_find(struct turn *t, struct request *r, collection_step *found)
{
	struct couch_finding *f = arena_alloc(&r->arena, sizeof *f);
	f->found = found;
	f->op = r->op;
	r->op = f;
	/* these are there once they are asked for */
	collection_find(t, r, couch_is_system(r), have_looked);
}

/* ---- counts ---- */

struct counting {
	struct couch_counts counts;
	uint32_t shards_count;
	uint32_t left;
	couch_counted *done;
	void *op;
};

static void counted_all(struct turn *t, struct request *r, struct counting *op)
{
	struct buf text = {0};
	sequence_print(op->counts.positions, op->shards_count, &text);
	op->counts.sequence = arena_copy(&r->arena, buf_slice(&text));
	buf_close(&text);
	r->op = op->op;
	op->done(t, r, &op->counts);
}

static void shard_counted(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	struct counting *op = r->op;
	const struct msg_shard_query_ack *ack = body;
	if (!ack || status != STATUS_OK) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	op->counts.documents += ack->count;
	op->counts.deleted += ack->deleted;
	op->counts.erased += ack->erased;
	op->counts.positions[index].number = ack->applied;
	if (--op->left == 0)
		counted_all(t, r, op);
}

void couch_count(struct turn *t, struct request *r, const struct map_collection *c,
		 couch_counted *done)
{
	struct counting *op = arena_alloc(&r->arena, sizeof *op);
	struct msg_shard_query *queries =
	    arena_alloc(&r->arena, (c->shards_count + 1) * sizeof *queries);
	*op = (struct counting){.done = done, .op = r->op, .left = c->shards_count};
	op->shards_count = c->shards_count;
	op->counts.positions =
	    arena_alloc(&r->arena, (c->shards_count + 1) * sizeof *op->counts.positions);
	r->op = op;
	for (uint32_t i = 0; i < op->shards_count && !r->finished; i++) {
		queries[i].shard = op->counts.positions[i].shard = c->shards[i]->shard.id;
		queries[i].count = true;
		struct call_spec spec = {.reach = REACH_LEAD,
					 .shard = queries[i].shard,
					 .type = MSG_shard_query,
					 .answer = MSG_shard_query_ack,
					 .message = &queries[i],
					 .repeatable = true,
					 .index = i,
					 .done = shard_counted};
		if (!call_open(t, r, &spec))
			answer_status(t, r, STATUS_OVERLOADED, "");
	}
}

/* ---- what is told of one ---- */

bool couch_info_print(const struct map_collection *c, const struct couch_counts *counts,
		      struct buf *out)
{
	struct buf name = {0};
	bool fine = couch_database_name(c->settings.name, &name);
	buf_append_text(out, "{\"db_name\":");
	json_string(buf_slice(&name), out);
	buf_close(&name);
	buf_append_text(out, ",\"update_seq\":");
	json_string(counts->sequence, out);
	buf_printf(out,
		   ",\"doc_count\":%" PRIu64 ",\"doc_del_count\":%" PRIu64
		   ",\"purge_seq\":\"%" PRIu64 "\",\"compact_running\":false,"
		   "\"instance_start_time\":\"0\",\"disk_format_version\":8,\"props\":{},"
		   "\"sizes\":{\"file\":0,\"external\":0,\"active\":0},"
		   "\"cluster\":{\"q\":%" PRIu32 ",\"n\":%" PRIu64 ",\"w\":%" PRIu64 ",\"r\":1}}",
		   counts->documents, counts->deleted, counts->erased, c->shards_count,
		   c->settings.replicas, c->settings.write_quorum);
	return fine;
}

static void info_answer(struct turn *t, struct request *r, const struct couch_counts *counts)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	struct reply *reply = reply_begin(t, 200);
	if (c && couch_info_print(c, counts, &reply->body))
		reply_send(t, r, reply);
	else
		couch_answer_error(t, r, COUCH_DB_MISSING);
}

static void info_go(struct turn *t, struct request *r, struct map_collection *c)
{
	couch_count(t, r, c, info_answer);
}

void couch_info(struct turn *t, struct request *r)
{
	couch_find(t, r, info_go);
}

/* ---- made and dropped ---- */

struct change_op {
	struct msg_collection_create message;
	uint64_t map_version; /* the map that shows it; 0: the coordinator has not said */
};

static void answer_ok(struct turn *t, struct request *r, int http)
{
	struct reply *reply = reply_begin(t, http);
	buf_append_text(&reply->body, "{\"ok\":true}");
	reply_send(t, r, reply);
}

/* As CouchDB: 202 where it is made, but not for all to use yet. */
static void created_answer(struct turn *t, struct request *r, bool served)
{
	struct reply *reply = reply_begin(t, served ? 201 : 202);
	struct slice path = r->http ? r->http->path : r->resource;
	reply_header(r, reply, "Location", path);
	buf_append_text(&reply->body, "{\"ok\":true}");
	reply_send(t, r, reply);
}

/* Both must have come: the coordinator's word and the map that shows it. */
static void change_look(struct turn *t, struct request *r)
{
	const struct change_op *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (op->map_version == 0 || t->gw->map.version < op->map_version)
		return;
	if (op->message.drop) {
		answer_ok(t, r, 200);
	} else if (c) {
		request_wait_end(t, r);
		served_await(t, r, c, t->gw->options.limits.deadline_ms, created_answer);
	}
}

static void change_done(struct turn *t, struct request *r, uint32_t index, enum status status,
			const void *body)
{
	struct change_op *op = r->op;
	const struct msg_collection_create_ack *ack = body;
	(void)index;
	if (ack && !op->message.drop && (status == STATUS_OK || status == STATUS_EXISTS))
		couch_answer_error(t, r, COUCH_FILE_EXISTS);
	else if (ack && op->message.drop && status == STATUS_NOT_FOUND)
		couch_answer_error(t, r, COUCH_DB_MISSING);
	else if (!ack || !status_is_success(status))
		answer_status(t, r, status, "");
	else
		op->map_version = ack->map_version;
	if (!r->finished)
		change_look(t, r);
}

static void change_send(struct turn *t, struct request *r, struct change_op *op)
{
	op->message.collection.name = r->collection;
	r->op = op;
	r->resource = arena_copy(&r->arena, r->http->path);
	request_wait(t, r, change_look);
	collection_change(t, r, &op->message, change_done);
}

void couch_create(struct turn *t, struct request *r)
{
	struct change_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	struct buf name = {0};
	bool fit = couch_database_name(r->collection, &name) &&
		   (couch_is_system(r) || couch_name_fit(buf_slice(&name)));
	if (!fit)
		fit = couch_bad_name(buf_slice(&name), &problem);
	buf_close(&name);
	if (!fit || !couch_number(r, "q", &op->message.shards, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	if (op->message.shards > LIMIT_COLLECTION_SHARDS)
		op->message.shards = LIMIT_COLLECTION_SHARDS;
	op->message.collection.keep_ancestors = KEEP_ANCESTORS;
	/* the coordinator knows: this gateway may not have heard yet that it was dropped */
	change_send(t, r, op);
}

void couch_drop(struct turn *t, struct request *r)
{
	struct change_op *op = arena_alloc(&r->arena, sizeof *op);
	op->message.drop = true;
	change_send(t, r, op);
}

/* ---- what needs no more than the database ---- */

static void revs_limit_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	struct reply *reply = reply_begin(t, 200);
	buf_printf(&reply->body, "%d", REVS_LIMIT);
	reply_send(t, r, reply);
}

void couch_revs_limit(struct turn *t, struct request *r)
{
	couch_find(t, r, revs_limit_go);
}

static void ok_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	answer_ok(t, r, 200);
}

/* Limits are taken and not used: how much history is kept is a setting of the collection. */
static void set_limit(struct turn *t, struct request *r, const char *name)
{
	struct problem problem;
	struct slice body = {0};
	char text[PLACE_BYTES];
	bool fine = native_body(t, r, &body, &problem);
	struct mp_reader reader = mp_reader_of(body);
	struct mp_token limit = mp_read(&reader);
	if (fine && (limit.type != MP_UINT || limit.u64 == 0)) {
		snprintf(text, sizeof text, "`%s` is a whole number, 1 or more.", name);
		fine = couch_problem(&problem, COUCH_BAD_REQUEST, text);
	}
	if (fine)
		couch_find(t, r, ok_go);
	else
		answer_problem(t, r, &problem);
}

void couch_revs_limit_set(struct turn *t, struct request *r)
{
	set_limit(t, r, "_revs_limit");
}

/* What is purged is gone: it is not remembered. */
static void purged_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"purged_infos\":[]}");
	reply_send(t, r, reply);
}

void couch_purged_infos(struct turn *t, struct request *r)
{
	couch_find(t, r, purged_go);
}

static void purged_limit_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	struct reply *reply = reply_begin(t, 200);
	buf_append_byte(&reply->body, '0');
	reply_send(t, r, reply);
}

void couch_purged_infos_limit(struct turn *t, struct request *r)
{
	couch_find(t, r, purged_limit_go);
}

void couch_purged_infos_limit_set(struct turn *t, struct request *r)
{
	set_limit(t, r, "_purged_infos_limit");
}

static void design_found(struct turn *t, struct request *r, uint32_t index, enum status status,
			 const void *body)
{
	(void)index;
	if (couch_document_found(t, r, status, body, false))
		answer_ok(t, r, 202);
}

static void compact_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct msg_doc_read *read = r->op;
	if (read->id.len == 0)
		answer_ok(t, r, 202);
	else if (!couch_read_send(t, r, c, read, design_found))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* The store compacts itself, and views are kept by their use. A design document that is named must
 * be there. */
void couch_compact(struct turn *t, struct request *r)
{
	struct msg_doc_read *read = arena_alloc(&r->arena, sizeof *read);
	struct problem problem;
	struct buf id = {0};
	if (r->resource.len > 0)
		buf_append_text(&id, "_design/");
	buf_append_slice(&id, r->resource);
	read->id = arena_copy(&r->arena, buf_slice(&id));
	buf_close(&id);
	r->op = read;
	if (read->id.len == 0 || couch_id_check(read->id, &problem))
		couch_find(t, r, compact_go);
	else
		answer_problem(t, r, &problem);
}

static void commit_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	struct reply *reply = reply_begin(t, 201);
	buf_append_text(&reply->body, "{\"ok\":true,\"instance_start_time\":\"0\"}");
	reply_send(t, r, reply);
}

/* What was answered is on W disks. */
void couch_full_commit(struct turn *t, struct request *r)
{
	couch_find(t, r, commit_go);
}
