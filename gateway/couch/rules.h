/* The functions validate_doc_update of a database, remembered for a moment. Each write needs to
 * know them; nearly all databases have none, and then only a short question to each of its leads is
 * asked, once a second while there are writes.
 *
 * What is written through this gateway counts at once, what came through another one within
 * RULES_FRESH_MS + RULES_ASK_MS, as long as the leads can be asked. While one can't, what is known
 * stays; a gateway that knows nothing yet asks any replica. */
#ifndef PARLEY_GATEWAY_COUCH_RULES_H
#define PARLEY_GATEWAY_COUCH_RULES_H

#include "gateway/couch/couch.h"

enum {
	RULES_FRESH_MS = 1000,
	RULES_ASK_MS = 1000,
	RULES_BYTES_MAX = 16 << 20,               /* of a database's: each run is given them all */
	RULES_COPIES_BYTES = 16 * RULES_BYTES_MAX /* that requests hold */
};

#define RULE_MEMBER "validate_doc_update"

struct couch_rules {
	uint32_t count;
	struct slice texts; /* MessagePack: [[text, design document or null], ...] */
	bool foreign;       /* one is in a language that nobody runs: nothing passes it */
};
/* rules: borrowed for the step. */
typedef void couch_rules_step(struct turn *t, struct request *r, const struct couch_rules *rules);
/* next may come at once; r->op stays as it is. Answers by itself if nothing can be known. */
void couch_rules_want(struct turn *t, struct request *r, const struct map_collection *c,
		      couch_rules_step *next);
/* The request holds so much of them until it ends. False: there is no room. */
bool couch_rules_hold(struct gateway *gw, struct request *r, size_t bytes) MUST_CHECK;
void couch_rules_release(struct gateway *gw, struct request *r);
/* A document was written here: if it is a design document, what is known is old. */
void couch_rules_written(struct turn *t, struct request *r, struct slice id);
void couch_rules_close(struct map *rules);

#endif
