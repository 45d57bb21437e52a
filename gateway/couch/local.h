/* _local documents: of this cluster only, in no list and in no feed. They are documents of one
 * collection that no client can name, with the id of the database's collection before theirs; so a
 * database that is made anew has none. Their revision is 0-N, N being the stored one's generation.
 */
#ifndef PARLEY_GATEWAY_COUCH_LOCAL_H
#define PARLEY_GATEWAY_COUCH_LOCAL_H

#include "gateway/couch/couch.h"

/* name: with _local/ before it. False: it could not be printed, nothing was. */
bool couch_local_print(struct slice name, struct slice body, uint64_t generation,
		       struct buf *out) MUST_CHECK;

/* A write of one. */
struct couch_local {
	struct slice name;     /* _local/x */
	struct revision given; /* by the client: a hash, N, of generation 0; empty: none */
	bool any;              /* it is written whichever is there */
	struct msg_doc_write write;
	struct msg_doc_read read;
	bool refused;
	struct problem problem; /* then */
	uint64_t generation;    /* made; 0 of a deletion */
};
/* Its id in the collection that keeps them; database: the id of the database's. */
struct slice couch_local_id(struct request *r, uint64_t database, struct slice name);
/* value: the document as it came; its name, if it has one, is set. */
bool couch_local_take(struct turn *t, struct request *r, struct slice value,
		      struct couch_local *out, struct problem *p) MUST_CHECK;
/* "0-N" */
bool couch_local_take_rev(struct request *r, struct slice text, struct couch_local *out,
			  struct problem *p) MUST_CHECK;
typedef void couch_locals_written(struct turn *t, struct request *r);
/* Writes them all, at once; done comes when it is known how each ended. r->op stays as it is,
 * r->collection becomes the one that keeps them. */
void couch_locals_write(struct turn *t, struct request *r, uint64_t database,
			struct couch_local *list, uint32_t count, couch_locals_written *done);
/* {"ok":true,"id":...,"rev":...}, or the error. */
void couch_local_print_written(const struct couch_local *local, struct buf *out);

#endif
