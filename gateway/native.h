/* The native dialect: HTTP to operations and back. */
#ifndef PARLEY_GATEWAY_NATIVE_H
#define PARLEY_GATEWAY_NATIVE_H

#include "common/doc/query.h"
#include "gateway/call.h"
#include "gateway/http_answer.h"

/* ---- native.c: what requests carry ---- */

/* The JSON body as one MessagePack value in the request's arena. */
bool native_body(struct turn *t, struct request *r, struct slice *value,
		 struct problem *p) MUST_CHECK;
/* The same of another text. */
bool native_json(struct turn *t, struct request *r, struct slice text, struct slice *value,
		 struct problem *p) MUST_CHECK;
/* A parameter that is JSON text; *value is empty if it is absent, empty or null. */
bool native_json_parameter(struct turn *t, struct request *r, const char *name, struct slice *value,
			   struct problem *p) MUST_CHECK;
/* An array of strings of MessagePack; a bad one is refused with `status` and `place`. */
struct text_list {
	struct slice *texts;
	uint32_t count;
};
bool native_text_list(struct request *r, struct slice value, uint32_t max, uint32_t bytes_max,
		      struct text_list *out) MUST_CHECK;

/* Is it an object with no members but these (names, ended by NULL)? A misspelt one would otherwise
 * change what is done without a word. */
bool native_members(struct slice body, const char *const *names, struct problem *p) MUST_CHECK;
/* The same of the parameters. */
bool native_parameters(const struct request *r, const char *const *names,
		       struct problem *p) MUST_CHECK;
/* Likewise of an object within the body; place: its pointer. */
bool native_members_at(const char *place, struct slice body, const char *const *names,
		       struct problem *p) MUST_CHECK;

/* The body without this member, which the answer gives a meaning of its own; maybe the same. */
struct slice native_without(struct turn *t, struct request *r, struct slice body, const char *name);

/* A document as it came: its own id (empty if none) and the body without it, at most
 * max_document_bytes. place: JSON pointer of the document in the request's body. */
struct native_document {
	struct slice id;
	struct slice body;
};
bool native_document(struct turn *t, struct request *r, struct slice value, const char *place,
		     struct native_document *out, struct problem *p) MUST_CHECK;

/* Whoever sends If-Match, If-None-Match or Idempotency-Key without a value wants to be guarded: the
 * write is not done as if he had sent none. */
bool native_guards(const struct request *r, struct problem *p) MUST_CHECK;
/* If-Match, If-None-Match and ?branch of a write. */
bool native_preconditions(struct request *r, struct msg_doc_write *write,
			  struct problem *p) MUST_CHECK;
/* True if the header (a list of entity tags, or *) names the revision. */
bool native_etag_matches(struct slice header, const struct revision *revision);

/* consistency=any; anything but strong, any or absence is refused. */
bool native_consistency(const struct request *r, bool *any, struct problem *p) MUST_CHECK;

/* Who a write is: from Idempotency-Key (then a retry is harmless), or random. */
struct native_operation {
	struct slice key;    /* empty: none */
	struct slice digest; /* of the whole request; empty without key */
};
bool native_operation(struct turn *t, struct request *r, struct native_operation *out,
		      struct problem *p) MUST_CHECK;
/* Of a request whose body is taken in pieces: what it brings is added to the write once it is
 * known.
 */
bool native_operation_pieces(struct turn *t, struct request *r, struct native_operation *out,
			     struct problem *p) MUST_CHECK;
void native_operation_add(struct turn *t, struct request *r, struct slice bytes,
			  struct msg_doc_write *write);
/* Fills operation_id and operation_digest for item `index` of the request. */
void native_operation_fill(struct turn *t, struct request *r,
			   const struct native_operation *operation, uint32_t index,
			   struct msg_doc_write *write);
/* An id for a new document: with a key always the same one, so that a retry finds the first try. */
struct slice native_new_id(struct turn *t, struct request *r, const struct msg_doc_write *write);

/* ---- collection.c: from a name to its shards, at once or when the map has it ---- */

typedef void collection_step(struct turn *t, struct request *r, struct map_collection *c);
/* Calls found with the collection; NULL (only if not `create`) when there is none. Answers by
 * itself on failure. */
void collection_find(struct turn *t, struct request *r, bool create, collection_step *found);

/* Has the coordinator make, change or drop a collection; the message stays until done is called.
 * Answers by itself if too many calls are under way. */
void collection_change(struct turn *t, struct request *r, struct msg_collection_create *message,
		       call_done *done);

/* Asks the coordinator for a newer map first; done is called at once if it is down. */
void map_refresh(struct turn *t, struct request *r, call_done *done);
/* For its done, with its body: the answer will say if nobody has confirmed the map. False: no map
 * is known, and the request is answered. */
bool map_refreshed(struct turn *t, struct request *r, const void *body) MUST_CHECK;

/* ---- op_batch.c ---- */

void batch_start(struct turn *t, struct request *r, struct slice array);

/* ---- op_write.c ---- */

/* Sends one write of a collection; the message lives in the request's arena. */
bool write_send(struct turn *t, struct request *r, const struct map_collection *c,
		struct msg_doc_write *write, uint32_t index, call_done *done) MUST_CHECK;
/* WRITE_PUT, WRITE_DELETE; of PATCH by the media type WRITE_PATCH or WRITE_UPDATE. */
bool write_op_of(const struct request *r, uint64_t *op, struct problem *p) MUST_CHECK;
/* The body of an update: checked, at most max_document_bytes. */
bool write_update_body(struct turn *t, struct request *r, struct slice *body,
		       struct problem *p) MUST_CHECK;
/* POST of one document. */
void write_post_one(struct turn *t, struct request *r, struct slice value);
/* Where in the request the attachment stands that a lead has named: a pointer into the document,
 * which itself is at `place`. */
void write_attachment_place(struct problem *p, const char *place, struct slice name);
/* The refusal of a write as the client sees it. */
void write_problem(uint64_t op, enum status status, const struct msg_doc_write_ack *ack,
		   struct problem *p);

#endif
