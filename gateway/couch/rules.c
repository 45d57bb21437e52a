#include "gateway/couch/rules.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/script_document.h"
#include "common/doc/value.h"
#include "common/probe.h"
#include "gateway/couch/auth_private.h"
#include "gateway/couch/view.h"

enum {
	RULES_ROWS = 16,
	RULES_DATABASES_MAX = 4096,
	RULES_HELD_BYTES = 4 * RULES_BYTES_MAX, /* of all databases */
	RULES_SPREAD_MS = 60000,
	RULE_DESIGN_BYTES_MAX = 1 << 20
};

static const char design_prefix[] = "_design/";
/* Behind this come the design documents; no id is so, as no UTF-8 has a byte 0xff. */
static const char before_designs[] = "_design.\xff";

/* What is known of a database. */
struct rules_entry {
	bool known;
	int64_t asked_ms;   /* when what is known was asked for */
	int64_t asking_ms;  /* somebody asks since then; 0: nobody */
	int64_t written_ms; /* a design document, here; what was asked for before is old */
	struct buf texts;   /* of MessagePack */
	uint32_t count;
	bool foreign;
};

struct rule {
	struct slice text;
	struct slice design_id; /* if it uses more of its design document; else empty */
	struct slice design;    /* MessagePack */
};

struct rules_asking {
	void *op;
	couch_rules_step *next;
	uint64_t collection;
	bool any; /* whichever replica answers */
	int64_t began_ms;
	int64_t deadline_ms; /* the request's */
	struct msg_shard_query *queries;
	uint32_t left;
	struct rule *rules;
	uint32_t count;
	uint32_t cap;
	size_t bytes;  /* of all */
	size_t copied; /* of those that fitted */
	bool foreign;
	struct msg_doc_read *reads; /* of design documents */
};

void couch_rules_close(struct map *rules)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(rules, &at)) != NULL;) {
		buf_close(&((struct rules_entry *)e->value)->texts);
		free(e->value);
	}
	map_close(rules);
}

static void forget_texts(struct couch_auth *auth, struct rules_entry *e)
{
	auth->rules_bytes -= e->texts.cap;
	buf_close(&e->texts);
	e->count = 0;
	e->known = false;
}

/* Who writes to a database that is forgotten asks for its functions again. */
static void make_room(struct couch_auth *auth, const struct rules_entry *but)
{
	struct map_entry *entry;
	size_t at = 0;
	while (auth->rules_bytes > RULES_HELD_BYTES &&
	       (entry = map_next(&auth->rules, &at)) != NULL) {
		struct rules_entry *e = entry->value;
		if (e != but && e->texts.cap > 0)
			forget_texts(auth, e);
	}
}

bool couch_rules_hold(struct gateway *gw, struct request *r, size_t bytes)
{
	if (bytes > RULES_COPIES_BYTES - gw->auth->copied_bytes)
		return false;
	r->couch.rules_bytes += bytes;
	gw->auth->copied_bytes += bytes;
	return true;
}

void couch_rules_release(struct gateway *gw, struct request *r)
{
	gw->auth->copied_bytes -= r->couch.rules_bytes;
	r->couch.rules_bytes = 0;
}

static struct rules_entry *entry_of(struct gateway *gw, uint64_t collection)
{
	struct map *rules = &gw->auth->rules;
	struct rules_entry *e = map_get_u64(rules, collection);
	size_t at = 0;
	if (e)
		return e;
	if (rules->count >= RULES_DATABASES_MAX) {
		uint64_t oldest = map_key_u64(map_next(rules, &at));
		e = map_remove_u64(rules, oldest);
		forget_texts(gw->auth, e);
		free(e);
	}
	e = mem_alloc_zero(sizeof *e);
	map_put_u64(rules, collection, e);
	return e;
}

static bool is_design(struct slice id)
{
	size_t len = sizeof design_prefix - 1;
	return id.len > len && memcmp(id.data, design_prefix, len) == 0;
}

void couch_rules_written(struct turn *t, struct request *r, struct slice id)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (!c || !is_design(id))
		return;
	struct rules_entry *e = entry_of(t->gw, c->settings.id);
	e->known = false;
	e->asking_ms = 0;
	e->written_ms = t->now_ms;
}

/* ---- asking ---- */

static void go_on(struct turn *t, struct request *r, const struct rules_entry *e,
		  couch_rules_step *next)
{
	struct buf all = {0};
	mp_write_array(&all, e->count);
	buf_append_slice(&all, buf_slice(&e->texts));
	struct couch_rules rules = {e->count, buf_slice(&all), e->foreign};
	next(t, r, &rules);
	buf_close(&all);
}

/* The request is as it was before. */
static couch_rules_step *end_asking(struct turn *t, struct request *r)
{
	struct rules_asking *op = r->op;
	r->op = op->op;
	r->due = NULL;
	timers_set(&t->gw->timers, &r->deadline, op->deadline_ms);
	return op->next;
}

static void all_came(struct turn *t, struct request *r)
{
	const struct rules_asking *op = r->op;
	struct couch_auth *auth = t->gw->auth;
	struct rules_entry *e = entry_of(t->gw, op->collection);
	forget_texts(auth, e);
	for (uint32_t i = 0; i < op->count; i++) {
		mp_write_array(&e->texts, 2);
		mp_write_str(&e->texts, op->rules[i].text);
		if (op->rules[i].design.len > 0)
			buf_append_slice(&e->texts, op->rules[i].design);
		else
			mp_write_nil(&e->texts);
	}
	e->count = op->count;
	e->foreign = op->foreign;
	e->known = op->began_ms > e->written_ms;
	e->asked_ms = op->began_ms;
	e->asking_ms = 0;
	auth->rules_bytes += e->texts.cap;
	make_room(auth, e);
	go_on(t, r, e, end_asking(t, r));
}

static bool mentions(struct slice text, const char *word)
{
	size_t len = strlen(word);
	for (size_t at = 0; at + len <= text.len; at++)
		if (memcmp(text.data + at, word, len) == 0)
			return true;
	return false;
}

static bool fits(struct rules_asking *op, size_t bytes)
{
	op->bytes += bytes;
	if (op->bytes > RULES_BYTES_MAX)
		return false;
	op->copied += bytes;
	return true;
}

static void take_rule(struct request *r, struct rules_asking *op, const struct row *row)
{
	struct mp_reader reader = mp_reader_of(value_member(row->body, slice_text(RULE_MEMBER)));
	struct mp_token text = mp_read(&reader);
	if (text.type != MP_STR)
		return;
	op->foreign = op->foreign || design_is_foreign(row->body);
	if (op->count == op->cap) {
		uint32_t cap = op->cap ? 2 * op->cap : 4;
		struct rule *rules = arena_alloc(&r->arena, cap * sizeof *rules);
		if (op->count > 0)
			memcpy(rules, op->rules, op->count * sizeof *rules);
		op->rules = rules;
		op->cap = cap;
	}
	struct rule *rule = &op->rules[op->count++];
	/* one that is too long, also with those before it, is none: it refuses all */
	if (text.bytes.len <= LIMIT_POLICY_BYTES && fits(op, text.bytes.len))
		rule->text = arena_copy(&r->arena, text.bytes);
	if (mentions(rule->text, "require") || mentions(rule->text, "this"))
		rule->design_id = arena_copy(&r->arena, row->id);
}

/* False, and answered: it is no answer. */
static bool came(struct turn *t, struct request *r, enum status status, bool there)
{
	if (there && (status_is_success(status) || status == STATUS_NOT_FOUND))
		return true;
	(void)end_asking(t, r);
	answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
	return false;
}

/* False, and answered: there is no room for what has come. */
static bool hold(struct turn *t, struct request *r, size_t bytes)
{
	if (couch_rules_hold(t->gw, r, bytes))
		return true;
	(void)end_asking(t, r);
	answer_status(t, r, STATUS_OVERLOADED, "");
	return false;
}

static void ask_one(struct turn *t, struct request *r, const struct call_spec *from)
{
	struct rules_asking *op = r->op;
	struct call_spec spec = *from;
	spec.reach = op->any ? REACH_ANY : REACH_LEAD;
	spec.repeatable = true;
	if (call_open(t, r, &spec))
		return;
	(void)end_asking(t, r);
	answer_status(t, r, STATUS_OVERLOADED, "");
}

static void design_came(struct turn *t, struct request *r, uint32_t index, enum status status,
			const void *body)
{
	struct rules_asking *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	struct buf *out = &t->gw->scratch;
	if (!came(t, r, status, ack != NULL))
		return;
	struct script_document d = {
	    .id = op->rules[index].design_id, .revision = ack->revision, .body = ack->body};
	buf_clear(out);
	script_document_write(&d, out);
	bool whole = status_is_success(status) && out->len <= RULE_DESIGN_BYTES_MAX;
	bool fitting = whole && fits(op, out->len);
	if (fitting && !hold(t, r, out->len))
		return;
	if (fitting)
		op->rules[index].design = arena_copy(&r->arena, buf_slice(out));
	else if (whole)
		op->rules[index].text = slice_of(NULL, 0);
	if (--op->left == 0)
		all_came(t, r);
}

static void read_designs(struct turn *t, struct request *r)
{
	struct rules_asking *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	op->left = op->count + 1;
	op->reads = arena_alloc(&r->arena, (op->count + 1) * sizeof *op->reads);
	for (uint32_t i = 0; i < op->count && !r->finished; i++) {
		struct msg_doc_read *m = &op->reads[i];
		if (op->rules[i].design_id.len == 0 || !c) {
			op->left--;
			continue;
		}
		*m = (struct msg_doc_read){.id = op->rules[i].design_id, .any = op->any};
		m->shard = map_collection_shard(c, m->id)->shard.id;
		struct call_spec spec = {.shard = m->shard,
					 .type = MSG_doc_read,
					 .answer = MSG_doc_read_ack,
					 .message = m,
					 .index = i,
					 .done = design_came};
		ask_one(t, r, &spec);
	}
	if (!r->finished && --op->left == 0)
		all_came(t, r);
}

static void ask(struct turn *t, struct request *r, uint32_t index);

static void rows_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct rules_asking *op = r->op;
	const struct msg_shard_query_ack *ack = body;
	uint32_t count = ack ? ack->rows_count : 0;
	size_t before = op->copied;
	if (!came(t, r, status, ack != NULL))
		return;
	for (uint32_t i = 0; i < count && is_design(ack->rows[i].id); i++)
		take_rule(r, op, &ack->rows[i]);
	if (!hold(t, r, op->copied - before))
		return;
	if (ack->more_after.len > 0 && (count == 0 || is_design(ack->rows[count - 1].id))) {
		op->queries[index].after = arena_copy(&r->arena, ack->more_after);
		ask(t, r, index);
	} else if (--op->left == 0) {
		read_designs(t, r);
	}
}

static void ask(struct turn *t, struct request *r, uint32_t index)
{
	struct rules_asking *op = r->op;
	struct call_spec spec = {.shard = op->queries[index].shard,
				 .type = MSG_shard_query,
				 .answer = MSG_shard_query_ack,
				 .message = &op->queries[index],
				 .index = index,
				 .done = rows_came};
	ask_one(t, r, &spec);
}

static void ask_all(struct turn *t, struct request *r, const struct map_collection *c)
{
	static struct slice fields[] = {{(const uint8_t *)"language", 8},
					{(const uint8_t *)RULE_MEMBER, sizeof RULE_MEMBER - 1}};
	struct rules_asking *op = r->op;
	op->left = c->shards_count;
	op->count = 0;
	op->bytes = 0;
	op->foreign = false;
	op->queries = arena_alloc(&r->arena, (c->shards_count + 1) * sizeof *op->queries);
	for (uint32_t i = 0; i < c->shards_count; i++)
		op->queries[i] = (struct msg_shard_query){.shard = c->shards[i]->shard.id,
							  .fields = fields,
							  .fields_count = ARRAY_LEN(fields),
							  .limit = RULES_ROWS,
							  .after = slice_text(before_designs),
							  .any = op->any};
	for (uint32_t i = 0; i < c->shards_count && !r->finished; i++)
		ask(t, r, i);
}

/* Some lead has not answered: what was known counts on. */
static void is_late(struct turn *t, struct request *r)
{
	struct rules_asking *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	struct rules_entry *e = entry_of(t->gw, op->collection);
	e->asking_ms = 0;
	if (!e->known && e->written_ms > 0 && t->now_ms - e->written_ms < RULES_SPREAD_MS) {
		/* what was written here counts at once: a replica may not have it yet */
		r->due = NULL;
		timers_set(&t->gw->timers, &r->deadline, op->deadline_ms);
		return;
	}
	call_forget_all(t->gw, r);
	if (e->known) {
		REACHED(rules_known_stay);
		go_on(t, r, e, end_asking(t, r));
		return;
	}
	REACHED(rules_of_any);
	r->due = NULL;
	timers_set(&t->gw->timers, &r->deadline, op->deadline_ms);
	op->any = true;
	if (c && c->settings.id == op->collection)
		ask_all(t, r, c);
	else
		couch_answer_error(t, r, COUCH_DB_MISSING);
}

void couch_rules_want(struct turn *t, struct request *r, const struct map_collection *c,
		      couch_rules_step *next)
{
	struct rules_entry *e = entry_of(t->gw, c->settings.id);
	bool fresh = t->now_ms - e->asked_ms < RULES_FRESH_MS;
	bool asked = e->asking_ms > 0 && t->now_ms - e->asking_ms < RULES_ASK_MS;
	if (e->known && (fresh || asked)) {
		go_on(t, r, e, next);
		return;
	}
	struct rules_asking *op = arena_alloc(&r->arena, sizeof *op);
	*op = (struct rules_asking){.op = r->op,
				    .next = next,
				    .collection = c->settings.id,
				    .began_ms = t->now_ms,
				    .deadline_ms = r->deadline.at_ms};
	e->asking_ms = t->now_ms;
	r->op = op;
	r->due = is_late;
	if (t->now_ms + RULES_ASK_MS < op->deadline_ms)
		timers_set(&t->gw->timers, &r->deadline, t->now_ms + RULES_ASK_MS);
	ask_all(t, r, c);
}
