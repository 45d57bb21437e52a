/* Making collections and changing their settings. */
#include <inttypes.h>
#include <stdio.h>

#include "common/doc/value.h"
#include "common/retain.h"
#include "gateway/index_params.h"
#include "gateway/native.h"
#include "gateway/policy.h"
#include "gateway/policy_script.h"
#include "gateway/routes.h"
#include "gateway/served.h"
#include "gateway/url.h"

enum { TRIES_MAX = 16 }; /* others change the settings meanwhile */

struct settings_op {
	struct msg_collection_create message;
	uint64_t map_version; /* the map that shows it */
	uint32_t tries;
	struct slice patch; /* updates: what the client sent */
	int http;           /* of the answer, 0 while the coordinator has not said */
};

/* ---- the answer ---- */

static void settings_answer(struct turn *t, struct request *r, const struct map_collection *c,
			    int http)
{
	const struct collection *s = &c->settings;
	struct reply *reply = reply_begin(t, http);
	struct buf *out = &reply->body;
	buf_printf(out, "{\"id\":\"%016" PRIx64 "\",\"collectionId\":", s->id);
	json_string(s->name, out);
	buf_printf(out,
		   ",\"mode\":\"%s\",\"replicas\":%" PRIu64 ",\"writeQuorum\":%" PRIu64
		   ",\"shards\":%" PRIu32 ",\"settingsVersion\":%" PRIu64 ",\"retainMs\":%" PRIu64
		   ",\"keepAncestors\":%" PRIu64 ",\"retainDeletedMs\":%" PRIu64,
		   s->mode == MODE_AVAILABLE ? "available" : "consistent", s->replicas,
		   s->write_quorum, c->shards_count, s->version, s->retain_ms, s->keep_ancestors,
		   retain_deleted_ms(s));
	if (s->policy.len > 0) {
		buf_append_text(out, ",\"policy\":");
		if (!json_from_msgpack(s->policy, out))
			buf_append_text(out, "null");
	}
	if (s->indexes_count > 0) {
		buf_append_text(out, ",\"indexes\":");
		index_print_list(s, out);
	}
	buf_append_byte(out, '}');
	reply_send(t, r, reply);
}

static void dropped_answer(struct turn *t, struct request *r)
{
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{}");
	reply_send(t, r, reply);
}

static void settings_served(struct turn *t, struct request *r, bool served)
{
	const struct settings_op *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (c)
		settings_answer(t, r, c, served ? op->http : 202);
	else /* dropped by somebody else meanwhile */
		answer_status(t, r, STATUS_NO_LEAD, "collection");
}

/* Both must have come: the coordinator's word and the map that shows it. */
static void settings_look(struct turn *t, struct request *r)
{
	const struct settings_op *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (op->http == 0 || t->gw->map.version < op->map_version || (!c && !op->message.drop))
		return;
	request_wait_end(t, r);
	if (op->message.drop)
		dropped_answer(t, r);
	else if (op->message.update)
		settings_answer(t, r, c, op->http);
	else
		served_await(t, r, c, t->gw->options.limits.deadline_ms, settings_served);
}

static void update_again(struct turn *t, struct request *r);

static void settings_done(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	struct settings_op *op = r->op;
	(void)index;
	if (body && status == STATUS_CONFLICT) {
		update_again(t, r);
		return;
	}
	if (!body || !status_is_success(status)) {
		answer_status(t, r, status, "");
		return;
	}
	op->http = status == STATUS_CREATED ? 201 : 200;
	op->map_version = ((const struct msg_collection_create_ack *)body)->map_version;
	settings_look(t, r);
}

static void settings_send(struct turn *t, struct request *r)
{
	struct settings_op *op = r->op;
	request_wait(t, r, settings_look);
	collection_change(t, r, &op->message, settings_done);
}

/* ---- the request ---- */

static bool take_number(struct slice value, const char *place, uint64_t max, uint64_t *out,
			struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_UINT)
		return problem_detail(p, STATUS_WRONG_TYPE, place, "A whole number, not negative.");
	if (token.u64 > max)
		return problem_limit(p, STATUS_BAD_PARAMETER, place, max, token.u64);
	*out = token.u64;
	return true;
}

static bool take_mode(struct slice value, uint64_t *out, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	bool available = token.type == MP_STR && slice_is(token.bytes, "available");
	if (!available && (token.type != MP_STR || !slice_is(token.bytes, "consistent")))
		return problem_detail(p, STATUS_BAD_PARAMETER, "/mode", "consistent or available.");
	*out = available ? MODE_AVAILABLE : MODE_CONSISTENT;
	return true;
}

static bool take_name(struct request *r, struct slice value, struct slice *out, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_STR)
		return problem_detail(p, STATUS_WRONG_TYPE, "/name", "A string.");
	if (r->resource.len > 0 && !slice_equal(token.bytes, r->resource))
		return problem_detail(p, STATUS_BAD_PARAMETER, "/name", "A name can't be changed.");
	*out = token.bytes;
	return true;
}

static bool take_member(struct request *r, struct settings_op *op, struct slice name,
			struct slice value, struct problem *p)
{
	struct collection *c = &op->message.collection;
	char place[PLACE_BYTES];
	uint64_t most = UINT64_MAX / 2;
	if (slice_is(name, "name"))
		return take_name(r, value, &c->name, p);
	if (slice_is(name, "mode")) {
		op->message.mode_given = true;
		return take_mode(value, &c->mode, p);
	}
	if (slice_is(name, "policy")) {
		c->policy = value;
		return policy_check(r, value, "/policy", p);
	}
	if (slice_is(name, "keepAncestors")) {
		if (!take_number(value, "/keepAncestors", 64, &c->keep_ancestors, p))
			return false;
		op->message.keep_nothing = c->keep_ancestors == 0;
		return true;
	}
	if (slice_is(name, "retainMs")) {
		if (!take_number(value, "/retainMs", most, &c->retain_ms, p))
			return false;
		op->message.retain_nothing = c->retain_ms == 0;
		return true;
	}
	if (slice_is(name, "retainDeletedMs")) {
		if (!take_number(value, "/retainDeletedMs", most, &c->retain_deleted, p))
			return false;
		c->retain_deleted++;
		return true;
	}
	if (!op->message.update && slice_is(name, "replicas"))
		return take_number(value, "/replicas", LIMIT_REPLICAS, &c->replicas, p);
	if (!op->message.update && slice_is(name, "writeQuorum"))
		return take_number(value, "/writeQuorum", LIMIT_REPLICAS, &c->write_quorum, p);
	if (!op->message.update && slice_is(name, "indexes"))
		return index_take_list(r, value, c, p);
	if (!op->message.update && slice_is(name, "shards"))
		return take_number(value, "/shards", LIMIT_COLLECTION_SHARDS, &op->message.shards,
				   p);
	snprintf(place, sizeof place, "/%.*s", (int)(name.len < 100 ? name.len : 100),
		 name.len ? (const char *)name.data : "");
	return problem_detail(p, STATUS_BAD_PARAMETER, place,
			      "There is no such setting to give here.");
}

static bool take_settings(struct request *r, struct settings_op *op, struct slice value,
			  struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_MAP)
		return problem_detail(p, STATUS_WRONG_TYPE, "", "Settings are a JSON object.");
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		struct slice member = mp_value(&reader);
		if (!take_member(r, op, name.bytes, member, p))
			return false;
	}
	const struct collection *c = &op->message.collection;
	if (c->replicas > 0 && c->write_quorum > 0 &&
	    (2 * c->write_quorum <= c->replicas || c->write_quorum > c->replicas))
		return problem_detail(p, STATUS_BAD_PARAMETER, "/writeQuorum",
				      "More than half of the replicas, at most all.");
	return true;
}

void native_collection_create(struct turn *t, struct request *r)
{
	struct settings_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	struct slice value;
	r->op = op;
	if (!native_body(t, r, &value, &problem) || !take_settings(r, op, value, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	r->collection = op->message.collection.name;
	if (collection_name_makeable(r->collection))
		policy_check_script(t, r, op->message.collection.policy, "/policy", settings_send);
	else
		answer_status(t, r, STATUS_BAD_NAME, "/name");
}

/* What the patch does not name stays as it is. */
static void update_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct settings_op *op = r->op;
	struct problem problem;
	if (!c) {
		answer_no_collection(t, r, "path");
		return;
	}
	op->message.update = true;
	op->message.if_version = c->settings.version;
	op->message.collection = c->settings;
	op->message.collection.name = r->collection;
	op->message.collection.indexes = NULL; /* they have requests of their own */
	op->message.collection.indexes_count = 0;
	op->message.collection.policy = arena_copy(&r->arena, c->settings.policy);
	if (take_settings(r, op, op->patch, &problem))
		policy_check_script(t, r, value_member(op->patch, slice_text("policy")), "/policy",
				    settings_send);
	else
		answer_problem(t, r, &problem);
}

static void update_map(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	(void)index;
	if (body)
		update_go(t, r, cluster_map_collection(&t->gw->map, r->collection));
	else
		answer_status(
		    t, r, status_is_success(status) ? STATUS_COORDINATOR_UNAVAILABLE : status, "");
}

/* The settings are others by now, of which the patch names some: it is applied to them. */
static void update_again(struct turn *t, struct request *r)
{
	struct settings_op *op = r->op;
	request_wait_end(t, r);
	if (++op->tries < TRIES_MAX)
		map_refresh(t, r, update_map);
	else
		answer_status(t, r, STATUS_OVERLOADED, "");
}

void native_collection_update(struct turn *t, struct request *r)
{
	struct settings_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	r->collection = r->resource;
	if (!collection_name_makeable(r->collection))
		answer_status(t, r, STATUS_BAD_NAME, "path");
	else if (!native_body(t, r, &op->patch, &problem))
		answer_problem(t, r, &problem);
	else
		collection_find(t, r, false, update_go);
}

void native_collection_drop(struct turn *t, struct request *r)
{
	struct settings_op *op = arena_alloc(&r->arena, sizeof *op);
	r->op = op;
	op->message.drop = true;
	op->message.collection.name = r->resource;
	if (!collection_name_makeable(r->resource)) {
		answer_status(t, r, STATUS_BAD_NAME, "path");
		return;
	}
	settings_send(t, r);
}
