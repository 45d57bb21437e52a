/* _security: kept among the _local documents, under the collection's id. */
#include "common/doc/value.h"
#include "gateway/couch/auth_private.h"
#include "gateway/routes.h"

enum { SECURITY_BYTES_MAX = 65536, NAMES_MAX = 1000 };

static const char nobody[] = "{\"members\":{\"roles\":[\"_admin\"]},"
			     "\"admins\":{\"roles\":[\"_admin\"]}}";

struct security {
	struct slice id;
	struct msg_doc_write write;
};

/* ---- reading ---- */

static void have_security(struct turn *t, struct request *r, const struct couch_known *known)
{
	struct reply *reply = reply_begin(t, 200);
	if (!known->there)
		buf_append_text(&reply->body, nobody);
	if (!known->there || json_from_msgpack(known->body, &reply->body))
		reply_send(t, r, reply);
	else
		answer_status(t, r, STATUS_INTERNAL, "");
}

static void read_go(struct turn *t, struct request *r, struct map_collection *c)
{
	couch_known_want(t, r, slice_text(COLLECTION_LOCAL), couch_security_id(r, c),
			 have_security);
}

void couch_security(struct turn *t, struct request *r)
{
	couch_find(t, r, read_go);
}

/* ---- writing ---- */

static void written(struct turn *t, struct request *r, uint32_t index, enum status status,
		    const void *body)
{
	const struct security *op = r->op;
	struct problem problem;
	(void)index;
	couch_known_forget(t->gw, slice_text(COLLECTION_LOCAL), op->id);
	if (!body || !status_is_success(status)) {
		write_problem(WRITE_PUT, status, body, &problem);
		answer_problem(t, r, &problem);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"ok\":true}");
	reply_send(t, r, reply);
}

static void local_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct security *op = r->op;
	if (!c || !write_send(t, r, c, &op->write, 0, written))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static void write_go(struct turn *t, struct request *r, struct map_collection *c)
{
	static const struct native_operation none;
	struct security *op = r->op;
	op->id = op->write.id = couch_security_id(r, c);
	native_operation_fill(t, r, &none, 0, &op->write);
	r->collection = slice_text(COLLECTION_LOCAL);
	collection_find(t, r, true, local_go);
}

static bool check_list(struct request *r, struct slice who, const char *name, struct problem *p)
{
	struct text_list list;
	struct slice value = value_member(who, slice_text(name));
	return native_text_list(r, value, NAMES_MAX, COUCH_NAME_BYTES, &list) ||
	       couch_problem(p, COUCH_BAD_REQUEST, "names and roles must be lists of strings");
}

static bool check_group(struct request *r, struct slice value, const char *group, struct problem *p)
{
	struct slice who = value_member(value, slice_text(group));
	struct mp_reader reader = mp_reader_of(who);
	if (who.len > 0 && mp_peek(&reader) != MP_MAP)
		return couch_problem(p, COUCH_BAD_REQUEST, "admins and members must be objects");
	return check_list(r, who, "names", p) && check_list(r, who, "roles", p);
}

static bool take_body(struct turn *t, struct request *r, struct slice *value, struct problem *p)
{
	if (!native_body(t, r, value, p))
		return false;
	struct mp_reader reader = mp_reader_of(*value);
	if (mp_peek(&reader) != MP_MAP)
		return couch_problem(p, COUCH_BAD_REQUEST, "Request body must be a JSON object");
	if (value->len > SECURITY_BYTES_MAX)
		return problem_limit(p, STATUS_BODY_TOO_LARGE, "_security", SECURITY_BYTES_MAX,
				     value->len);
	return check_group(r, *value, "admins", p) && check_group(r, *value, "members", p);
}

void couch_security_set(struct turn *t, struct request *r)
{
	struct security *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	op->write.op = WRITE_PUT;
	r->op = op;
	if (take_body(t, r, &op->write.body, &problem))
		couch_find(t, r, write_go);
	else
		answer_problem(t, r, &problem);
}
