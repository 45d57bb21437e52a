/* CouchDB's endpoints of the server itself. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/doc/value.h"
#include "gateway/couch/couch.h"
#include "gateway/routes.h"

enum { UUIDS_MAX = 1000 };

void couch_root(struct turn *t, struct request *r)
{
	const struct gateway_options *o = &t->gw->options;
	struct reply *reply = reply_begin(t, 200);
	/* clients compare the version with CouchDB's; the uuid is in their checkpoints' names */
	buf_printf(&reply->body,
		   "{\"couchdb\":\"Welcome\",\"version\":\"3.5.0\",\"git_sha\":\"parley\","
		   "\"uuid\":\"%032" PRIx64 "\",\"features\":[],"
		   "\"vendor\":{\"name\":\"Parley\",\"version\":",
		   o->cluster);
	json_string(slice_text(o->version), &reply->body);
	buf_append_text(&reply->body, "}}");
	reply_send(t, r, reply);
}

void couch_up(struct turn *t, struct request *r)
{
	struct reply *reply = reply_begin(t, t->gw->map.version > 0 ? 200 : 404);
	buf_printf(&reply->body, "{\"status\":\"%s\",\"seeds\":{}}",
		   t->gw->map.version > 0 ? "ok" : "nolb");
	reply_send(t, r, reply);
}

bool couch_number(const struct request *r, const char *name, uint64_t *value, struct problem *p)
{
	struct slice text;
	char reason[PLACE_BYTES];
	if (!request_parameter(r, name, &text))
		return true;
	uint64_t number = 0;
	bool negative = text.len > 1 && text.data[0] == '-';
	bool digits = text.len > 0 && text.len <= 15;
	for (size_t i = negative; digits && i < text.len; i++) {
		digits = text.data[i] >= '0' && text.data[i] <= '9';
		number = number * 10 + (uint64_t)(text.data[i] - '0');
	}
	*value = number;
	snprintf(reason, sizeof reason, "Invalid value for %sinteger: \"%.*s\"",
		 digits ? "positive " : "", (int)(text.len < 60 ? text.len : 60),
		 text.len ? (const char *)text.data : "");
	return (digits && !negative) || couch_problem(p, COUCH_BAD_PARAMETER, reason);
}

void couch_uuids(struct turn *t, struct request *r)
{
	struct problem problem;
	uint64_t count = 1;
	if (!couch_number(r, "count", &count, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	if (count > UUIDS_MAX) {
		couch_answer_error(t, r, COUCH_UUIDS_MANY);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"uuids\":[");
	for (uint64_t i = 0; i < count; i++) {
		uint8_t random[16];
		rng_fill(&t->gw->rng, random, sizeof random);
		buf_append_text(&reply->body, i == 0 ? "\"" : ",\"");
		buf_append_hex(&reply->body, random, sizeof random);
		buf_append_byte(&reply->body, '"');
	}
	buf_append_text(&reply->body, "]}");
	reply_send(t, r, reply);
}

/* ---- _all_dbs ---- */

static int compare_texts(const void *a, const void *b)
{
	return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

struct names_range {
	struct slice first; /* data NULL: from the one end */
	struct slice last;  /* to the other */
	uint64_t limit;
	uint64_t skip;
	bool descending;
};

static bool take_range(struct turn *t, struct request *r, struct names_range *range,
		       struct problem *p)
{
	const struct slice none = {0};
	*range = (struct names_range){.limit = UINT64_MAX};
	return couch_take_key(t, r, none, "startkey", &range->first, p) &&
	       couch_take_key(t, r, none, "start_key", &range->first, p) &&
	       couch_take_key(t, r, none, "endkey", &range->last, p) &&
	       couch_take_key(t, r, none, "end_key", &range->last, p) &&
	       couch_take_flag(r, none, "descending", &range->descending, p) &&
	       couch_take_count(r, none, "limit", &range->limit, p) &&
	       couch_take_count(r, none, "skip", &range->skip, p);
}

static bool in_range(const struct names_range *range, struct slice name)
{
	struct slice least = range->descending ? range->last : range->first;
	struct slice greatest = range->descending ? range->first : range->last;
	return (!least.data || slice_compare(name, least) >= 0) &&
	       (!greatest.data || slice_compare(name, greatest) <= 0);
}

/* Those of a sorted list. */
static uint32_t choose(const struct names_range *range, struct slice *list, uint32_t count)
{
	uint64_t passed = 0;
	uint32_t kept = 0;
	for (uint32_t i = 0; range->descending && i < count / 2; i++) {
		struct slice other = list[i];
		list[i] = list[count - 1 - i];
		list[count - 1 - i] = other;
	}
	for (uint32_t i = 0; i < count && kept < range->limit; i++)
		if (in_range(range, list[i]) && passed++ >= range->skip)
			list[kept++] = list[i];
	return kept;
}

static uint32_t all_names(struct turn *t, struct request *r, struct slice **names)
{
	const struct cluster_map *map = &t->gw->map;
	struct slice *list = arena_alloc(&r->arena, (map->collections.count + 1) * sizeof *list);
	uint32_t count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&map->collections, &at)) != NULL;) {
		const struct map_collection *c = e->value;
		if (cluster_map_collection(map, c->settings.name) &&
		    !slice_is(c->settings.name, COLLECTION_REPLICATIONS) &&
		    couch_database_name(c->settings.name, &t->gw->scratch))
			list[count++] = arena_copy(&r->arena, buf_slice(&t->gw->scratch));
	}
	qsort(list, count, sizeof *list, compare_texts);
	*names = list;
	return count;
}

bool couch_databases(struct turn *t, struct request *r, struct slice **names, uint32_t *count,
		     struct problem *p)
{
	struct names_range range;
	if (!take_range(t, r, &range, p))
		return false;
	*count = all_names(t, r, names);
	*count = choose(&range, *names, *count);
	return true;
}

static void databases_answer(struct turn *t, struct request *r, uint32_t index, enum status status,
			     const void *body)
{
	struct slice *names;
	struct problem problem;
	uint32_t count;
	(void)index;
	(void)status;
	if (!map_refreshed(t, r, body))
		return;
	if (!couch_databases(t, r, &names, &count, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	for (uint32_t i = 0; i < count; i++) {
		buf_append_byte(&reply->body, i == 0 ? '[' : ',');
		json_string(names[i], &reply->body);
	}
	buf_append_text(&reply->body, count == 0 ? "[]" : "]");
	reply_send(t, r, reply);
}

void couch_all_dbs(struct turn *t, struct request *r)
{
	map_refresh(t, r, databases_answer);
}

/* ---- _membership ---- */

static void members_came(struct turn *t, struct request *r, uint32_t index, enum status status,
			 const void *body)
{
	const struct msg_system_list_ack *ack = body;
	struct buf names = {0};
	(void)index;
	if (!ack || status != STATUS_OK) {
		answer_status(t, r, status, "");
		return;
	}
	for (uint32_t i = 0; i < ack->rows_count; i++) {
		struct mp_reader id = mp_reader_of(value_member(ack->rows[i], slice_text("id")));
		struct mp_reader role =
		    mp_reader_of(value_member(ack->rows[i], slice_text("role")));
		struct mp_token name = mp_read(&id);
		struct mp_token what = mp_read(&role);
		if (name.type != MP_STR || what.type != MP_STR || !slice_is(what.bytes, "storage"))
			continue;
		if (names.len > 0)
			buf_append_byte(&names, ',');
		json_string(name.bytes, &names);
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"all_nodes\":[");
	buf_append_slice(&reply->body, buf_slice(&names));
	buf_append_text(&reply->body, "],\"cluster_nodes\":[");
	buf_append_slice(&reply->body, buf_slice(&names));
	buf_append_text(&reply->body, "]}");
	buf_close(&names);
	reply_send(t, r, reply);
}

void couch_ask_members(struct turn *t, struct request *r, call_done *done)
{
	struct msg_system_list *list = arena_alloc(&r->arena, sizeof *list);
	list->collection = slice_text("system.nodes");
	struct call_spec spec = {
	    .reach = REACH_COORDINATOR,
	    .type = MSG_system_list,
	    .answer = MSG_system_list_ack,
	    .message = list,
	    .repeatable = true,
	    .done = done,
	};
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

void couch_membership(struct turn *t, struct request *r)
{
	couch_ask_members(t, r, members_came);
}
