/* Enumerations and limits that travel on the wire or lie on disk. Numbers are never reused. */
#ifndef PARLEY_PROTO_ENUMS_H
#define PARLEY_PROTO_ENUMS_H

#include "proto/enums_view.h"

/* A process's job; its CURVE key says which one it has. */
enum role {
	ROLE_NONE = 0,
	ROLE_GATEWAY = 1,
	ROLE_STORAGE = 2,
	ROLE_COORDINATOR = 3,
	ROLE_ARBITER = 4,
	ROLE_MAX = 4
};

/* Sets of roles, for the sender and receiver columns of messages.def. */
enum {
	R_GATEWAY = 1 << ROLE_GATEWAY,
	R_STORAGE = 1 << ROLE_STORAGE,
	R_COORDINATOR = 1 << ROLE_COORDINATOR,
	R_ARBITER = 1 << ROLE_ARBITER
};

enum health {
	HEALTH_OFFLINE = 0,   /* not heard of */
	HEALTH_HEALTHY = 1,   /* in sync */
	HEALTH_UNHEALTHY = 2, /* catching up */
	HEALTH_FATAL = 3,     /* can't recover alone */
	HEALTH_MAX = 3
};

enum availability_mode { MODE_CONSISTENT = 0, MODE_AVAILABLE = 1, MODE_MAX = 1 };

/* How a storage node stands to a shard. */
enum shard_state {
	SHARD_REPLICA = 0,   /* follows the lead */
	SHARD_PROMISING = 1, /* named lead, collecting promises */
	SHARD_FETCHING = 2,  /* reading the most advanced stream */
	SHARD_PREPARING = 3, /* bringing it to W copies under its own epoch */
	SHARD_SERVING = 4,   /* lead */
	SHARD_STUCK = 5,     /* named lead, but can't become it: name another */
	SHARD_STATE_MAX = 5
};

enum change_kind {
	CHANGE_EPOCH = 1,       /* a lead's first entry of its epoch; changes nothing */
	CHANGE_WRITE = 2,       /* a client's write on a leaf */
	CHANGE_BRANCH = 3,      /* a write on what need not be a leaf any more */
	CHANGE_RESOLVE = 4,     /* leaves become one */
	CHANGE_CLEANUP = 5,     /* a resolution's traces go */
	CHANGE_SETTINGS = 6,    /* the collection's settings, body = encoded collection */
	CHANGE_LOCK = 7,        /* a lock is granted: writes it covers need its id */
	CHANGE_UNLOCK = 8,      /* it has ended */
	CHANGE_EDIT = 9,        /* a write by query has passed all documents of the shard */
	CHANGE_REOPEN = 10,     /* a resolution is taken apart: its inputs are leaves again */
	CHANGE_PURGE = 11,      /* a deleted document's last traces go, but for a mark of it */
	CHANGE_CHECKPOINT = 13, /* how far a client that syncs has come */
	CHANGE_IMPORT = 14,     /* a revision that was made elsewhere, with its history */
	CHANGE_CHUNK = 15,      /* a chunk of an upload */
	CHANGE_CHUNK_DROP = 16, /* an upload that no document came for goes */
	CHANGE_ERASE = 17,      /* versions go for good, and what only they need */
	CHANGE_REFUSAL = 18,    /* what a client asked for under a key is not done, by any lead */
	CHANGE_KIND_MAX = 18
};

enum write_op {
	WRITE_POST = 1,
	WRITE_PUT = 2,
	WRITE_PATCH = 3,
	WRITE_DELETE = 4,
	WRITE_UPDATE = 5, /* PATCH by update operators: the body is {"$set": ...} */
	WRITE_OP_MAX = 5
};

enum write_expect {
	EXPECT_ANY = 0,      /* applies to whatever is current */
	EXPECT_REVISION = 1, /* the parent is one of the revisions named */
	EXPECT_ABSENT = 2,   /* there is no live document */
	EXPECT_PRESENT = 3,  /* there is one */
	/* There is none, or it was made by an older operation with the same first 8 bytes of its
	 * id: that one's revision is the parent. The other 8, as a number, tell which is older.
	 * With keep_as_branch there may be anything, and this becomes a version beside it, or a
	 * branch of what is expected if that is there. */
	EXPECT_DERIVED = 4,
	EXPECT_MAX = 4
};

enum {
	REVISION_DELETED = 1 << 0,
	REVISION_LEAF = 1 << 1,     /* no child */
	REVISION_RESOLVED = 1 << 2, /* made by an arbiter: transparent to later merges */
	REVISION_HAS_BODY = 1 << 3, /* kept: in the record if winner, else under its own key */
	REVISION_CLOSED = 1 << 4,   /* a loser: no leaf although it has no child of its own line */
	REVISION_AGAINST = 1 << 5,  /* a deletion with an edit against it: a side of a conflict */
	/* the tombstone of a purged document: the winner, in conflict with what came late */
	REVISION_PURGED = 1 << 6,
	REVISION_SPLIT = 1 << 7,    /* what a split left under the old id: its body lists the ids */
	REVISION_LATE = 1 << 8,     /* of who did not know that the document was purged */
	REVISION_REOPENED = 1 << 9, /* its parent again, as a resolution was undone */
	/* of an answer only: its body is kept, but is not in this part of the graph */
	REVISION_BODY_LEFT = 1 << 12
};

enum conflict_state { CONFLICT_OPEN = 1, CONFLICT_RESOLVED = 2, CONFLICT_STATE_MAX = 2 };
/* What an entry of the stream does to a document's conflict. */
enum conflict_event {
	CONFLICT_OPENED = 1,
	CONFLICT_CHANGED = 2,  /* other leaves; still open */
	CONFLICT_DECIDED = 3,  /* by a resolution */
	CONFLICT_REOPENED = 4, /* a resolution was taken apart */
	CONFLICT_ENDED = 5,    /* clients left one leaf */
	CONFLICT_CLEANED = 6,  /* a resolution's losers are gone */
	CONFLICT_EVENT_MAX = 6
};
/* What is said about a lease of a conflict. */
enum lease_op { LEASE_CHECK, LEASE_RENEW, LEASE_RELEASE, LEASE_DEFER, LEASE_OP_MAX = 3 };
enum conflict_kind {
	CONFLICT_EDITS = 0,
	CONFLICT_ROOTS = 1,
	CONFLICT_DELETE = 2,
	CONFLICT_KIND_MAX = 2
};

enum {
	PROTOCOL_MAJOR = 1,
	PROTOCOL_MINOR = 0,
	STORE_FORMAT = 2,
	DOCUMENT_FORMAT = 1,
	CHANGE_FORMAT = 1
};

/* Every bound of a field; past it a message is refused. */
enum {
	LIMIT_NAME_BYTES = 64,
	LIMIT_ID_BYTES = 512,
	LIMIT_REV_HASH_BYTES = 64,
	LIMIT_TEXT_BYTES = 512,
	LIMIT_POLICY_BYTES = 64 * 1024,
	LIMIT_NOTE_BYTES = 4096,
	LIMIT_BODY_BYTES = 16 * 1024 * 1024,
	LIMIT_MESSAGE_BYTES = 24 * 1024 * 1024,
	LIMIT_KEY_BYTES = 2048,
	LIMIT_REPLICAS = 7,
	LIMIT_MEMBERS = 256,
	LIMIT_COLLECTIONS = 1024,
	LIMIT_SHARDS = 4096,
	LIMIT_DROPS = 256,
	LIMIT_DROPS_KNOWN = 65536,
	LIMIT_COLLECTION_SHARDS = 64,
	LIMIT_LEAVES = 16384,
	LIMIT_REVISIONS = 32768,
	LIMIT_OPERATION_IDS = 1024,
	LIMIT_QUERY_BYTES = 256 * 1024,
	LIMIT_FIELDS = 64,
	LIMIT_PATH_BYTES = 1024,
	LIMIT_ORDER_KEYS = 8,
	LIMIT_ORDER_KEY_BYTES = 1024,
	LIMIT_ROWS = 10000,
	LIMIT_SYSTEM_ROWS = 4096,
	LIMIT_STREAM_ENTRIES = 4096,
	LIMIT_SNAPSHOT_PAIRS = 4096,
	LIMIT_CLEANUP_ITEMS = 1024,
	LIMIT_INDEXES = 32,
	LIMIT_INDEX_FIELDS = 8,
	LIMIT_LOCK_PATHS = 64,
	LIMIT_LOCK_IDS = 8,
	LIMIT_LOCKS = 4096,
	LIMIT_FEED_EVENTS = 4096,
	LIMIT_CHANGES = 1000,
	LIMIT_NOTIFY_ROWS = 1024,
	LIMIT_HELD_SETS = 16,
	LIMIT_OFFERS = 64,
	LIMIT_CHECKPOINTS = 1000,
	LIMIT_ANCESTORS = 1000,
	LIMIT_IMPORT_ITEMS = 1000,
	LIMIT_TRAIL = 8,
	LIMIT_EPOCH_STARTS = 512,
	LIMIT_CHUNK_BYTES = 1024 * 1024,
	LIMIT_CHUNKS = 65536,
	LIMIT_ATTACHMENTS = 1024,
	LIMIT_JSON_DEPTH = 100
};

/* CouchDB's _local documents; no client can name it. */
#define COLLECTION_LOCAL "system.local"
/* The database _users; no other dialect can name it. */
#define COLLECTION_USERS "system.users"
/* The database _replicator, and what gateways tell each other of its jobs. */
#define COLLECTION_REPLICATOR   "system.replicator"
#define COLLECTION_REPLICATIONS "system.replications"

#endif
