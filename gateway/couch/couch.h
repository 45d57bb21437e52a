/* The CouchDB dialect: names, documents and errors as its clients know them. What they ask for is
 * done by the same calls as in the native dialect. */
#ifndef PARLEY_GATEWAY_COUCH_COUCH_H
#define PARLEY_GATEWAY_COUCH_COUCH_H

#include "gateway/native.h"
#include "gateway/position.h"
#include "gateway/url.h"

struct contents; /* contents.h */

/* ---- couch.c: errors, names, paths ---- */

enum couch_error {
	COUCH_NONE, /* as the status says */
#define COUCH_ERROR(name, http, error, reason) COUCH_##name,
#include "gateway/couch/errors.def"
#undef COUCH_ERROR
};

/* Always false, as problem_set. detail: in place of the table's reason, unless it is empty. */
bool couch_problem(struct problem *p, enum couch_error error, const char *detail);
int couch_http(const struct problem *p);
/* "error":...,"reason":... - what items of arrays have, too. */
void couch_error_members(const struct problem *p, struct buf *out);
void couch_error_print(const struct problem *p, struct buf *out);
void couch_answer_error(struct turn *t, struct request *r, enum couch_error error);
/* The reason of a 405. allow: as in the header. */
void couch_allowed(struct problem *p, struct slice allow);

/* A database's name as a collection's, one to one: what a collection's name can't hold is a dot and
 * two hexadecimal digits. False: no database can be called that. */
bool couch_collection_name(struct slice database, struct buf *out) MUST_CHECK;
/* And back. False: no database name leads to this collection. */
bool couch_database_name(struct slice collection, struct buf *out) MUST_CHECK;
/* Is it one of those that begin with an underscore? */
bool couch_is_system_database(struct slice name);
/* The one that gateways alone read and write. */
#define COUCH_REPLICATIONS "_replications"
/* May a database of this name be made? (a-z first, no capitals) */
bool couch_name_fit(struct slice database);

/* _design%2Fx and _local%2Fx are one segment or two. Returns the count. */
int couch_segments(struct slice segments[URL_SEGMENTS_MAX], int count);
/* A path that no other pattern fits: all behind the document is one segment, the attachment's name.
 * Returns the count; 0: there is nothing behind it. */
int couch_attachment_segments(struct slice path, struct slice segments[URL_SEGMENTS_MAX]);
/* A path of CouchDB's, of whatever method, that is not there: _reshard, _rewrite. */
bool couch_not_built(struct slice path);
/* Decodes what the pattern leaves open: {db} into r->collection; {doc} and {name} into r->resource,
 * with _design/ or _local/ before it where the pattern has it; {attachment}. */
bool couch_take_path(struct request *r, const struct slice *wanted, const struct slice *segments,
		     int count, struct problem *p) MUST_CHECK;
/* A POST that says what its body is has to say JSON, but where other things are taken, too. */
bool couch_type_allowed(const struct request *r);
void couch_no_route(const struct request *r, const struct slice *segments, int count,
		    struct problem *p);

/* ---- document.c: a document printed, and taken apart ---- */

struct couch_document {
	struct slice id;
	struct revision revision; /* generation 0: none was given */
	bool deleted;
	struct slice body;        /* as it is stored */
	struct slice revisions;   /* _revisions as they came, MessagePack; empty: none */
	struct slice attachments; /* likewise _attachments, which `body` lacks */
	bool imported;            /* made elsewhere: their revpos stays */
	/* of one that is printed */
	const struct revision *conflicts;
	uint32_t conflicts_count;
	const struct revision *deleted_conflicts;
	uint32_t deleted_conflicts_count;
	const struct revision *ancestors; /* one line, the newest first */
	const uint64_t *ancestor_flags;   /* for _revs_info */
	uint32_t ancestors_count;
	bool revs;          /* _revisions */
	bool revs_info;     /* _revs_info */
	uint64_t local_seq; /* 0: it is not shown */
	bool data;          /* attachments are shown with theirs, not as stubs */
	bool follows;       /* their data follows as parts */
};
bool couch_document_print(const struct couch_document *d, struct buf *out) MUST_CHECK;
/* The members of a stored body, each with a comma before it. */
bool couch_members_print(struct slice body, struct buf *out) MUST_CHECK;
/* value: MessagePack as it came. The revision borrows from it. Refused for its id, all but the body
 * is there. */
bool couch_document_parse(struct turn *t, struct request *r, struct slice value,
			  struct couch_document *out, struct problem *p) MUST_CHECK;
/* Is it in lists? The native dialect may make a document under a word of this API; whoever
 * replicated it would stop there. */
bool couch_is_shown(struct slice id);
bool couch_bad_name(struct slice name, struct problem *p); /* false */
/* The id of a document that may be stored. */
bool couch_id_check(struct slice id, struct problem *p) MUST_CHECK;
/* A revision from the query string or a header. */
bool couch_revision(struct request *r, struct slice text, struct revision *out,
		    struct problem *p) MUST_CHECK;

/* ---- op_server.c ---- */

/* A parameter that is a whole number; *value stays if it is absent. */
bool couch_number(const struct request *r, const char *name, uint64_t *value,
		  struct problem *p) MUST_CHECK;

/* Asks the coordinator for the rows of system.nodes. */
void couch_ask_members(struct turn *t, struct request *r, call_done *done);
/* Names of databases in the request's arena, in order: of all, what its parameters ask for. */
bool couch_databases(struct turn *t, struct request *r, struct slice **names, uint32_t *count,
		     struct problem *p) MUST_CHECK;

/* ---- op_database.c ---- */

struct couch_counts {
	uint64_t documents;
	uint64_t deleted;
	uint64_t erased;               /* times that versions were taken out for good */
	struct slice sequence;         /* printed: opaque */
	struct position_of *positions; /* the same, of all shards in their order */
};
typedef void couch_counted(struct turn *t, struct request *r, const struct couch_counts *counts);
/* Counts the documents of a collection, and says how far its streams are. r->op stays as it is. */
void couch_count(struct turn *t, struct request *r, const struct map_collection *c,
		 couch_counted *done);
/* What GET /{db} says of it. False: no database leads to this collection. */
bool couch_info_print(const struct map_collection *c, const struct couch_counts *counts,
		      struct buf *out) MUST_CHECK;
/* collection_find; a database that is not there is answered here. */
void couch_find(struct turn *t, struct request *r, collection_step *found);

/* ---- op_list.c: parameters, of the query string or of the body (empty: none) ---- */

/* JSON text there, a value here; null there counts as absent, but where it may be a key. */
bool couch_take_value(struct turn *t, struct request *r, struct slice body, const char *name,
		      struct slice *value, struct problem *p) MUST_CHECK;
bool couch_take_any_key(struct turn *t, struct request *r, struct slice body, const char *name,
			struct slice *value, struct problem *p) MUST_CHECK;
/* One that must be a text, or null, which is taken for "". *key stays if it is absent. */
bool couch_take_key(struct turn *t, struct request *r, struct slice body, const char *name,
		    struct slice *key, struct problem *p) MUST_CHECK;
/* *value stays if it is absent. */
bool couch_take_flag(struct request *r, struct slice body, const char *name, bool *value,
		     struct problem *p) MUST_CHECK;
bool couch_take_count(struct request *r, struct slice body, const char *name, uint64_t *value,
		      struct problem *p) MUST_CHECK;

/* ---- op_read.c ---- */

/* Asks the lead; read is kept alive by the caller. False: too many calls under way. */
bool couch_read_send(struct turn *t, struct request *r, const struct map_collection *c,
		     struct msg_doc_read *read, call_done *done) MUST_CHECK;
/* False: there is none, which is answered. named: a deletion is shown, as it was asked for. */
bool couch_document_found(struct turn *t, struct request *r, enum status status,
			  const struct msg_doc_read_ack *ack, bool named) MUST_CHECK;

/* ---- op_write.c ---- */

/* One write: told again by itself where CouchDB takes what a lead refuses (a child of a deleted
 * leaf). */
struct couch_write {
	struct msg_doc_write write;
	enum status status;
	struct revision revision; /* made */
	struct problem problem;   /* of a refusal */
	bool changes;             /* answered 200, not 201 */
	uint32_t index;           /* as it was sent: the caller's */
	call_done *done;
};
/* The revision may be in three places (the document, ?rev=, If-Match); they must agree. */
bool couch_write_revision(struct request *r, struct couch_document *d,
			  struct problem *p) MUST_CHECK;
void couch_write_fill(struct turn *t, struct request *r, const struct native_operation *operation,
		      uint32_t index, const struct couch_document *d, struct couch_write *out);
bool couch_write_send(struct turn *t, struct request *r, struct couch_write *w, uint32_t index,
		      call_done *done) MUST_CHECK;
/* False: it was sent again, and done comes again. */
bool couch_write_done(struct turn *t, struct request *r, struct couch_write *w, enum status status,
		      const struct msg_doc_write_ack *ack) MUST_CHECK;
/* {"ok":true,"id":...,"rev":...}, or the error. */
void couch_write_print(const struct couch_write *w, struct buf *out);
/* Writes a document that a function made, which must have an id. Refusals are answered; else ended
 * comes, and r->op is as before. */
typedef void couch_written(struct turn *t, struct request *r, const struct couch_write *w);
void couch_write_value(struct turn *t, struct request *r, struct slice value, couch_written *ended);
/* Location and ETag, then the line above. */
void couch_write_answer(struct turn *t, struct request *r, const struct couch_write *w);

/* ---- op_replicator.c ---- */

/* A document of _replicator that is to be written: it must be a job, or be none on purpose; who
 * writes it becomes its owner. Of other databases: true. */
bool couch_replicator_take(struct turn *t, struct request *r, struct couch_document *d,
			   struct problem *p) MUST_CHECK;

/* ---- op_revisions.c ---- */

/* GET of a document with open_revs. */
void couch_open_revs(struct turn *t, struct request *r);

#endif
