/* What becomes of a conflict whose script has ended: for arbiters, and for who asks what one would
 * do. */
#ifndef PARLEY_DOC_SCRIPT_DECIDE_H
#define PARLEY_DOC_SCRIPT_DECIDE_H

#include "common/doc/decide.h"
#include "common/doc/json.h"
#include "proto/script_frame.h"

enum {
	SCRIPT_TIME_MS = 500, /* of one run, unless configured */
	SCRIPT_MEMORY_BYTES = 64 * 1024 * 1024
};

/* As EVENT_SCRIPT tells it. */
struct script_end {
	enum script_status status;
	struct slice output;
};

/* d: the decision that asked for the script, of the same graph; becomes what is done: RESOLVE or
 * NOTE. True: the script could have decided, and did not. */
bool script_decide(const struct msg_conflict_read_ack *graph, struct slice id,
		   const struct script_end *end, struct json_parser *json, struct arena *arena,
		   struct decision *d);
/* What is done where a script could have decided, and did not, with `text` for people. True. */
bool script_instead(const struct msg_conflict_read_ack *graph, struct slice id, struct slice text,
		    struct arena *arena, struct decision *d);

#endif
