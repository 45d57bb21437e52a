#include "storage-node/view.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/collation_key.h"
#include "common/doc/json.h"
#include "common/doc/view_script.h"
#include "common/probe.h"
#include "proto/msgpack.h"

/* ---- which there are ---- */

static void free_view(struct view *v)
{
	for (uint32_t i = 0; i < v->waiters_count; i++)
		buf_close(&v->waiters[i].query);
	buf_close(&v->map);
	buf_close(&v->library);
	buf_close(&v->problem);
	buf_close(&v->ids);
	free(v);
}

static void unlink_view(struct storage *s, const struct view *v)
{
	struct view **at = &s->views;
	while (*at != v)
		at = &(*at)->next;
	*at = v->next;
}

void view_free_all(struct storage *s)
{
	if (s->json)
		json_parser_free(s->json);
	s->json = NULL;
	while (s->views) {
		struct view *v = s->views;
		s->views = v->next;
		free_view(v);
	}
}

void view_reset(struct storage *s, const struct shard_copy *c)
{
	struct buf end = {0};
	for (struct view *v = s->views, *next; v; v = next) {
		next = v->next;
		if (v->shard != c->id)
			continue;
		unlink_view(s, v);
		free_view(v);
	}
	store_remove_range(s->store, STORE_INDEXES, key_shard(&s->key, 'w', c->id),
			   key_shard_end(&end, 'w', c->id));
	store_remove_range(s->store, STORE_META, key_shard(&s->key, 'w', c->id),
			   key_shard_end(&end, 'w', c->id));
	buf_close(&end);
}

static struct view *find(const struct storage *s, uint64_t shard, struct slice signature,
			 uint32_t *count)
{
	struct view *found = NULL;
	*count = 0;
	for (struct view *v = s->views; v; v = v->next) {
		if (v->shard != shard)
			continue;
		(*count)++;
		if (slice_equal(slice_of(v->signature, sizeof v->signature), signature))
			found = v;
	}
	return found;
}

static struct view *add(struct storage *s, uint64_t shard, struct slice signature)
{
	struct view *v = mem_alloc_zero(sizeof *v);
	v->shard = shard;
	v->most = VIEW_BATCH_DOCUMENTS;
	memcpy(v->signature, signature.data, sizeof v->signature);
	v->next = s->views;
	s->views = v;
	return v;
}

/* Those on the disk, when one of the shard is first asked for. */
static void load_shard(struct storage *s, uint64_t shard)
{
	struct store_iterator *it = store_iterate(s->store, STORE_META);
	struct buf key = {0};
	struct slice first = key_shard(&key, 'w', shard);
	for (store_seek(s->store, it, first); store_valid(s->store, it); store_next(s->store, it)) {
		struct slice at = store_key(s->store, it);
		if (at.len != first.len + 16 || memcmp(at.data, first.data, first.len) != 0)
			break;
		add(s, shard, slice_of(at.data + first.len, 16));
	}
	store_iterator_free(s->store, it);
	buf_close(&key);
	for (struct view *v = s->views; v; v = v->next)
		if (v->shard == shard)
			view_load(s, v);
}

static bool any_loaded(const struct storage *s, uint64_t shard)
{
	for (const struct view *v = s->views; v; v = v->next)
		if (v->shard == shard)
			return true;
	return false;
}

/* What a worker makes of documents at the moment is made anew if this one is among them; of others
 * it stands, or no view would ever be built where documents go all the time. */
static void forget(struct storage *s, const struct shard_copy *c, struct slice id, uint64_t changed)
{
	if (!any_loaded(s, c->id))
		load_shard(s, c->id);
	for (struct view *v = s->views; v; v = v->next) {
		if (v->shard != c->id || v->number >= changed)
			continue;
		view_remove_rows(s, v, id);
		view_save(s, v);
		if (v->script == 0 || !view_shows(v, id))
			continue;
		v->script = 0;
		v->due_ms = s->now_ms;
		s->views_due = true;
	}
}

void view_forget(struct storage *s, const struct shard_copy *c, struct slice id)
{
	forget(s, c, id, UINT64_MAX);
}

void view_forget_deleted(struct storage *s, const struct shard_copy *c, struct slice id,
			 uint64_t deleted)
{
	forget(s, c, id, deleted);
}

/* The one that nobody has asked for longest. False: all have work. */
static bool drop_one(struct storage *s, uint64_t shard)
{
	struct view *oldest = NULL;
	for (struct view *v = s->views; v; v = v->next)
		if (v->shard == shard && v->waiters_count == 0 && v->script == 0 &&
		    (!oldest || v->used_ms < oldest->used_ms))
			oldest = v;
	if (!oldest)
		return false;
	view_remove(s, oldest);
	unlink_view(s, oldest);
	free_view(oldest);
	return true;
}

static struct view *view_of(struct storage *s, uint64_t shard, struct slice signature)
{
	uint32_t count;
	struct view *v = find(s, shard, signature, &count);
	if (!v && count == 0) {
		load_shard(s, shard);
		v = find(s, shard, signature, &count);
	}
	if (!v && (count < BOUND(views, VIEWS_MAX) || drop_one(s, shard)))
		v = add(s, shard, signature);
	return v;
}

/* ---- answers ---- */

static void send(const struct peer *peer, struct envelope envelope,
		 const struct msg_view_query_ack *ack, struct effects *fx)
{
	envelope.type = MSG_view_query_ack;
	fx_send(fx, WHEN_NOW, peer->member, peer->route, &envelope, ack);
}

static void answer(struct storage *s, struct view *v, const struct view_waiter *w,
		   enum status status, struct effects *fx)
{
	struct msg_view_query m;
	struct msg_view_query_ack ack = {.status = status, .text = buf_slice(&v->problem)};
	struct arena_mark mark = arena_mark(&s->arena);
	if (status == STATUS_OK) {
		CHECK(schema_decode(&schema_msg_view_query, buf_slice(&w->query), &s->arena, &m));
		view_answer(s, v, &m, &ack);
	}
	send(&w->peer, w->envelope, &ack, fx);
	arena_rewind(&s->arena, mark);
}

/* Answers those for whom the view has come far enough, or all. */
static void answer_waiters(struct storage *s, struct view *v, enum status status,
			   struct effects *fx)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < v->waiters_count; i++) {
		struct view_waiter *w = &v->waiters[i];
		if (status == STATUS_OK && w->number > v->stored) {
			v->waiters[kept++] = *w;
			continue;
		}
		answer(s, v, w, status, fx);
		buf_close(&w->query);
	}
	v->waiters_count = kept;
}

/* ---- building ---- */

static void ask_worker(struct storage *s, const struct shard_copy *c, struct view *v,
		       struct slice arguments, struct effects *fx)
{
	struct script_request request = {
	    .id = ++s->view_scripts,
	    .group = c->placement.collection,
	    .time_ms = VIEW_SCRIPT_MS,
	    .memory_bytes = VIEW_SCRIPT_BYTES,
	    .source = slice_text(view_map_source),
	    .arguments = arguments,
	};
	v->script = request.id;
	v->due_ms = s->now_ms + VIEW_PATIENCE_MS;
	fx_script(fx, &request);
}

/* Documents that the function does not see need no worker. */
static void go_on(struct storage *s, struct shard_copy *c, struct view *v, struct effects *fx)
{
	struct buf arguments = {0};
	struct arena_mark mark = arena_mark(&s->arena);
	bool read = view_collect(s, c, v, &arguments);
	if (read && v->last > v->number && v->documents > 0)
		ask_worker(s, c, v, buf_slice(&arguments), fx);
	else if (read && v->last > v->number)
		s->views_due |= view_replace(s, v, slice_of(NULL, 0), fx);
	buf_close(&arguments);
	arena_rewind(&s->arena, mark);
}

static void run(struct storage *s, struct view *v, struct effects *fx)
{
	struct shard_copy *c = shard_get(s, v->shard);
	if (v->waiters_count > 0 && v->problem.len > 0)
		answer_waiters(s, v, STATUS_BAD_FUNCTION, fx);
	if (!c || c->state != SHARD_SERVING || c->position.copying) {
		answer_waiters(s, v, STATUS_NO_LEAD, fx);
		v->target = 0;
		return;
	}
	answer_waiters(s, v, STATUS_OK, fx);
	if (v->script != 0 && s->now_ms >= v->due_ms)
		v->script = 0; /* its answer was lost */
	bool wanted = v->number < v->target && v->problem.len == 0;
	if (wanted && v->script == 0 && s->now_ms >= v->due_ms)
		go_on(s, c, v, fx);
}

void view_run(struct storage *s, struct effects *fx)
{
	if (s->disk_full)
		return;
	s->views_due = false;
	for (struct view *v = s->views; v; v = v->next)
		if (v->waiters_count > 0 || v->number < v->target)
			run(s, v, fx);
}

void view_stored(struct storage *s)
{
	if (store_dirty(s->store))
		return;
	for (struct view *v = s->views; v; v = v->next) {
		s->views_due |= v->waiters_count > 0 || v->number < v->target;
		v->stored = v->number;
	}
}

/* Some document of the batch is too much for the function: fewer are tried, in the end one. */
static void batch_failed(struct storage *s, struct view *v, enum script_status status,
			 struct effects *fx)
{
	if (status == SCRIPT_BUSY || status == SCRIPT_UNAVAILABLE) {
		v->due_ms = s->now_ms + VIEW_RETRY_MS;
		return;
	}
	if (v->documents > 1) {
		REACHED(view_batch_cut);
		v->most = v->documents > VIEW_BATCH_STEP ? v->documents / VIEW_BATCH_STEP : 1;
		return;
	}
	v->most = 1;
	s->view_skipped++;
	fx_log(fx, LOG_LEVEL_WARN, "view_document_skipped shard=%016llx number=%llu reason=%s",
	       (unsigned long long)v->shard, (unsigned long long)v->last,
	       script_status_name(status));
	s->views_due |= view_replace(s, v, slice_of(NULL, 0), fx);
}

static void set_problem(struct view *v, struct slice text)
{
	size_t len = text.len < LIMIT_TEXT_BYTES ? text.len : LIMIT_TEXT_BYTES;
	buf_append(&v->problem, text.data, len);
	if (v->problem.len == 0)
		buf_append_text(&v->problem, "no function");
}

/* What a worker says is JSON text: a list of rows for each document, or a text about a function
 * that is none. */
static bool take_output(struct storage *s, struct view *v, struct slice output, struct effects *fx)
{
	struct mp_reader r = mp_reader_of(output);
	struct mp_token t = mp_read(&r);
	struct json_error error;
	struct buf made = {0};
	if (!s->json)
		s->json = json_parser_new();
	bool taken = t.type == MP_STR && json_to_msgpack(s->json, t.bytes, &made, &error);
	r = mp_reader_of(buf_slice(&made));
	if (taken && mp_peek(&r) == MP_STR)
		set_problem(v, mp_read(&r).bytes);
	else if (taken)
		taken = view_replace(s, v, buf_slice(&made), fx);
	buf_close(&made);
	return taken;
}

void view_on_script(struct storage *s, const struct event *e, struct effects *fx)
{
	enum script_status status = e->script.status;
	struct view *v = s->views;
	while (v && v->script != e->script.id)
		v = v->next;
	if (!v)
		return;
	v->script = 0;
	v->due_ms = s->now_ms;
	s->views_due = true;
	if (status == SCRIPT_OK && !take_output(s, v, e->script.output, fx))
		status = SCRIPT_BAD_RESULT;
	if (status != SCRIPT_OK)
		batch_failed(s, v, status, fx);
	else
		v->most = v->most < VIEW_BATCH_DOCUMENTS / VIEW_BATCH_STEP
			      ? v->most * VIEW_BATCH_STEP + 1
			      : VIEW_BATCH_DOCUMENTS;
}

/* ---- queries ---- */

static struct view_waiter *waiter_for(struct view *v, const struct event *e)
{
	for (uint32_t i = 0; i < v->waiters_count; i++)
		if (v->waiters[i].peer.member == e->message.from.member &&
		    v->waiters[i].envelope.request_id == e->message.envelope.request_id)
			return &v->waiters[i];
	if (v->waiters_count >= BOUND(view_waiters, VIEW_WAITERS_MAX))
		return NULL;
	struct view_waiter *w = &v->waiters[v->waiters_count++];
	*w = (struct view_waiter){0};
	return w;
}

static void refuse(const struct event *e, enum status status, struct slice text, struct effects *fx)
{
	struct msg_view_query_ack ack = {.status = status, .text = text};
	fx_reply(fx, WHEN_NOW, e, MSG_view_query_ack, &ack);
}

static void wait_for(struct storage *s, struct view *v, const struct event *e, uint64_t number,
		     struct effects *fx)
{
	struct view_waiter *w = waiter_for(v, e);
	if (!w) {
		refuse(e, STATUS_VIEWS_BUSY, slice_of(NULL, 0), fx);
		return;
	}
	w->peer = e->message.from;
	w->envelope = e->message.envelope;
	w->number = number;
	buf_clear(&w->query);
	schema_encode(&schema_msg_view_query, e->message.body, &w->query);
	s->views_due = true;
}

void view_on_query(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_view_query *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	enum status status = read_allowed(s, c, e, false, fx);
	bool sound = m->signature.len == 16 && m->map.len > 0;
	if (status == STATUS_OK && !sound)
		status = STATUS_BAD_MESSAGE;
	if (status == STATUS_OK && m->form != collation_form())
		status = STATUS_VIEWS_DIFFER;
	struct view *v = status == STATUS_OK ? view_of(s, m->shard, m->signature) : NULL;
	if (!v) {
		refuse(e, status == STATUS_OK ? STATUS_VIEWS_BUSY : status, slice_of(NULL, 0), fx);
		return;
	}
	if (v->map.len == 0) {
		buf_append_slice(&v->map, m->map);
		buf_append_slice(&v->library, m->library);
		v->options = m->options;
	}
	v->used_ms = s->now_ms;
	if (m->update != VIEW_UPDATE_NEVER && v->target < c->position.applied)
		v->target = c->position.applied;
	wait_for(s, v, e, m->update == VIEW_UPDATE_FIRST ? c->position.applied : 0, fx);
}
