/* From a document's graph to a resolution: pure, and the same whoever asks.
 *
 * decide_conflict says what the policy does. Where a script or a client has to say more, it says
 * so; what they answer goes through decide_answer, and decide_fallback tells what is done without
 * an answer. All three may be asked again with the same graph and say the same. */
#ifndef PARLEY_DOC_DECIDE_H
#define PARLEY_DOC_DECIDE_H

#include "common/base/arena.h"
#include "common/doc/policy.h"
#include "common/doc/revision.h"
#include "proto/schema.h"
#include "proto/status.h"

enum decision_kind {
	DECISION_NOTHING,  /* there is no conflict (any more) */
	DECISION_RESOLVE,  /* `resolve` is what the lead shall order */
	DECISION_NOTE,     /* it stays open; `note` says why */
	DECISION_SCRIPT,   /* run `policy.script` on `input` */
	DECISION_EXTERNAL, /* give `input` to a client, until policy.deadline_ms are over */
	DECISION_BROKEN    /* the graph is none; nothing can be said */
};

enum decision_how {
	HOW_MERGE,
	HOW_NEWEST,
	HOW_OLDEST,
	HOW_SINGLE, /* the other leaves were merged into the one that is left */
	HOW_SCRIPT,
	HOW_EXTERNAL,
	HOW_SPLIT,             /* documents that shared an id got ids of their own */
	HOW_KINDS,             /* of arbiters */
	HOW_PERSON = HOW_KINDS /* by hand */
};

enum {
	SPLIT_PARTS_MAX = 64,
	/* operation ids: which document, then which of its versions (zeros: the document itself),
	 * then which try */
	SPLIT_DOCUMENT_BYTES = 4,
	SPLIT_NAME_BYTES = 8
};

/* A document that a split makes, before the resolution is ordered: by a doc_write with
 * EXPECT_DERIVED. Doing it again does nothing. */
struct split_part {
	struct slice id;
	struct slice body; /* empty: deleted */
	bool
	    beside; /* what the split made before is not in it, as its inputs are gone: both stay */
	bool anew;  /* no stub names it yet */
	bool deleted;          /* what came late to the old id deletes it */
	bool divided;          /* its versions conflict; they follow as parts of the same id */
	struct revision *base; /* of a version: the name that its document's body has as a root;
				* generation 0: it is not made on that. Else NULL */
	uint8_t operation_id[16];
	uint8_t digest[16];
};

struct decision {
	enum decision_kind kind;
	enum decision_how how;  /* RESOLVE */
	struct policy policy;   /* borrows from the graph; not of BROKEN, nor of invalid policies */
	struct slice input;     /* SCRIPT, EXTERNAL: MessagePack array [base or nil, [leaf, ...]].
				 * Each is {"rev": its name, "document": as the native dialect
				 * shows it}, a deletion {"rev", "deleted": true}; a base that is
				 * itself a merge has no "rev". Leaves in order of winning */
	const char *instead_of; /* of a fallback: because of what it is one; else NULL */
	struct msg_conflict_resolve resolve;
	struct split_part *parts; /* RESOLVE: what must be there first; else none */
	uint32_t parts_count;
	struct msg_conflict_note note;
	char hash[REVISION_HASH_CHARS]; /* borrowed by resolve.revision */
	uint8_t resolution_id[16];      /* borrowed by resolve.resolution_id */
};

/* `graph` is an answer with status OK; what would happen under another policy is asked by replacing
 * its policy. *out borrows from it, from the arena and from itself. */
void decide_conflict(const struct msg_conflict_read_ack *graph, struct slice id,
		     struct arena *arena, struct decision *out);

enum answer_kind {
	ANSWER_BODY,   /* `body` is the result */
	ANSWER_PICK,   /* `pick`, one of the revisions in `input`, or a leaf, is */
	ANSWER_DELETE, /* the result is a deletion */
	ANSWER_SPLIT   /* each document that was made under this id gets an id of its own */
};

struct answer {
	enum answer_kind kind;
	enum decision_how how; /* HOW_SCRIPT, HOW_EXTERNAL or HOW_PERSON */
	struct slice body;     /* MessagePack, without the id */
	struct revision pick;
	struct slice by;        /* who, for the record; empty: "arbiter" */
	const char *instead_of; /* of a fallback, as the decision said that asked for it */
};

/* RESOLVE with what was answered; NOTE if that can't be done ("invalid_answer", "too_large",
 * "manual") or the conflict can't be resolved at all; NOTHING, BROKEN as above. */
void decide_answer(const struct msg_conflict_read_ack *graph, struct slice id,
		   const struct answer *answer, struct arena *arena, struct decision *out);
/* These leaves are none any more. Was it this answer that made what stands in their place? Then
 * *out is RESOLVE with the names of what was ordered then (revision, resolution id, policy
 * version). It can be told as long as nobody has edited the result. */
struct decide_asked {
	const struct revision *leaves;
	uint32_t leaves_count;
	const struct answer *answer;
};
bool decide_repeat(const struct msg_conflict_read_ack *graph, struct slice id,
		   const struct decide_asked *asked, struct arena *arena, struct decision *out);
/* What is done instead, because of `reason` (a word such as "script_failed", "deadline"), with
 * `text` for people (may be empty). NOTE unless the policy has a fallback that decides; SCRIPT if
 * that is one. */
void decide_fallback(const struct msg_conflict_read_ack *graph, struct slice id, const char *reason,
		     struct slice text, struct arena *arena, struct decision *out);

/* NOTE: it stays open, whatever the policy's fallback is. NOTHING, BROKEN as above. */
struct decide_why {
	const char *reason;
	struct slice text;
	const char *instead_of; /* of the decision that can't be carried out */
};
void decide_open(const struct msg_conflict_read_ack *graph, struct slice id,
		 const struct decide_why *why, struct arena *arena, struct decision *out);

/* What was to be RESOLVE stays open after all; nothing of the graph is needed any more. */
void decision_leave_open(struct decision *d, const char *reason, struct slice text,
			 struct arena *arena);
/* What people took apart is theirs, whatever the policy says. */
void decision_heed_held(struct decision *d, bool held, struct arena *arena);
/* An answer became a NOTE: why, for whoever gave it. */
struct slice decision_wrong(const struct decision *d, enum answer_kind kind, struct arena *arena);

/* The message that makes it, and the one that asks what would come of that, but for the shard.
 * Both borrow from the part. */
struct msg_doc_write split_part_write(const struct split_part *part);
static inline struct slice split_operation(const struct split_part *part)
{
	return slice_of(part->operation_id, sizeof part->operation_id);
}
struct msg_derived_check split_part_check(const struct split_part *part);
/* The split can't be made, as this was said of a part; id: of the part. */
void decision_split_refused(struct decision *d, enum status status, struct slice id,
			    struct arena *arena);
/* There is another document in the place of a part. */
static inline bool split_is_taken(uint64_t status)
{
	return status == STATUS_PRECONDITION_FAILED || status == STATUS_OPERATION_ID_REUSED;
}
/* Has it the form of what a split leaves under the old id, {"_split": [id, ...]}? A document of
 * somebody's own may have it, too; that it is one tells REVISION_SPLIT. */
bool split_is_list(struct slice body);

#endif
