/* Clients that make documents, delete them, and later bring an edit of what they had read before;
 * one that syncs and says how far it has come; and a person who looks at conflicts in the end.
 *
 * Checked:
 * - a purge is ordered only when every listed replica had the deletion, and the client that syncs
 *   has seen it
 * - no document that was purged is there again, whoever wrote late
 * - what a replica cut from its stream is not ordered again if it was settled
 * - in the end no tombstone is left */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "common/doc/shard_hash.h"
#include "common/quorum.h"
#include "gateway/notify/events.h"
#include "storage-node/keys.h"
#include "tests/sim/records.h"
#include "tests/sim/workload.h"

enum {
	WRITERS = 3,
	CLIENT = WRITERS, /* that syncs */
	PERSON,
	ACTORS,
	DOCUMENTS_MAX = 40, /* of a writer */
	TIMEOUT_US = 9000000,
	RETRY_US = 250000,
	PERSON_US = 700000,
	ETAG_BYTES = 128
};

enum purge_step { PURGE_MAKE, PURGE_CHANGE, PURGE_DELETE, PURGE_LATE, PURGE_STEPS };

struct purge_actor {
	enum purge_step step;
	int document;
	char base[ETAG_BYTES]; /* what it read first */
	char etag[ETAG_BYTES];
};

struct purge_state {
	struct purge_actor actors[ACTORS];
	bool ready;
	bool registered;   /* the client's checkpoint is there, as far as it knows */
	int64_t unsure_us; /* till then a gateway that stood still may find an old DELETE */
	bool unregistered; /* for good; it goes on asking */
	bool clear;        /* the person found nothing in conflict */
	uint64_t collection;
	bool consistent;
	struct map asked;  /* shard -> uint64_t*: the greatest number that the client asked for */
	struct map purges; /* shard and number of purges that were looked at */
	struct map epochs; /* shard and number -> uint64_t*: of the entry there, as far as known */
	struct map pushed; /* shard, id and revision -> struct position*: that it was before */
	struct map again;  /* the same, of those that were ordered */
	uint32_t purged, late;
};

static struct purge_state *state_of(struct workload *w)
{
	return w->state;
}

/* ---- writers ---- */

static void ask_collection(struct workload *w)
{
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "/_/collections");
	buf_printf(
	    &r->body,
	    "{\"name\":\"purge\",\"mode\":\"%s\",\"shards\":2,\"retainMs\":0,"
	    "\"retainDeletedMs\":0,\"keepAncestors\":3,\"policy\":{\"strategy\":\"newest\"}}",
	    state_of(w)->consistent ? "consistent" : "available");
	workload_ask(w, 0, r, TIMEOUT_US);
}

/* An edit of what it read first, as a replicator brings it. */
static void ask_push(struct workload *w, int actor)
{
	struct purge_actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_POST, "/purge/_bulk_docs");
	struct revision base;
	CHECK(revision_parse(slice_text(a->base), &base));
	r->dialect = DIALECT_COUCH;
	buf_printf(&r->body,
		   "{\"new_edits\":false,\"docs\":[{\"_id\":\"p%d-%d\",\"step\":%d,"
		   "\"_revisions\":{\"start\":%d,\"ids\":[\"late\",\"%.*s\"]}}]}",
		   actor, a->document, (int)a->step, (int)base.generation + 1, (int)base.hash.len,
		   (const char *)base.hash.data);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void ask_write(struct workload *w, int actor)
{
	struct purge_actor *a = &state_of(w)->actors[actor];
	bool drop = a->step == PURGE_DELETE;
	struct sim_http *r = workload_request(w, actor, drop ? HTTP_DELETE : HTTP_PUT, "");
	buf_printf(&r->path, "/purge/p%d-%d", actor, a->document);
	if (!drop)
		buf_printf(&r->body, "{\"step\":%d}", (int)a->step);
	if (a->step == PURGE_LATE)
		buf_append_text(&r->query, "branch=true");
	if (a->step != PURGE_MAKE)
		workload_header(r, "if-match", a->step == PURGE_LATE ? a->base : a->etag);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void next_document(struct workload *w, int actor)
{
	struct purge_actor *a = &state_of(w)->actors[actor];
	a->document++;
	a->step = PURGE_MAKE;
	w->actors[actor].done = a->document >= DOCUMENTS_MAX;
}

static void step_writer(struct workload *w, int actor)
{
	struct purge_state *s = state_of(w);
	struct purge_actor *a = &s->actors[actor];
	if (workload_give_up(w, actor) && s->ready)
		next_document(w, actor);
	if (!workload_is_opened(w, actor, s->ready, ask_collection, RETRY_US))
		return;
	if (w->actors[actor].done || (w->sim->healed && a->step == PURGE_MAKE))
		w->actors[actor].done = true;
	else if (a->step == PURGE_LATE && a->document % 2 == 0 && a->base[0])
		ask_push(w, actor);
	else
		ask_write(w, actor);
}

/* Valid until the step ends. */
static const char *text_of(struct workload *w, const struct sim_answer *answer)
{
	char *text = arena_alloc(&w->sim->arena, answer->body.len + 1);
	if (answer->body.len > 0)
		memcpy(text, answer->body.data, answer->body.len);
	text[answer->body.len] = 0;
	return text;
}

static void wrote(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct purge_state *s = state_of(w);
	struct purge_actor *a = &s->actors[actor];
	bool good = answer->status >= 200 && answer->status < 300;
	int64_t pause_ms = rng_between(&w->rng, 1, 1 + w->sim->settings.think_max_ms);
	if (!s->ready) {
		s->collection = good ? workload_collection_id(buf_slice(&answer->body)) : 0;
		s->ready = s->collection != 0;
		pause_ms = RETRY_US / 1000;
	} else if (a->step == PURGE_LATE || !good) {
		s->late += good;
		next_document(w, actor);
	} else {
		if (answer->etag[0])
			snprintf(a->etag, sizeof a->etag, "%s", answer->etag);
		if (a->step == PURGE_MAKE)
			snprintf(a->base, sizeof a->base, "%s", answer->etag);
		bool skip = a->step == PURGE_MAKE && rng_below(&w->rng, 2) == 0;
		a->step += skip ? 2 : 1;
		if (a->step == PURGE_LATE && rng_below(&w->rng, 3) == 0)
			next_document(w, actor);
		else if (a->step == PURGE_LATE)
			pause_ms = rng_between(&w->rng, 1, 5000);
	}
	workload_sleep(w, actor, pause_ms * 1000);
}

/* ---- the client that syncs ---- */

static void keep_number(struct map *map, uint64_t shard, uint64_t number)
{
	uint64_t *kept = map_get_u64(map, shard);
	if (!kept) {
		kept = mem_alloc_zero(sizeof *kept);
		map_put_u64(map, shard, kept);
	}
	*kept = number;
}

/* What is applied somewhere it may have seen. */
static uint32_t positions(struct workload *w, struct position_of *list, uint32_t max)
{
	struct purge_state *s = state_of(w);
	const struct shard_list *all = all_shards(w->sim);
	uint32_t count = 0;
	for (int i = 0; i < all->count && count < max; i++) {
		const struct shard *shard = &all->shards[i];
		struct shard_position p;
		if (shard->collection != s->collection || shard->replicas_count == 0)
			continue;
		uint64_t least = UINT64_MAX;
		for (uint32_t k = 0; k < shard->replicas_count; k++) {
			bool known = position_of(w->sim, shard->replicas[k].node, shard->id, &p);
			uint64_t number = known && !p.copying ? p.applied : 0;
			least = number < least ? number : least;
		}
		list[count++] = (struct position_of){shard->id, least};
	}
	arena_reset(&w->sim->arena);
	return count;
}

static void ask_checkpoint(struct workload *w)
{
	struct purge_state *s = state_of(w);
	struct position_of list[16];
	bool drop = w->sim->healed || rng_below(&w->rng, 12) == 0;
	struct sim_http *r = workload_request(w, CLIENT, drop ? HTTP_DELETE : HTTP_PUT,
					      "/_/checkpoints/purge/phone");
	s->actors[CLIENT].step = drop ? PURGE_DELETE : PURGE_MAKE;
	if (drop) {
		s->registered = false;
	} else {
		uint32_t count = positions(w, list, ARRAY_LEN(list));
		struct buf position = {0};
		position_print(list, count, &position);
		buf_printf(&r->body, "{\"position\":\"%s\"}", buf_cstr(&position));
		buf_close(&position);
		for (uint32_t i = 0; i < count; i++) {
			uint64_t *asked = map_get_u64(&s->asked, list[i].shard);
			if (!asked || *asked < list[i].number)
				keep_number(&s->asked, list[i].shard, list[i].number);
		}
	}
	workload_ask(w, CLIENT, r, TIMEOUT_US);
}

static void step_client(struct workload *w)
{
	struct purge_state *s = state_of(w);
	s->unregistered |= w->sim->healed && !s->ready;
	if (workload_give_up(w, CLIENT) && s->actors[CLIENT].step == PURGE_DELETE)
		s->unsure_us = w->sim->now_us + w->sim->settings.pause_max_ms * 1000 + TIMEOUT_US;
	if (s->ready && s->collection != 0)
		ask_checkpoint(w);
	else
		workload_sleep(w, CLIENT, RETRY_US);
}

static void registered(struct workload *w, const struct sim_answer *answer)
{
	struct purge_state *s = state_of(w);
	struct purge_actor *a = &s->actors[CLIENT];
	bool gone = answer->status == 200 || answer->status == 404;
	if (w->sim->healed) /* a doubled message may yet register it: it goes on asking */
		s->unregistered |= gone && a->step == PURGE_DELETE;
	else if (answer->status == 200)
		s->registered = a->step == PURGE_MAKE && w->sim->now_us >= s->unsure_us;
	workload_sleep(w, CLIENT, rng_between(&w->rng, 100, 3000) * 1000);
}

/* ---- the person ---- */

static void step_person(struct workload *w)
{
	struct purge_state *s = state_of(w);
	workload_give_up(w, PERSON);
	if (!w->sim->healed || !s->ready) {
		s->clear = w->sim->healed;
		workload_sleep(w, PERSON, PERSON_US);
		return;
	}
	struct sim_http *r = workload_request(w, PERSON, HTTP_GET, "/_/conflicts");
	buf_append_text(&r->query, "collection=purge&state=open&limit=1");
	s->actors[PERSON].step = PURGE_MAKE;
	workload_ask(w, PERSON, r, TIMEOUT_US);
}

/* "name": and what follows, up to the end given; empty: not there. */
static struct slice cut_out(const char *text, const char *name, char end)
{
	const char *from = strstr(text, name);
	const char *to = from ? strchr(from + strlen(name), end) : NULL;
	from = from ? from + strlen(name) : NULL;
	return to ? slice_of(from, (size_t)(to - from)) : slice_of(NULL, 0);
}

/* What came late is deleted once more. */
static void looked(struct workload *w, const struct sim_answer *answer)
{
	struct purge_state *s = state_of(w);
	struct purge_actor *a = &s->actors[PERSON];
	const char *text = text_of(w, answer);
	struct slice id = cut_out(text, "\"id\":\"", '"');
	struct slice leaves = cut_out(text, "\"leaves\":[", ']');
	bool listed = a->step == PURGE_MAKE && answer->status == 200;
	if (listed && id.len > 0) {
		struct sim_http *r = workload_request(w, PERSON, HTTP_POST, "");
		buf_printf(&r->path, "/_/conflicts/purge/%.*s/resolve", (int)id.len,
			   (const char *)id.data);
		buf_printf(&r->body, "{\"leaves\":[%.*s],\"delete\":true}", (int)leaves.len,
			   (const char *)leaves.data);
		a->step = PURGE_DELETE;
		workload_ask(w, PERSON, r, TIMEOUT_US);
	} else {
		s->clear = listed;
		workload_sleep(w, PERSON, PERSON_US);
	}
}

/* ---- steps ---- */

static void purge_step(struct workload *w, int actor)
{
	if (actor == PERSON)
		step_person(w);
	else if (actor == CLIENT)
		step_client(w);
	else
		step_writer(w, actor);
}

static void purge_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	if (!workload_answered(w, actor, answer))
		return;
	if (actor == PERSON)
		looked(w, answer);
	else if (actor == CLIENT)
		registered(w, answer);
	else
		wrote(w, actor, answer);
}

static void purge_start(struct workload *w)
{
	state_of(w)->consistent = rng_below(&w->rng, 3) == 0;
}

/* ---- what is ordered ---- */

/* As with cleanups: those that are copied to since, or have lost their disk, can't be asked. */
static void check_replicas(struct workload *w, const struct shard *shard,
			   const struct change *change)
{
	struct sim *sim = w->sim;
	for (uint32_t i = 0; i < shard->replicas_count && quorum_places(shard) > 1; i++) {
		const struct sim_node *node = sim_node_of(sim, shard->replicas[i].node);
		struct shard_position p;
		if (node->incarnation != shard->replicas[i].incarnation ||
		    node->incarnation == node->aged || shard->replicas[i].learning ||
		    !position_of(sim, node->member, shard->id, &p) || p.copying)
			continue;
		if (p.applied < change->seen_number)
			sim_violation(sim, "purge: %.*s ordered before %s had its deletion",
				      (int)change->id.len, (const char *)change->id.data,
				      node->name);
	}
}

static void check_seen(struct workload *w, uint64_t shard, const struct change *change)
{
	struct purge_state *s = state_of(w);
	const uint64_t *asked = map_get_u64(&s->asked, shard);
	if (s->registered && asked && *asked < change->seen_number)
		sim_violation(w->sim, "purge: %.*s ordered, deleted at %llu; the client is at %llu",
			      (int)change->id.len, (const char *)change->id.data,
			      (unsigned long long)change->seen_number, (unsigned long long)*asked);
}

static bool is_ours(struct workload *w, uint64_t shard)
{
	const struct shard_list *list = all_shards(w->sim);
	for (int i = 0; i < list->count; i++)
		if (list->shards[i].id == shard)
			return list->shards[i].collection == state_of(w)->collection;
	return false;
}

static struct slice place_key(struct workload *w, uint64_t shard, uint64_t number)
{
	uint8_t *key = arena_alloc(&w->sim->arena, 16);
	memcpy(key, &shard, sizeof shard);
	memcpy(key + 8, &number, sizeof number);
	return slice_of(key, 16);
}

static struct slice branch_key(struct workload *w, uint64_t shard, const struct change *change)
{
	struct buf key = {0};
	buf_append_be64(&key, shard);
	buf_append_slice(&key, change->id);
	buf_append_byte(&key, 0);
	revision_print(&change->revision, &key);
	struct slice copy = arena_copy(&w->sim->arena, buf_slice(&key));
	buf_close(&key);
	return copy;
}

/* Of a number given out again, the entry of the newest lead counts in the end. */
static void note_entry(struct workload *w, uint64_t shard, uint64_t number, uint64_t epoch,
		       const struct change *change)
{
	struct purge_state *s = state_of(w);
	struct slice place = place_key(w, shard, number);
	uint64_t *known = map_get(&s->epochs, place);
	if (!known)
		map_put(&s->epochs, place, known = mem_alloc_zero(sizeof *known));
	*known = epoch > *known ? epoch : *known;
	if (change->kind != CHANGE_BRANCH)
		return;
	struct slice key = branch_key(w, shard, change);
	struct position *before = map_get(&s->pushed, key);
	if (before && before->number < number) {
		struct position *copy = mem_alloc(sizeof *copy);
		*copy = *before;
		free(map_put(&s->again, key, copy));
	}
}

static void note_push(struct workload *w, const struct msg_outbox_push *m)
{
	struct purge_state *s = state_of(w);
	struct change change;
	if (m->entry.number == 0 || !is_ours(w, m->shard) ||
	    !schema_decode(&schema_change, m->change, &w->sim->arena, &change))
		return;
	struct position *copy = mem_alloc(sizeof *copy);
	*copy = m->entry;
	free(map_put(&s->pushed, branch_key(w, m->shard, &change), copy));
}

static void check_again(struct workload *w)
{
	struct purge_state *s = state_of(w);
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&s->again, &at));) {
		const struct position *before = e->value;
		const uint64_t *epoch = map_get(
		    &s->epochs, place_key(w, be64_read((const uint8_t *)e->key), before->number));
		if (epoch && *epoch == before->epoch)
			sim_violation(w->sim,
				      "purge: %s was settled as entry %llu, and ordered again",
				      (const char *)e->key + 8, (unsigned long long)before->number);
	}
}

static void look_at(struct workload *w, uint64_t shard, uint64_t number,
		    const struct stream_entry *entry)
{
	struct purge_state *s = state_of(w);
	struct change change;
	uint8_t key[24];
	if (!schema_decode(&schema_change, entry->change, &w->sim->arena, &change))
		return;
	note_entry(w, shard, number, entry->epoch, &change);
	if (change.kind != CHANGE_PURGE)
		return;
	snprintf((char *)key, sizeof key, "%016llx", (unsigned long long)shard);
	memcpy(key + 16, &number, sizeof number);
	if (map_put(&s->purges, slice_of(key, sizeof key), s))
		return;
	s->purged++;
	check_seen(w, shard, &change);
	const struct shard_list *list = all_shards(w->sim);
	for (int i = 0; i < list->count; i++)
		if (list->shards[i].id == shard)
			check_replicas(w, &list->shards[i], &change);
}

/* What one lead has ordered and sent to nobody, the next one may have by asking. */
static void note_fetched(struct workload *w, const struct msg_stream_fetch_ack *m)
{
	struct change change;
	for (uint32_t i = 0; i < m->entries_count && is_ours(w, m->shard); i++)
		if (schema_decode(&schema_change, m->entries[i].change, &w->sim->arena, &change))
			note_entry(w, m->shard, m->previous.number + 1 + i, m->entries[i].epoch,
				   &change);
}

static void purge_on_send(struct workload *w, int from, const struct effect *effect)
{
	struct arena *arena = &w->sim->arena;
	struct msg_stream_append m;
	struct msg_stream_fetch_ack fetched;
	struct msg_outbox_push push;
	uint16_t type = effect->send.envelope.type;
	(void)from;
	if (type == MSG_outbox_push &&
	    schema_decode(&schema_msg_outbox_push, effect->send.body, arena, &push))
		note_push(w, &push);
	if (type == MSG_stream_fetch_ack &&
	    schema_decode(&schema_msg_stream_fetch_ack, effect->send.body, arena, &fetched))
		note_fetched(w, &fetched);
	if (type == MSG_stream_append &&
	    schema_decode(&schema_msg_stream_append, effect->send.body, arena, &m) &&
	    is_ours(w, m.shard))
		for (uint32_t i = 0; i < m.entries_count; i++)
			look_at(w, m.shard, m.previous.number + 1 + i, &m.entries[i]);
	arena_reset(arena);
}

/* ---- the end ---- */

/* A copy whose records are looked at. */
struct search {
	struct workload *w;
	const struct sim_node *node;
	uint64_t shard;
};

static void look_at_record(void *context, struct slice key, struct slice value)
{
	struct search *find = context;
	struct sim *sim = find->w->sim;
	struct document doc;
	struct purged mark;
	struct slice id;
	struct slice rest;
	struct buf purged = {0};
	if (!key_split(key, &id, &rest) || rest.len > 0 || id.len == 0 || id.data[0] != 'p' ||
	    !schema_decode(&schema_document, value, &sim->arena, &doc))
		return;
	int winner = graph_winner(&doc);
	bool marked = disk_record(sim, find->node->disk, STORE_CONFLICTS,
				  key_purged(&purged, find->shard, id), &schema_purged, &mark);
	if (marked && graph_is_live(&doc, (uint32_t)winner))
		sim_violation(sim, "purge: %.*s is there again", (int)id.len,
			      (const char *)id.data);
	buf_close(&purged);
}

static void look_at_copy(void *context, const struct shard *shard, struct sim_node *node)
{
	struct search find = {context, node, shard->id};
	each_document(node, shard->id, look_at_record, &find);
}

static uint64_t tombstones(struct workload *w)
{
	struct purge_state *s = state_of(w);
	const struct shard_list *list = all_shards(w->sim);
	uint64_t deleted = 0;
	for (int i = 0; i < list->count; i++) {
		struct shard_position p;
		if (list->shards[i].collection == s->collection &&
		    position_of(w->sim, list->shards[i].replicas[0].node, list->shards[i].id, &p))
			deleted += p.deleted;
	}
	arena_reset(&w->sim->arena);
	return deleted;
}

static bool purge_done(struct workload *w, struct buf *why)
{
	struct purge_state *s = state_of(w);
	if (!workload_are_done(w, 0, WRITERS - 1, why))
		return false;
	if (!s->unregistered) {
		buf_append_text(why, "purge: the client is registered");
		return false;
	}
	if (!s->clear) {
		buf_append_text(why, "purge: documents are in conflict");
		return false;
	}
	uint64_t left = s->ready ? tombstones(w) : 0;
	if (left > 0)
		buf_printf(why, "purge: %llu tombstones are left", (unsigned long long)left);
	return left == 0;
}

static void purge_check(struct workload *w)
{
	struct purge_state *s = state_of(w);
	if (s->ready)
		each_copy(w->sim, s->collection, look_at_copy, w);
	check_again(w);
	sim_log(w->sim, "purge: %u purged, %u written late", s->purged, s->late);
}

static void purge_free(struct workload *w)
{
	struct purge_state *s = state_of(w);
	map_close_owned(&s->asked);
	map_close(&s->purges);
	map_close_owned(&s->epochs);
	map_close_owned(&s->pushed);
	map_close_owned(&s->again);
}

const struct workload_ops purge_workload = {
    .name = "purge",
    .actors = ACTORS,
    .state_bytes = sizeof(struct purge_state),
    .one_in = 4,
    .drawn = 1,
    .start = purge_start,
    .start_ms = 400,
    .step = purge_step,
    .on_answer = purge_on_answer,
    .on_send = purge_on_send,
    .done = purge_done,
    .check = purge_check,
    .free = purge_free,
};
