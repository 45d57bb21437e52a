/* _db_updates: databases that were made, changed or dropped, once or for as long as the client
 * listens. A feed's place is the number of the latest change in each database; so what was dropped
 * while nobody listened is told to nobody. Sending is as for _changes. */
#include "gateway/couch/changes.h"
#include "gateway/routes.h"

struct database {
	uint64_t id; /* of the collection */
	uint8_t name[LIMIT_NAME_BYTES];
	uint8_t collection[LIMIT_NAME_BYTES];
	size_t name_len, collection_len;
	struct watcher watcher;
	struct msg_shard_query *queries; /* one for each shard */
	uint32_t queries_cap;
	uint64_t told;         /* by feeds, as of the last look */
	uint64_t changed;      /* the look under way: sum over the shards that have answered */
	uint32_t left;         /* shards that have not */
	bool known;            /* its place says something */
	bool covered;          /* feeds tell of all that comes after its last look */
	bool due;              /* to be looked at */
	struct database *next; /* among those that can be used again: a feed lives long */
};

struct updates {
	struct changes feed; /* first: what sends leads back here; positions are those of `list` */
	struct database **list;
	uint32_t count;
	uint32_t cap;
	struct database *free;
	struct database *looking; /* NULL: at none */
	uint32_t looks;           /* so many were begun: answers to older ones say nothing */
	bool told_nothing;        /* since=now: the first look only fills the place */
};

static void pump(struct turn *t, struct request *r);

/* ---- which there are ---- */

static void make_room(struct request *r, struct updates *op)
{
	struct changes *f = &op->feed;
	if (op->count < op->cap)
		return;
	uint32_t cap = op->cap ? 2 * op->cap : 16;
	struct database **list = arena_alloc(&r->arena, cap * sizeof(struct database *));
	struct position_of *positions = arena_alloc(&r->arena, cap * sizeof *positions);
	struct changes_shard *shards = arena_alloc(&r->arena, cap * sizeof *shards);
	for (uint32_t i = 0; i < op->count; i++) {
		list[i] = op->list[i];
		positions[i] = f->positions[i];
		shards[i] = f->shards[i];
	}
	op->list = list;
	f->positions = positions;
	f->shards = shards;
	op->cap = cap;
}

/* A database's collection has as many shards as when it was made. */
static void name_it(struct turn *t, struct request *r, const struct map_collection *c,
		    struct database *d)
{
	const struct buf *name = &t->gw->scratch;
	CHECK(name->len <= sizeof d->name && c->settings.name.len <= sizeof d->collection);
	d->id = c->settings.id;
	d->name_len = name->len;
	memcpy(d->name, name->data, name->len);
	d->collection_len = c->settings.name.len;
	memcpy(d->collection, c->settings.name.data, c->settings.name.len);
	if (d->queries_cap >= c->shards_count)
		return;
	d->queries = arena_alloc(&r->arena, c->shards_count * sizeof *d->queries);
	d->queries_cap = c->shards_count;
}

static struct database *add(struct turn *t, struct request *r, const struct map_collection *c)
{
	struct updates *op = r->op;
	struct database *d = op->free;
	make_room(r, op);
	if (d)
		op->free = d->next;
	else
		d = arena_alloc(&r->arena, sizeof *d);
	*d = (struct database){.queries = d->queries, .queries_cap = d->queries_cap, .due = true};
	name_it(t, r, c, d);
	op->feed.positions[op->count] = (struct position_of){.shard = d->id};
	op->feed.shards[op->count] = (struct changes_shard){0};
	op->list[op->count++] = d;
	op->feed.shards_count = op->count;
	r->collection = slice_of(d->collection, d->collection_len);
	if (op->feed.feed != FEED_NORMAL)
		watch_begin(t, &d->watcher, r, pump);
	return d;
}

static void drop(struct turn *t, struct updates *op, uint32_t index)
{
	struct database *d = op->list[index];
	uint32_t last = --op->count;
	watch_end(t, &d->watcher);
	if (op->looking == d)
		op->looking = NULL;
	op->list[index] = op->list[last];
	op->feed.positions[index] = op->feed.positions[last];
	op->feed.shards[index] = op->feed.shards[last];
	op->feed.shards_count = op->count;
	d->next = op->free;
	op->free = d;
}

static int index_of(const struct updates *op, uint64_t id)
{
	for (uint32_t i = 0; i < op->count; i++)
		if (op->list[i]->id == id)
			return (int)i;
	return -1;
}

/* Its database name is in gw->scratch then. */
static bool is_database(struct turn *t, const struct map_collection *c)
{
	return cluster_map_collection(&t->gw->map, c->settings.name) == c &&
	       couch_database_name(c->settings.name, &t->gw->scratch);
}

static void tell(struct turn *t, struct request *r, const struct database *d, const char *what)
{
	struct buf row = {0};
	buf_append_text(&row, "\"db_name\":");
	json_string(slice_of(d->name, d->name_len), &row);
	buf_printf(&row, ",\"type\":\"%s\"", what);
	changes_emit(t, r, buf_slice(&row));
	buf_close(&row);
}

/* False: more than a place has room for. */
static bool follow_map(struct turn *t, struct request *r, bool first)
{
	struct updates *op = r->op;
	size_t at = 0;
	for (uint32_t i = 0; i < op->count;) {
		struct database *d = op->list[i];
		if (map_get_u64(&t->gw->map.collections_by_id, d->id)) {
			i++;
			continue;
		}
		drop(t, op, i);
		tell(t, r, d, "deleted");
	}
	for (struct map_entry *e; (e = map_next(&t->gw->map.collections, &at));) {
		const struct map_collection *c = e->value;
		if (!is_database(t, c) || index_of(op, c->settings.id) >= 0)
			continue;
		if (op->count == POSITION_SHARDS_MAX)
			return false;
		struct database *d = add(t, r, c);
		d->known = !first;
		if (!first)
			tell(t, r, d, "created");
	}
	return true;
}

/* ---- what has changed ---- */

static const struct map_collection *collection_of(const struct turn *t, const struct database *d)
{
	return map_get_u64(&t->gw->map.collections_by_id, d->id);
}

static uint64_t told_of(const struct turn *t, const struct database *d)
{
	const struct map_collection *c = collection_of(t, d);
	uint64_t sum = 0;
	for (uint32_t i = 0; c && i < c->shards_count; i++)
		sum += watch_told(t->gw, c->shards[i]->shard.id);
	return sum;
}

static void looked(struct turn *t, struct request *r, struct database *d)
{
	struct updates *op = r->op;
	struct position_of *place = &op->feed.positions[index_of(op, d->id)];
	bool silent = !d->known && op->told_nothing;
	bool news = !d->known || place->number != d->changed;
	const char *what = !d->known && d->changed == 0 ? "created" : "updated";
	op->looking = NULL;
	op->feed.shards[index_of(op, d->id)].asked = false;
	place->number = d->changed;
	d->known = true;
	if (news && !silent)
		tell(t, r, d, what);
	pump(t, r);
}

static void shard_counted(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	struct updates *op = r->op;
	const struct msg_shard_query_ack *ack = body;
	struct database *d = op->looking;
	if (op->feed.ending || !d || index != op->looks)
		return; /* of one that was dropped meanwhile */
	if (!ack || status != STATUS_OK) {
		changes_fail(t, r, status);
		return;
	}
	op->feed.heard_ms = t->now_ms;
	d->changed += ack->changed;
	if (--d->left == 0)
		looked(t, r, d);
}

static void look(struct turn *t, struct request *r, struct database *d)
{
	struct updates *op = r->op;
	const struct map_collection *c = collection_of(t, d);
	op->looking = d;
	op->looks++;
	op->feed.heard_ms = t->now_ms;
	op->feed.shards[index_of(op, d->id)].asked = true;
	d->due = false;
	d->covered = watch_ready(t, &d->watcher);
	d->told = told_of(t, d);
	d->changed = 0;
	d->left = c->shards_count;
	for (uint32_t i = 0; i < c->shards_count && !r->finished; i++) {
		d->queries[i] =
		    (struct msg_shard_query){.shard = c->shards[i]->shard.id, .count = true};
		struct call_spec spec = {.reach = REACH_LEAD,
					 .shard = d->queries[i].shard,
					 .type = MSG_shard_query,
					 .answer = MSG_shard_query_ack,
					 .message = &d->queries[i],
					 .index = op->looks,
					 .repeatable = true,
					 .done = shard_counted};
		if (!call_open(t, r, &spec))
			changes_fail(t, r, STATUS_OVERLOADED);
	}
}

/* The next that is due; NULL: none. Of feeds that have just opened nobody knows what came before.
 */
static struct database *next_due(struct turn *t, const struct updates *op)
{
	for (uint32_t i = 0; i < op->count; i++) {
		struct database *d = op->list[i];
		if (d->due)
			return d;
		if (!op->feed.live || d->left > 0)
			continue;
		if (d->covered ? told_of(t, d) != d->told : watch_ready(t, &d->watcher))
			return d;
	}
	return NULL;
}

static void wait(struct turn *t, struct request *r)
{
	struct changes *f = r->op;
	if (!f->waiting)
		f->told_ms = t->now_ms;
	f->waiting = true;
	if (t->gw->draining)
		changes_finish(t, r);
	else
		changes_flush(t, r, true);
}

static void pump(struct turn *t, struct request *r)
{
	struct updates *op = r->op;
	struct changes *f = &op->feed;
	if (f->ending)
		return;
	if (op->looking || changes_full(f)) {
		changes_flush(t, r, false);
		return;
	}
	bool first = !f->live;
	struct database *d = next_due(t, op);
	if (!d && first) {
		f->live = f->feed != FEED_NORMAL;
		d = next_due(t, op);
	}
	if (f->feed == FEED_NORMAL ? !d : f->live && f->feed == FEED_LONGPOLL && f->rows > 0) {
		changes_finish(t, r);
	} else if (d) {
		f->waiting = false;
		look(t, r, d);
	} else {
		wait(t, r);
	}
}

/* The map has changed. */
static void look_again(struct turn *t, struct request *r)
{
	struct updates *op = r->op;
	if (op->feed.ending)
		return;
	if (follow_map(t, r, false))
		pump(t, r);
	else
		changes_fail(t, r, STATUS_LIMIT_REACHED);
}

/* ---- the request ---- */

static void updates_close(struct request *r)
{
	struct updates *op = r->op;
	struct effects fx = {0};
	struct turn t = {.gw = op->feed.gw, .fx = &fx};
	for (uint32_t i = 0; i < op->count; i++)
		watch_end(&t, &op->list[i]->watcher);
	effects_close(&fx);
	changes_close(r);
}

static void take_places(struct updates *op)
{
	const struct changes *f = &op->feed;
	op->told_nothing = f->since_now;
	for (uint32_t i = 0; i < f->since_count; i++) {
		int index = index_of(op, f->since[i].shard);
		if (index < 0)
			continue;
		f->positions[index].number = f->since[i].number;
		op->list[index]->known = true;
	}
}

static void map_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	struct updates *op = r->op;
	(void)index;
	(void)status;
	(void)body;
	if (t->gw->map.version == 0) {
		answer_status(t, r, STATUS_STARTING, "");
		return;
	}
	op->feed.pump = pump;
	op->feed.held = r->reply != NULL;
	op->feed.heard_ms = op->feed.told_ms = t->now_ms;
	op->feed.beat_ms = t->now_ms + op->feed.heartbeat_ms;
	r->close = updates_close;
	r->gone = changes_gone;
	r->due = changes_due;
	r->taken = changes_taken;
	if (!follow_map(t, r, true)) {
		changes_fail(t, r, STATUS_LIMIT_REACHED);
		return;
	}
	take_places(op);
	request_wait(t, r, look_again);
	pump(t, r);
}

void couch_db_updates(struct turn *t, struct request *r)
{
	struct updates *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem = {0};
	op->feed.gw = t->gw;
	op->feed.seq_interval = 1;
	r->op = op;
	if (!changes_take_place(r, &op->feed, &problem))
		answer_problem(t, r, &problem);
	else if (r->method == HTTP_HEAD)
		reply_send(t, r, reply_begin(t, 200));
	else
		map_refresh(t, r, map_came);
}
