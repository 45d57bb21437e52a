/* One conflict as people are shown it: versions, base, what differs, what each policy would do. */
#include "gateway/conflict_ask.h"

#include <inttypes.h>

#include "common/doc/decide.h"
#include "common/doc/diff.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/conflict_print.h"
#include "gateway/policy.h"
#include "gateway/routes.h"

enum { VERSIONS_SHOWN = 64, VERSIONS_BYTES = LIMIT_BODY_BYTES, PATHS_SHOWN = 1000 };

/* ---- finding it ---- */

void conflict_call(struct turn *t, struct request *r, struct call_spec *spec)
{
	const struct conflict_ask *op = r->op;
	spec->reach = REACH_LEAD;
	spec->shard = op->read.message.shard;
	spec->repeatable = true; /* each of them does nothing when done again */
	spec->write = spec->type != MSG_conflict_lease;
	if (!call_open(t, r, spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

void conflict_ask_graph(struct turn *t, struct request *r, call_done *done)
{
	if (!graph_read(t, r, done))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static void collection_found(struct turn *t, struct request *r, struct map_collection *c)
{
	struct conflict_ask *op = r->op;
	const struct map_shard *shard = c ? map_collection_shard(c, r->resource) : NULL;
	if (!shard) {
		answer_no_collection(t, r, "path");
		return;
	}
	op->read.message.id = r->resource;
	op->read.message.shard = shard->shard.id;
	op->go(t, r, c);
}

const struct msg_conflict_read_ack *conflict_graph(struct turn *t, struct request *r,
						   enum status status, const void *body)
{
	if (status == STATUS_NOT_FOUND) {
		answer_not_found(t, r, "path",
				 "There is no document with this id in the collection.");
		return NULL;
	}
	if (!body || !status_is_success(status)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "path");
		return NULL;
	}
	return body;
}

void conflict_begin(struct turn *t, struct request *r, collection_step *go)
{
	struct conflict_ask *op = r->op;
	op->go = go;
	collection_find(t, r, false, collection_found);
}

/* ---- showing ---- */

/* The collection's policy with another strategy. */
static struct slice other_strategy(struct request *r, struct slice policy, const char *strategy)
{
	struct buf out = {0};
	struct buf rest = {0};
	if (policy.len > 0)
		value_without_member(policy, slice_text("strategy"), &rest);
	struct mp_reader reader = mp_reader_of(buf_slice(&rest));
	uint32_t members = rest.len > 0 ? mp_read(&reader).count : 0;
	mp_write_map(&out, members + 1);
	mp_write_text(&out, "strategy");
	mp_write_text(&out, strategy);
	if (rest.len > 0)
		buf_append(&out, reader.at, (size_t)(reader.end - reader.at));
	struct slice copy = arena_copy(&r->arena, buf_slice(&out));
	buf_close(&out);
	buf_close(&rest);
	return copy;
}

static void print_value(struct slice value, struct buf *out)
{
	if (!json_from_msgpack(value, out))
		buf_append_text(out, "null");
}

/* What a strategy would make of it; whether that can be done may have to be asked. */
struct outcome {
	const char *name;
	struct decision decision;
	struct split_writes split;
};

enum { OUTCOMES = 4 };

struct show_op {
	struct conflict_ask ask; /* first */
	struct slice head;       /* what stands before the outcomes */
	struct outcome outcomes[OUTCOMES];
	uint32_t next; /* whose parts are asked for */
};

/* It is printed when the graph is gone. */
static void decide_outcome(struct request *r, const struct msg_conflict_read_ack *graph,
			   struct outcome *o)
{
	const struct show_op *op = r->op;
	struct decision *d = &o->decision;
	decide_conflict(graph, r->resource, &r->arena, d);
	split_prepare(r, op->ask.read.message.shard, d, &o->split);
	for (uint32_t i = 0; i < d->parts_count; i++)
		d->parts[i] = o->split.documents[i].part;
	decision_heed_held(d, graph->conflict.held, &r->arena);
	if (d->kind != DECISION_RESOLVE)
		o->split.count = 0;
}

void graph_under(struct msg_conflict_read_ack *graph, struct slice policy)
{
	graph->policy_version += !slice_equal(graph->policy, policy);
	graph->policy = policy;
}

static void decide_outcomes(struct request *r, const struct msg_conflict_read_ack *graph)
{
	static const char *const names[OUTCOMES] = {"policy", "merge", "newest", "oldest"};
	struct show_op *op = r->op;
	for (size_t i = 0; i < OUTCOMES; i++) {
		struct msg_conflict_read_ack asked = *graph;
		struct outcome *o = &op->outcomes[i];
		o->name = names[i];
		if (i > 0)
			graph_under(&asked, other_strategy(r, graph->policy, o->name));
		decide_outcome(r, &asked, o);
	}
}

/* The base, if there is one, and the versions, in order of winning, out of a question to a client.
 */
struct versions {
	struct slice items[VERSIONS_SHOWN + 1];     /* the base's first; empty: none */
	struct slice documents[VERSIONS_SHOWN + 1]; /* of them; empty: a deletion */
	uint32_t count;                             /* the base included */
	uint32_t all;                               /* the base not included */
};

static void take_versions(struct slice input, struct versions *v)
{
	struct slice base = value_element(input, 0);
	struct mp_reader list = mp_reader_of(value_element(input, 1));
	v->all = mp_read(&list).count;
	v->items[0] = value_rank(base) == RANK_NIL ? (struct slice){0} : base;
	v->count = 1;
	size_t bytes = v->items[0].len;
	for (uint32_t i = 0; i < v->all && v->count <= VERSIONS_SHOWN; i++) {
		struct slice version = mp_value(&list);
		bytes += version.len;
		if (i > 0 && bytes > VERSIONS_BYTES)
			break;
		v->items[v->count++] = version;
	}
	for (uint32_t i = 0; i < v->count; i++)
		if (v->items[i].len > 0)
			v->documents[i] = value_member(v->items[i], slice_text("document"));
}

static void print_path(const struct versions *v, const struct diff_row *row, uint32_t first,
		       struct buf *out)
{
	buf_append_text(out, "{\"path\":");
	json_string(row->pointer, out);
	if (first == 0 && row->values[0].len > 0) {
		buf_append_text(out, ",\"base\":");
		print_value(row->values[0], out);
	}
	buf_append_text(out, ",\"values\":{");
	bool begun = false;
	for (uint32_t i = 1; i < v->count; i++) {
		struct slice value = row->values[i - first];
		if (value.len == 0)
			continue;
		if (begun)
			buf_append_byte(out, ',');
		begun = true;
		print_value(value_member(v->items[i], slice_text("rev")), out);
		buf_append_byte(out, ':');
		print_value(value, out);
	}
	buf_append_text(out, "}}");
}

static void print_paths(struct request *r, const struct versions *v, struct buf *out)
{
	struct diff_row *rows;
	bool cut;
	uint32_t first = v->items[0].len > 0 ? 0 : 1;
	uint32_t count =
	    diff_rows(&v->documents[first], v->count - first, PATHS_SHOWN, &r->arena, &rows, &cut);
	bool begun = false;
	buf_append_text(out, ",\"paths\":[");
	for (uint32_t i = 0; i < count; i++) {
		if (slice_is(rows[i].pointer, "/id"))
			continue; /* a deletion lacks it */
		if (begun)
			buf_append_byte(out, ',');
		begun = true;
		print_path(v, &rows[i], first, out);
	}
	buf_append_byte(out, ']');
	if (cut)
		buf_append_text(out, ",\"pathsCut\":true");
}

static void print_versions(struct request *r, const struct decision *d, struct buf *out)
{
	struct versions v;
	if (d->kind != DECISION_EXTERNAL)
		return; /* the outcomes say why */
	take_versions(d->input, &v);
	buf_append_text(out, ",\"base\":");
	print_value(v.items[0].len > 0 ? v.items[0] : slice_of("\xc0", 1), out);
	buf_append_text(out, ",\"versions\":[");
	for (uint32_t i = 1; i < v.count; i++) {
		if (i > 1)
			buf_append_byte(out, ',');
		print_value(v.items[i], out);
	}
	buf_printf(out, "],\"versionsCount\":%" PRIu32, v.all);
	print_paths(r, &v, out);
}

static void print_head(struct request *r, const struct msg_conflict_read_ack *graph,
		       const struct decision *asked, struct buf *out)
{
	uint32_t leaves = asked->note.leaves_count;
	buf_append_text(out, "{\"collection\":");
	json_string(r->collection, out);
	buf_append_text(out, ",\"id\":");
	json_string(r->resource, out);
	buf_printf(out,
		   ",\"kind\":\"%s\",\"since\":%" PRIu64 ",\"held\":%s,\"policyVersion\":%" PRIu64,
		   conflict_kind_name(graph->conflict.kind), graph->conflict.since_ms,
		   graph->conflict.held ? "true" : "false", graph->policy_version);
	buf_append_text(out, ",\"leaves\":");
	conflict_print_revisions(asked->note.leaves, leaves, out);
	buf_printf(out, ",\"leavesCount\":%" PRIu32, leaves);
	print_versions(r, asked, out);
	buf_append_text(out, ",\"outcomes\":{");
}

static void show(struct turn *t, struct request *r)
{
	const struct show_op *op = r->op;
	struct reply *reply = reply_begin(t, 200);
	buf_append_slice(&reply->body, op->head);
	for (size_t i = 0; i < OUTCOMES; i++) {
		if (i > 0)
			buf_append_byte(&reply->body, ',');
		buf_printf(&reply->body, "\"%s\":{", op->outcomes[i].name);
		decision_print(&op->outcomes[i].decision, r->resource, true, &reply->body);
		buf_append_byte(&reply->body, '}');
	}
	buf_append_text(&reply->body, "}}");
	reply_send(t, r, reply);
}

/* Would the next outcome's parts be taken? */
static void ask_parts(struct turn *t, struct request *r);

static void parts_checked(struct turn *t, struct request *r, enum status status, struct slice place)
{
	struct show_op *op = r->op;
	split_heed_check(r, &op->outcomes[op->next++].decision, status, place);
	ask_parts(t, r);
}

static void ask_parts(struct turn *t, struct request *r)
{
	struct show_op *op = r->op;
	while (op->next < OUTCOMES && op->outcomes[op->next].split.count == 0)
		op->next++;
	if (op->next < OUTCOMES)
		split_check(t, r, &op->outcomes[op->next].split, parts_checked);
	else
		show(t, r);
}

static void have_graph(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	const struct msg_conflict_read_ack *graph = conflict_graph(t, r, status, body);
	struct show_op *op = r->op;
	struct decision asked;
	(void)index;
	if (!graph)
		return;
	struct msg_conflict_read_ack external = *graph;
	external.policy = other_strategy(r, (struct slice){0}, "external");
	decide_conflict(&external, r->resource, &r->arena, &asked);
	if (asked.kind == DECISION_NOTHING) {
		answer_not_found(t, r, "path", "The document has no open conflict.");
		return;
	}
	if (asked.kind == DECISION_BROKEN) {
		answer_status(t, r, STATUS_INTERNAL, "path");
		return;
	}
	struct buf head = {0};
	print_head(r, graph, &asked, &head);
	op->head = arena_copy(&r->arena, buf_slice(&head));
	buf_close(&head);
	decide_outcomes(r, graph);
	graph_read_end(t->gw, r);
	ask_parts(t, r);
}

static void show_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	conflict_ask_graph(t, r, have_graph);
}

void native_conflict(struct turn *t, struct request *r)
{
	struct show_op *op = arena_alloc(&r->arena, sizeof *op);
	r->op = op;
	conflict_begin(t, r, show_go);
}
