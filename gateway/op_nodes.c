/* Emptying a storage node of its replicas, for good or to be replaced, and calling that off. The
 * coordinator does it; system.nodes shows how far it is. */
#include <inttypes.h>

#include "common/doc/value.h"
#include "gateway/native.h"
#include "gateway/routes.h"

static bool take_drain(struct slice value, bool *out, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_BOOL)
		return problem_detail(p, STATUS_WRONG_TYPE, "/drain", "true or false.");
	*out = token.flag;
	return true;
}

static bool take_replace_by(struct slice value, struct slice *out, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_STR)
		return problem_detail(p, STATUS_WRONG_TYPE, "/replaceBy", "The name of a node.");
	if (token.bytes.len == 0 || token.bytes.len > LIMIT_NAME_BYTES)
		return problem_detail(p, STATUS_BAD_PARAMETER, "/replaceBy",
				      "The name of a storage node.");
	*out = token.bytes;
	return true;
}

static bool take_update(struct slice value, struct msg_node_update *m, struct problem *p)
{
	bool given = false;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_MAP)
		return problem_detail(p, STATUS_WRONG_TYPE, "", "What to change is an object.");
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		struct slice member = mp_value(&reader);
		bool drain = slice_is(name.bytes, "drain");
		if (!drain && !slice_is(name.bytes, "replaceBy"))
			return problem_detail(p, STATUS_BAD_PARAMETER, "",
					      "Only drain and replaceBy can be given.");
		if (drain ? !take_drain(member, &m->drain, p)
			  : !take_replace_by(member, &m->replaced_by, p))
			return false;
		given |= drain;
	}
	return given || problem_detail(p, STATUS_BAD_PARAMETER, "/drain", "It must be given.");
}

static void update_done(struct turn *t, struct request *r, uint32_t index, enum status status,
			const void *body)
{
	const struct msg_node_update *m = r->op;
	(void)index;
	if (!body || !status_is_success(status)) {
		bool by = status == STATUS_BAD_PARAMETER;
		answer_status(t, r, status,
			      status == STATUS_NOT_FOUND ? "path" : (by ? "/replaceBy" : ""));
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"id\":");
	json_string(m->name, &reply->body);
	buf_printf(&reply->body, ",\"draining\":%s,\"toMove\":%" PRIu64 "}",
		   m->drain ? "true" : "false",
		   ((const struct msg_node_update_ack *)body)->replicas);
	reply_send(t, r, reply);
}

void native_node_update(struct turn *t, struct request *r)
{
	struct msg_node_update *m = arena_alloc(&r->arena, sizeof *m);
	struct problem problem;
	struct slice value;
	struct call_spec spec = {
	    .reach = REACH_COORDINATOR,
	    .type = MSG_node_update,
	    .answer = MSG_node_update_ack,
	    .message = m,
	    .repeatable = true,
	    .done = update_done,
	};
	r->op = m;
	m->name = r->resource;
	if (!native_body(t, r, &value, &problem) || !take_update(value, m, &problem))
		answer_problem(t, r, &problem);
	else if (m->name.len == 0 || m->name.len > LIMIT_NAME_BYTES)
		answer_status(t, r, STATUS_NOT_FOUND, "path");
	else if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}
