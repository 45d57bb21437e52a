/* _replicate: a job for who asks; it lives no longer than this gateway. */
#include <inttypes.h>

#include "common/doc/value.h"
#include "gateway/couch/auth.h"
#include "gateway/replicate/internal.h"
#include "gateway/routes.h"

void replicate_answer(struct turn *t, struct request *r, const struct job *job)
{
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"ok\":true");
	if (job->rows == 0)
		buf_append_text(&reply->body, ",\"no_changes\":true");
	buf_printf(&reply->body, ",\"session_id\":\"%s\",\"source_last_seq\":", job->session);
	if (!json_from_msgpack(buf_slice(&job->recorded), &reply->body))
		buf_append_text(&reply->body, "0");
	buf_append_text(&reply->body, ",\"replication_id_version\":4,\"history\":");
	log_history(job, &reply->body);
	buf_append_byte(&reply->body, '}');
	reply_send(t, r, reply);
}

static void answer_id(struct turn *t, struct request *r, const struct replication *what, int http)
{
	struct reply *reply = reply_begin(t, http);
	buf_append_text(&reply->body, "{\"ok\":true,\"_local_id\":\"");
	replicator_key(what, &reply->body);
	buf_append_text(&reply->body, "\"}");
	reply_send(t, r, reply);
}

/* Whose rights the job has; NULL: all. */
static const struct couch_user *asks_as(const struct request *r)
{
	return r->couch.user && !r->couch.user->admin ? r->couch.user : NULL;
}

static bool is_own(const struct request *r, const struct job *job)
{
	const struct couch_user *user = asks_as(r);
	return !user || (job->what.user && slice_equal(job->what.user->name, user->name));
}

static void cancel(struct turn *t, struct request *r, struct job *job)
{
	/* what a document asks for ends with it */
	if (!job || job->plan || !is_own(r, job)) {
		couch_answer_error(t, r, COUCH_NO_JOB);
		return;
	}
	struct buf key = {0};
	replicator_key(&job->what, &key);
	job_end(t, job, 500, "cancelled", "The replication was cancelled.");
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"ok\":true,\"_local_id\":\"");
	buf_append_slice(&reply->body, buf_slice(&key));
	buf_append_text(&reply->body, "\"}");
	buf_close(&key);
	reply_send(t, r, reply);
}

/* By the id that the beginning was answered with; empty: none is given. */
static struct slice given_id(struct slice body)
{
	static const char *const names[] = {"replication_id", "_local_id", "id"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct mp_reader reader = mp_reader_of(value_member(body, slice_text(names[i])));
		struct mp_token token = mp_read(&reader);
		if (token.type == MP_STR)
			return token.bytes;
	}
	return slice_of(NULL, 0);
}

/* Clients that have lost patience wait no more. */
static void forget_gone(const struct gateway *gw, struct job *job)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < job->waiters_count; i++)
		if (map_get_u64(&gw->requests, job->waiters[i]))
			job->waiters[kept++] = job->waiters[i];
	job->waiters_count = kept;
}

/* It may take long: the client's patience counts, no deadline. What was written before it asked is
 * replicated when it is answered, even if the job had seen the source's end by then. */
static void wait_for(struct turn *t, struct request *r, struct job *job)
{
	forget_gone(t->gw, job);
	if (job->waiters_count == REPLICATE_WAITERS) {
		answer_status(t, r, STATUS_TOO_MANY_REQUESTS, "");
		return;
	}
	timers_clear(&t->gw->timers, &r->deadline);
	job->waiters[job->waiters_count++] = r->id;
	job->again = true;
}

/* Has the user as many as he may? */
static bool has_many(const struct gateway *gw, const struct couch_user *user)
{
	size_t at = 0;
	uint32_t count = 0;
	for (struct map_entry *e; user && (e = map_next(&gw->replicator->jobs, &at)) != NULL;) {
		const struct job *job = e->value;
		count +=
		    !job->plan && job->what.user && slice_equal(job->what.user->name, user->name);
	}
	return count >= REPLICATE_OF_USER;
}

static void begin(struct turn *t, struct request *r, struct replication *what, struct arena *arena)
{
	struct problem problem;
	struct job *job = replicator_find(t->gw, what);
	bool known = job != NULL;
	if (!job && has_many(t->gw, asks_as(r))) {
		problem_limit(&problem, STATUS_TOO_MANY_REQUESTS, "_replicate", REPLICATE_OF_USER,
			      REPLICATE_OF_USER + 1);
		answer_problem(t, r, &problem);
		return;
	}
	if (!job)
		job = replicator_add(t, what, arena,
				     r->couch.user ? r->couch.user->name : r->http->principal);
	if (!job) {
		uint32_t max = t->gw->options.limits.replications_max;
		problem_limit(&problem, STATUS_TOO_MANY_REQUESTS, "max_replications", max, max + 1);
		answer_problem(t, r, &problem);
		return;
	}
	if (what->continuous)
		answer_id(t, r, what, 202);
	else
		wait_for(t, r, job);
	if (!known)
		job_start(t, job);
}

void couch_replicate(struct turn *t, struct request *r)
{
	struct problem problem = {0};
	struct replication what;
	struct arena arena = {0};
	struct slice body;
	if (!native_body(t, r, &body, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	const struct asker asker = {.user = asks_as(r),
				    .host = request_header(r, "host"),
				    .authorization = request_header(r, "authorization")};
	struct mp_reader reader = mp_reader_of(value_member(body, slice_text("cancel")));
	struct mp_token token = mp_read(&reader);
	bool cancels = token.type == MP_BOOL && token.flag;
	struct slice id = given_id(body);
	if (cancels && id.len > 0)
		cancel(t, r, map_get(&t->gw->replicator->jobs, id));
	else if (!replication_parse_for(t->gw, body, &asker, &arena, &what, &problem))
		answer_problem(t, r, &problem);
	else if (cancels)
		cancel(t, r, replicator_find(t->gw, &what));
	else
		begin(t, r, &what, &arena);
	arena_close(&arena);
}
