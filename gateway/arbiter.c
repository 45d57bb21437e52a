#include "gateway/arbiter.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/url.h"
#include "proto/msgpack.h"

enum { LEASE_HEAD_BYTES = 8 + ARBITER_LEASE_BYTES, TICK_MS = 100 };

void arbiters_init(struct gateway *gw)
{
	struct arbiters *a = mem_alloc_zero(sizeof *a);
	gw->arbiters = a;
	a->waiting_end = &a->waiting;
	a->next_request = 3ull << 62;
}

void arbiters_tick(struct turn *t)
{
	struct arbiters *a = t->gw->arbiters;
	if (t->now_ms < a->tick_ms)
		return;
	a->tick_ms = t->now_ms + TICK_MS;
	take_tick(t);
	arbiter_streams_tick(t);
}

int64_t arbiters_deadline(const struct gateway *gw)
{
	const struct arbiters *a = gw->arbiters;
	return a->waiting_count > 0 || a->streams.count > 0 ? a->tick_ms : NO_DEADLINE;
}

void arbiters_metrics(const struct gateway *gw, struct buf *out)
{
	static const char *const names[ARBITER_ANSWERS] = {
	    [ARBITER_PICK] = "pick",      [ARBITER_DOCUMENT] = "document",
	    [ARBITER_DELETE] = "delete",  [ARBITER_SPLIT] = "split",
	    [ARBITER_DEFER] = "defer",    [ARBITER_RELEASE] = "release",
	    [ARBITER_REFUSED] = "refused"};
	const struct arbiters *a = gw->arbiters;
	buf_printf(out,
		   "# TYPE parley_arbiter_clients_waiting gauge\n"
		   "parley_arbiter_clients_waiting %" PRIu32 "\n"
		   "# TYPE parley_arbiter_streams gauge\n"
		   "parley_arbiter_streams %zu\n"
		   "# TYPE parley_arbiter_sockets gauge\n"
		   "parley_arbiter_sockets %" PRIu32 "\n"
		   "# TYPE parley_arbiter_taken_total counter\n"
		   "parley_arbiter_taken_total %" PRIu64 "\n"
		   "# TYPE parley_arbiter_renewed_total counter\n"
		   "parley_arbiter_renewed_total %" PRIu64 "\n"
		   "# TYPE parley_arbiter_answers_total counter\n",
		   a->waiting_count, a->streams.count, a->sockets, a->taken, a->renewed);
	for (size_t i = 0; i < ARBITER_ANSWERS; i++)
		buf_printf(out, "parley_arbiter_answers_total{kind=\"%s\"} %" PRIu64 "\n", names[i],
			   a->answers[i]);
}

bool arbiter_allowed(const struct request *r, struct problem *p)
{
	return (r->http->roles & HTTP_ROLE_ARBITER) || problem_set(p, STATUS_ROLE_NEEDED, "");
}

/* ---- leases ---- */

bool arbiter_take_ms(struct slice value, const char *place, uint64_t *ms, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (value.len == 0)
		return true;
	if (token.type != MP_UINT || token.u64 < ARBITER_LEASE_MIN_MS ||
	    token.u64 > ARBITER_LEASE_MAX_MS)
		return problem_detail(p, STATUS_BAD_PARAMETER, place,
				      "Milliseconds, from 100 to 3600000 (an hour).");
	*ms = token.u64;
	return true;
}

void arbiter_lease_print(const struct arbiter_lease *lease, struct buf *out)
{
	struct buf bytes = {0};
	buf_append_be64(&bytes, lease->shard);
	buf_append(&bytes, lease->token, ARBITER_LEASE_BYTES);
	buf_append_slice(&bytes, lease->id);
	base64url_encode(buf_slice(&bytes), out);
	buf_close(&bytes);
}

bool arbiter_lease_parse(struct request *r, struct slice text, struct arbiter_lease *out)
{
	struct buf bytes = {0};
	bool fine = text.len <= 2 * (LEASE_HEAD_BYTES + LIMIT_ID_BYTES) &&
		    base64url_decode(text, &bytes) && bytes.len > LEASE_HEAD_BYTES;
	if (fine) {
		out->shard = be64_read(bytes.data);
		memcpy(out->token, bytes.data + 8, ARBITER_LEASE_BYTES);
		out->id = arena_copy(&r->arena, slice_of(bytes.data + LEASE_HEAD_BYTES,
							 bytes.len - LEASE_HEAD_BYTES));
		fine = document_id_valid(out->id);
	}
	buf_close(&bytes);
	return fine;
}

void arbiter_give_back(struct turn *t, const struct arbiter_lease *lease, uint64_t op, uint64_t ms)
{
	const struct map_shard *s = cluster_map_shard(&t->gw->map, lease->shard);
	struct msg_conflict_lease m = {.shard = lease->shard,
				       .id = lease->id,
				       .lease = slice_of(lease->token, ARBITER_LEASE_BYTES),
				       .op = op,
				       .ms = ms};
	if (!s || s->shard.lead == 0)
		return;
	struct envelope envelope = {.type = MSG_conflict_lease, .epoch = s->shard.epoch};
	fx_send(t->fx, WHEN_NOW, s->shard.lead, 0, &envelope, &m);
}
