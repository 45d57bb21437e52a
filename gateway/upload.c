/* One content that is sent on as it comes in. All chunks but the last are full: so a full one waits
 * until there is another byte, or the end. */
#include "gateway/intake.h"

static void chunk_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body);
static void send_rest(struct turn *t, struct request *r);

static void drop_helpers(struct content_upload *u)
{
	if (u->md5)
		md5_free(u->md5);
	if (u->digest)
		md5_free(u->digest);
	inflater_free(u->inflater);
	u->md5 = u->digest = NULL;
	u->inflater = NULL;
}

void upload_close(struct content_upload *u)
{
	buf_close(&u->filling);
	buf_close(&u->flying);
	drop_helpers(u);
}

void upload_begin(struct turn *t, struct request *r, struct content *content, uint64_t most,
		  upload_moved *moved)
{
	struct content_upload *u = &r->intake->upload;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	const struct map_shard *s = c ? map_collection_shard(c, content->document) : NULL;
	drop_helpers(u);
	struct buf filling = u->filling;
	struct buf flying = u->flying;
	*u = (struct content_upload){.content = content,
				     .most = most,
				     .filling = filling,
				     .flying = flying,
				     .md5 = md5_new(),
				     .moved = moved};
	buf_clear(&u->filling);
	content->shard = s ? s->shard.id : 0;
	content->at = 0;
}

void upload_decode(struct content_upload *u)
{
	u->inflater = inflater_new();
	u->digest = md5_new();
}

/* ---- chunks ---- */

/* False: there are too many calls, which is told. */
static bool send_chunk(struct turn *t, struct request *r, bool last)
{
	struct content_upload *u = &r->intake->upload;
	struct content *c = u->content;
	struct buf empty = u->flying;
	u->flying = u->filling;
	u->filling = empty;
	buf_clear(&u->filling);
	u->flies = true;
	u->last = last;
	if (last)
		md5_end(u->md5, c->md5);
	content_fill_chunk(c, buf_slice(&u->flying), last);
	timers_set(&t->gw->timers, &r->deadline, t->now_ms + t->gw->options.limits.deadline_ms);
	if (content_send_chunk(t, r, c, 0, chunk_done))
		return true;
	u->moved(t, r, STATUS_OVERLOADED);
	return false;
}

/* CREATED: that chunk was there already. */
static void chunk_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct content_upload *u = &r->intake->upload;
	(void)index;
	if (!body || (status != STATUS_OK && status != STATUS_CREATED)) {
		u->moved(t, r, status_is_success(status) ? STATUS_INTERNAL : status);
		return;
	}
	u->content->at++;
	u->flies = false;
	u->done = u->last;
	u->content->length = u->length;
	timers_set(&t->gw->timers, &r->deadline,
		   t->now_ms + (r->intake->pieces ? INTAKE_WAIT_MS
						  : (int64_t)t->gw->options.limits.deadline_ms));
	if (u->ended && !u->done)
		send_rest(t, r);
	else
		u->moved(t, r, STATUS_OK);
}

/* ---- bytes ---- */

static size_t take_plain(struct turn *t, struct request *r, struct slice bytes)
{
	struct content_upload *u = &r->intake->upload;
	size_t taken = 0;
	if (bytes.len > u->most - u->length) {
		u->moved(t, r, STATUS_BODY_TOO_LARGE);
		return 0;
	}
	while (taken < bytes.len) {
		if (u->filling.len == LIMIT_CHUNK_BYTES && (u->flies || !send_chunk(t, r, false)))
			break;
		size_t room = LIMIT_CHUNK_BYTES - u->filling.len;
		size_t part = bytes.len - taken < room ? bytes.len - taken : room;
		struct slice piece = slice_of(bytes.data + taken, part);
		buf_append_slice(&u->filling, piece);
		md5_add(u->md5, piece);
		taken += part;
	}
	u->length += taken;
	return taken;
}

static bool decode(struct turn *t, struct request *r, struct slice *in)
{
	struct content_upload *u = &r->intake->upload;
	if (inflater_step(u->inflater, in))
		return true;
	u->moved(t, r, STATUS_BAD_MESSAGE);
	return false;
}

/* Takes what was decoded. False: there is no room for all of it yet, or it has failed. */
static bool drain(struct turn *t, struct request *r)
{
	struct inflater *z = r->intake->upload.inflater;
	struct slice nothing = slice_text("");
	while (z->at < z->len || z->more) {
		if (z->at == z->len) {
			if (!decode(t, r, &nothing))
				return false;
			continue;
		}
		size_t taken = take_plain(t, r, slice_of(z->plain + z->at, z->len - z->at));
		if (r->finished || taken == 0)
			return false;
		z->at += taken;
	}
	return true;
}

size_t upload_take(struct turn *t, struct request *r, struct slice bytes)
{
	struct content_upload *u = &r->intake->upload;
	struct slice rest = bytes;
	if (!u->inflater) {
		size_t taken = take_plain(t, r, bytes);
		u->coded += taken;
		return taken;
	}
	while (rest.len > 0 && drain(t, r))
		if (!decode(t, r, &rest))
			break;
	if (r->finished)
		return 0;
	size_t taken = bytes.len - rest.len;
	md5_add(u->digest, slice_of(bytes.data, taken));
	u->coded += taken;
	return taken;
}

/* All has come: what is decoded still, then the last chunk. */
static void send_rest(struct turn *t, struct request *r)
{
	struct content_upload *u = &r->intake->upload;
	if (u->flies)
		return;
	if (u->inflater && !drain(t, r))
		return;
	if (u->inflater && !u->inflater->ended) {
		u->moved(t, r, STATUS_BAD_MESSAGE);
		return;
	}
	if (!u->flies)
		(void)send_chunk(t, r, true);
}

void upload_finish(struct turn *t, struct request *r)
{
	struct content_upload *u = &r->intake->upload;
	u->ended = true;
	if (u->digest)
		md5_end(u->digest, u->md5_coded);
	send_rest(t, r);
}

void upload_forget(struct turn *t, const struct content *content)
{
	const struct map_shard *s = cluster_map_shard(&t->gw->map, content->shard);
	if (!content->streamed || content->shard == 0 || !s || s->shard.lead == 0)
		return;
	struct envelope envelope = {.type = MSG_attachment_forget, .epoch = s->shard.epoch};
	struct msg_attachment_forget forget = {
	    .shard = content->shard, .upload = slice_of(content->upload, sizeof content->upload)};
	fx_send(t->fx, WHEN_NOW, s->shard.lead, 0, &envelope, &forget);
}
