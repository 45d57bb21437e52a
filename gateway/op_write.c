/* Writes of one document: POST, PUT, PATCH, DELETE. */
#include <stdio.h>

#include "common/doc/attachment.h"
#include "common/doc/path.h"
#include "common/doc/update.h"
#include "common/doc/value.h"
#include "gateway/contents.h"
#include "gateway/native.h"
#include "gateway/routes.h"

struct write_state {
	struct msg_doc_write write;
};

bool write_send(struct turn *t, struct request *r, const struct map_collection *c,
		struct msg_doc_write *write, uint32_t index, call_done *done)
{
	struct slice mode;
	/* contents of attachments are held by the lead: a branch could outlive them */
	bool brings = r->intake || (r->contents && r->contents->count > 0);
	/* what gateways go by: of rights, what lies in an outbox is not in force */
	bool strict = (request_parameter(r, "mode", &mode) && slice_is(mode, "consistent")) ||
		      brings || map_collection_hidden(c);
	bool available = c->settings.mode == MODE_AVAILABLE && !strict;
	const struct map_shard *s = map_collection_shard(c, write->id);
	struct call_spec spec = {
	    .reach = available ? REACH_BRANCH : REACH_LEAD,
	    .type = MSG_doc_write,
	    .answer = MSG_doc_write_ack,
	    .message = write,
	    .repeatable = write->operation_digest.len > 0,
	    .write = true,
	    .index = index,
	    .done = done,
	};
	if (!s)
		return false;
	write->shard = s->shard.id;
	spec.shard = s->shard.id;
	return call_open(t, r, &spec);
}

void write_attachment_place(struct problem *p, const char *place, struct slice name)
{
	struct buf pointer = {0};
	buf_printf(&pointer, "%s/" ATTACHMENTS_MEMBER, place);
	if (name.len > 0)
		path_pointer_push(&pointer, name);
	problem_set(p, p->status, buf_cstr(&pointer));
	buf_close(&pointer);
}

void write_problem(uint64_t op, enum status status, const struct msg_doc_write_ack *ack,
		   struct problem *p)
{
	/* Only PUT was asked as a condition. */
	if (op == WRITE_POST && (status == STATUS_PRECONDITION_FAILED || status == STATUS_EXISTS))
		status = STATUS_ID_TAKEN;
	/* What daemons tell each other is no client's business. */
	if (status >= STATUS_NOT_LEAD)
		status = STATUS_NO_LEAD;
	problem_set(p, status, "");
	if (status == STATUS_MISSING_ATTACHMENT || status == STATUS_BAD_ATTACHMENT) {
		write_attachment_place(p, "", ack ? ack->place : slice_of(NULL, 0));
	} else if (ack && ack->place.len > 0) {
		snprintf(p->place, sizeof p->place, "%.*s", (int)ack->place.len,
			 (const char *)ack->place.data);
		snprintf(p->detail, sizeof p->detail, "%.*s", (int)ack->detail.len,
			 ack->detail.len ? (const char *)ack->detail.data : "");
	}
	if (ack && (status == STATUS_CONFLICT || status == STATUS_PRECONDITION_FAILED ||
		    status == STATUS_ID_TAKEN))
		p->current = ack->revision;
}

static void answer_document(struct turn *t, struct request *r, const struct msg_doc_write *write,
			    struct reply *reply)
{
	if (!json_document(write->id, write->body, &reply->body))
		answer_status(t, r, STATUS_INTERNAL, "");
	else
		reply_send(t, r, reply);
}

static void written(struct turn *t, struct request *r, uint32_t index, enum status status,
		    const void *body)
{
	const struct msg_doc_write *write = &((struct write_state *)r->op)->write;
	const struct msg_doc_write_ack *ack = body;
	struct problem problem;
	(void)index;
	if (!ack || !status_is_success(status)) {
		write_problem(write->op, status, ack, &problem);
		answer_problem(t, r, &problem);
		return;
	}
	bool created = status == STATUS_CREATED || write->op == WRITE_POST;
	int http = status == STATUS_ACCEPTED ? 202 : created ? 201 : 200;
	struct reply *reply = reply_begin(t, http);
	reply_etag(r, reply, &ack->revision);
	reply_conflicts(r, reply, ack->conflicts);
	if (created)
		reply_location(r, reply, write->id);
	if (write->op == WRITE_POST) {
		answer_document(t, r, write, reply);
		return;
	}
	buf_append_text(&reply->body, write->op == WRITE_DELETE ? "{}" : "{\"changes\":1}");
	reply_send(t, r, reply);
}

static void write_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct write_state *op = r->op;
	if (!c)
		answer_status(t, r, STATUS_NOT_FOUND, "");
	else if (!write_send(t, r, c, &op->write, 0, written))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* What all have in common once the message's op, id and body are there. A deletion or a patch makes
 * no collection. */
static void write_start(struct turn *t, struct request *r, struct write_state *op,
			const struct native_operation *operation)
{
	struct problem problem;
	if (!native_preconditions(r, &op->write, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	if (op->write.operation_id.len == 0)
		native_operation_fill(t, r, operation, 0, &op->write);
	r->op = op;
	bool creates = op->write.op == WRITE_POST || op->write.op == WRITE_PUT;
	collection_find(t, r, creates, write_go);
}

/* The body's own id may repeat the address, not contradict it. */
static bool write_body(struct turn *t, struct request *r, struct write_state *op, struct problem *p)
{
	struct native_document document;
	struct slice value;
	if (!native_body(t, r, &value, p) || !native_document(t, r, value, "", &document, p))
		return false;
	if (document.id.len > 0 && !slice_equal(document.id, r->resource))
		return problem_detail(p, STATUS_BAD_PARAMETER, "/id",
				      "The id in the body is not the one in the address.");
	op->write.body = document.body;
	return true;
}

/* The type without its parameters. */
static struct slice media_type(const struct request *r)
{
	struct slice type = request_header(r, "content-type");
	size_t len = 0;
	while (len < type.len && type.data[len] != ';' && type.data[len] != ' ')
		len++;
	return slice_of(type.data, len);
}

/* The name is in lower case; types are compared without regard to it. */
static bool type_is(struct slice type, const char *name)
{
	if (type.len != strlen(name))
		return false;
	for (size_t i = 0; i < type.len; i++) {
		uint8_t c = type.data[i];
		if ((c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c) != (uint8_t)name[i])
			return false;
	}
	return true;
}

/* Whatever a client calls its JSON is a merge patch, but for types that mean another one. */
bool write_op_of(const struct request *r, uint64_t *op, struct problem *p)
{
	struct slice type = media_type(r);
	static const char suffix[] = "+json";
	size_t end = sizeof suffix - 1;
	*op = r->method == HTTP_PUT      ? WRITE_PUT
	      : r->method == HTTP_DELETE ? WRITE_DELETE
					 : WRITE_PATCH;
	if (r->method != HTTP_PATCH || type_is(type, "application/merge-patch+json"))
		return true;
	if (type_is(type, "application/vnd.parley.update+json")) {
		*op = WRITE_UPDATE;
		return true;
	}
	bool other = type.len > end && type_is(slice_of(type.data + type.len - end, end), suffix);
	return !other || problem_set(p, STATUS_UNSUPPORTED_TYPE, "Content-Type");
}

bool write_update_body(struct turn *t, struct request *r, struct slice *body, struct problem *p)
{
	struct update_error error;
	uint32_t bytes_max = t->gw->options.limits.document_bytes_max;
	if (!native_body(t, r, body, p))
		return false;
	if (body->len > bytes_max)
		return problem_limit(p, STATUS_BODY_TOO_LARGE, "max_document_bytes", bytes_max,
				     body->len);
	if (!update_compile(*body, &r->arena, &error))
		return problem_detail(p, error.status, error.place, error.text);
	return true;
}

void native_write(struct turn *t, struct request *r)
{
	struct write_state *op = arena_alloc(&r->arena, sizeof *op);
	struct native_operation operation;
	struct problem problem;
	op->write.id = r->resource;
	bool fine =
	    native_operation(t, r, &operation, &problem) && write_op_of(r, &op->write.op, &problem);
	if (fine && op->write.op == WRITE_UPDATE)
		fine = write_update_body(t, r, &op->write.body, &problem);
	else if (fine && op->write.op != WRITE_DELETE)
		fine = write_body(t, r, op, &problem);
	if (fine)
		write_start(t, r, op, &operation);
	else
		answer_problem(t, r, &problem);
}

void write_post_one(struct turn *t, struct request *r, struct slice value)
{
	struct write_state *op = arena_alloc(&r->arena, sizeof *op);
	struct native_operation operation;
	struct native_document document;
	struct problem problem;
	op->write.op = WRITE_POST;
	if (!native_operation(t, r, &operation, &problem) ||
	    !native_document(t, r, value, "", &document, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	op->write.body = document.body;
	native_operation_fill(t, r, &operation, 0, &op->write);
	op->write.id = document.id.len ? document.id : native_new_id(t, r, &op->write);
	write_start(t, r, op, &operation);
}

void native_post(struct turn *t, struct request *r)
{
	struct problem problem;
	struct slice value;
	if (!native_body(t, r, &value, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_ARRAY)
		write_post_one(t, r, value);
	else if (head.count == 1)
		write_post_one(t, r, mp_value(&reader));
	else
		batch_start(t, r, value);
}
