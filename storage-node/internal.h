/* The storage core's own state. Only files of this folder include it. */
#ifndef PARLEY_STORAGE_INTERNAL_H
#define PARLEY_STORAGE_INTERNAL_H

#include "common/base/map.h"
#include "common/base/rng.h"
#include "common/probe.h"
#include "common/timing.h"
#include "storage-node/applying.h"
#include "storage-node/attempt.h"
#include "storage-node/digest.h"
#include "storage-node/keys.h"
#include "storage-node/large.h"
#include "storage-node/recent.h"
#include "storage-node/storage.h"
#include "storage-node/trail.h"

enum {
	TICK_MS = 50,
	STREAM_KEEP_ENTRIES = 100000,
	STREAM_KEEP_BYTES = 256 * 1024 * 1024,
	STREAM_MARKS = 4,  /* so many times as many bytes are kept, whatever they are */
	STREAM_STEPS = 16, /* so often is it put on the disk meanwhile how many have come */
	/* likewise, of entries, too, for a replica that is copied to and says so now and then */
	COPY_KEEPS = 16,
	PENDING_ENTRIES_MAX = 32768,
	PENDING_BYTES_MAX = 64 * 1024 * 1024,
	PENDING_BYTES_NODE_MAX = 256 * 1024 * 1024, /* of all shards together */
	APPEND_BYTES_MAX = 1024 * 1024,             /* of one stream_append */
	/* of records made by applying; a small entry can rewrite a great document */
	APPLY_BYTES_TURN = 4 * 1024 * 1024,
	APPLY_REVISION_BYTES = 4, /* to look at one weighs so much of that */
	/* entries that a turn reads back from the disk for replicas that lag: a lead must not be
	 * deaf meanwhile */
	CATCH_UP_READS_TURN = 1024,
	FLIGHT_ENTRIES_MAX = 16384, /* sent to one replica and not acknowledged */
	COPY_ENTRIES_MIN = 1000,
	RESEND_MS = 300,
	PROMISE_RETRY_MS = 100,
	SNAPSHOT_CHUNK_BYTES = 512 * 1024,
	SNAPSHOT_RESEND_MS = 1000,
	RECENT_KEEP_MS = 3 * REQUEST_DEADLINE_MS,
	OUTBOX_ENTRIES_MAX = 100000,
	OUTBOX_PUSH_MAX = 64,
	QUERY_JOBS_MAX = 64,
	QUERY_STEP_DOCUMENTS = 2000, /* looked at in one step, by all jobs together */
	QUERY_STEP_BYTES = 4096,     /* so many bytes of a document count as another one */
	QUERY_ANSWER_BYTES = 1024 * 1024,
	QUERY_ORDERED_BYTES = 8 * 1024 * 1024,
	REVISIONS_KEPT = 100,  /* generations of the graph below each leaf */
	REVISIONS_MANY = 1024, /* in a graph; beyond, fewer generations stay */
	OPEN_CONFLICT_LEAVES_LISTED = 64,
	/* a document with so many takes no further branch, and those in outboxes wait; the rest is
	 * for versions that come back as resolutions are taken apart */
	LEAVES_MAX = LIMIT_LEAVES / 4 * 3,
	/* room that writes leave to resolutions, so that a full graph can still be merged */
	REVISIONS_RESERVED = 1024,
	GENERATION_MAX = 0x7fffffff,
	OPERATIONS_LISTED = 8, /* in a record; older ones have keys of their own */
	WAITERS_MAX = 65536,   /* answers that wait, per shard */
	FLIGHT_BYTES_MAX = 8 * 1024 * 1024,
	OUTBOX_BYTES_MAX = 256 * 1024 * 1024,
	SHARDS_MAX = LIMIT_SHARDS
};

/* An answer that waits until an entry is applied. */
struct waiter {
	struct waiter *next;
	struct peer peer;
	struct envelope envelope; /* of the request */
	uint16_t type;            /* of the answer */
	bool needs_lead; /* it changes nothing but shows a state: only a lead under its lease may */
	struct msg_doc_write_ack
	    ack; /* slices borrow from text and body below; of other types what changes */
	uint8_t hash[LIMIT_REV_HASH_BYTES];
	struct buf body;  /* of other types: the answer, encoded */
	size_t place_len; /* of a refusal: body is the place, then the detail */
};

/* An entry of the stream that is not applied yet. */
struct pending {
	uint64_t epoch;
	struct slice change;                   /* heap, owned */
	struct slice id;                       /* document id inside change; empty: none */
	struct waiter *waiters, **waiters_end; /* in order of arrival; end: NULL while empty */
	uint32_t waiters_count;
};

/* Entries applied+1 .. last, as a ring indexed by number. */
struct pending_ring {
	struct pending *slots;
	uint64_t cap;   /* power of two */
	uint64_t first; /* number of the first entry */
	uint64_t count;
	uint64_t bytes;
	uint64_t waiters;
};

/* What a lead must know of a document with pending entries. */
struct overlay {
	uint64_t last_number;   /* newest pending entry of this document */
	uint64_t record_number; /* `record` includes entries up to here; 0: not made yet */
	struct buf record;      /* encoded document after those */
	struct buf purged;      /* encoded mark that one of those leaves; empty: none does */
	struct buf cleaned;     /* ids of resolutions whose cleanup is among those */
	struct buf resolved;    /* ids of those made by them, each with its number */
	struct map
	    bodies; /* revision text -> struct buf*: bodies outside the record made by those */
};

enum follower_mode {
	FOLLOW_PROBE,   /* where does its stream agree with ours? one message at a time */
	FOLLOW_STREAM,  /* entries are sent ahead of acknowledgements */
	FOLLOW_SNAPSHOT /* a copy is under way */
};

struct snapshot_out; /* snapshot.c */

/* What a lead knows of another replica. */
struct follower {
	uint64_t node;
	uint64_t incarnation;
	uint32_t place; /* its index in the placement's list */
	bool learning;
	enum follower_mode mode;
	bool heard;     /* it answered in this epoch */
	uint64_t next;  /* next entry to send */
	uint64_t acked; /* synced there, matching ours */
	uint64_t applied;
	uint64_t outbox;
	uint64_t cleared; /* applied there when it last said that its outbox is empty */
	uint64_t settled_sent;
	uint64_t copied_request; /* answers to earlier ones are from before it was copied to */
	bool copy_begun;         /* in this epoch, and not finished: it may still take all away */
	uint64_t gap_request;    /* of the probe after the last gap: earlier ones need none */
	uint64_t window_bytes; /* sent since the window began; the next begins when all is acked */
	uint64_t window_end;   /* number after the last entry of the window */
	bool disk_full;        /* short of the reserve: it leads no writes */
	int64_t heard_ms;      /* last progress */
	int64_t sent_ms;       /* last send that wants an answer */
	int64_t lease_until_ms;
	bool promised; /* take-over: answered OK in this epoch */
	struct position promised_last;
	struct snapshot_out *snapshot;
	uint64_t asked; /* compare.c: entry whose digest it was asked about; 0: none */
	uint64_t asked_digest;
	enum digest_verdict verdict;
	bool goes;               /* its node wants to start anew */
	int64_t spared_until_ms; /* it may have been told that it can, and go at any moment */
};

/* A branch that waits for the lead. */
struct outbox_item {
	uint64_t sequence;
	uint64_t since_ms;         /* wall time, for people */
	struct slice change;       /* heap, owned; encoded */
	struct slice id;           /* inside change */
	struct slice operation_id; /* inside change */
	struct revision revision;  /* hash inside change */
	struct revision parent;    /* likewise; generation 0: none */
	struct position entry;     /* that it was here and that was cut; number 0: none */
	bool names_attachments;
	bool waits; /* for its parent, which lies here too, before it */
	bool bare;  /* they are not here either (bring.h) */
};

/* Whom the cleanup of a shard's resolutions waits for, as its arbiter last said; for people. */
struct cleanup_wait {
	char names[LIMIT_REPLICAS][LIMIT_NAME_BYTES];
	size_t names_len[LIMIT_REPLICAS];
	uint32_t count;
	uint64_t since_ms; /* wall time */
	int64_t until_ms;  /* then it has gone */
};

/* What keeps tombstones that are due, at the lead. */
struct purge_wait {
	uint64_t ordered;                  /* greatest deletion whose purge this epoch ordered */
	uint64_t after;                    /* where the next look at them begins */
	bool held_back;                    /* the last one ended at what a client has not seen */
	char behind[LIMIT_NAME_BYTES + 1]; /* that client's checkpoint */
};

struct shard_copy {
	uint64_t id;
	struct arena placement_arena;
	struct shard placement; /* lists in the arena */
	bool from_disk; /* known before this start: may have granted leases in an earlier life */
	struct buf settings_bytes;
	struct arena settings_arena;
	struct collection settings; /* as ordered in the stream; version 0: none yet */

	struct shard_promise promise;
	struct shard_position position;
	bool position_dirty;
	uint64_t durable;   /* entries synced here */
	uint64_t committed; /* applied as of the last commit, which is what iterators show */
	uint64_t settled;   /* known settled */
	struct pending_ring pending;
	uint64_t stream_bytes;               /* appended since the last trim */
	uint64_t stream_marks[STREAM_MARKS]; /* what was applied when they were too many */
	uint64_t stream_holds;               /* how often they were since, while a copy kept them */

	/* as a replica */
	uint64_t matched; /* agrees with the current lead's stream up to here */
	uint64_t matched_epoch;
	bool ack_wanted;
	struct peer ack_peer;
	struct envelope ack_envelope;
	uint64_t lease_lead;
	uint64_t lease_boot;
	uint64_t lease_epoch;
	int64_t lease_until_ms;
	uint64_t copy_snapshot; /* id of the snapshot being received */
	uint64_t copy_next;     /* its next chunk */
	uint64_t copy_digest;   /* of the pairs that have come */
	int64_t bring_until_ms; /* bring.h; 0: nothing is held up */

	/* as the lead, or on the way there */
	enum shard_state state;
	uint64_t lead_epoch;
	uint64_t epoch_start; /* number of our CHANGE_EPOCH entry */
	/* began to serve since the last commit: lists would not show what was applied for that */
	bool serving_unseen;
	uint64_t floor;
	int64_t retry_ms;
	uint64_t fetch_from; /* node */
	struct follower followers[LIMIT_REPLICAS];
	uint32_t followers_count;
	struct map overlays;      /* document id -> struct overlay* */
	struct overlay *large_of; /* whose document `large` is, instead of its record; NULL: none */
	struct large large;
	struct recents recents;
	struct refused_attempts attempts;
	struct map notes; /* document id -> struct note*: why a conflict stays open */
	struct cleanup_wait cleanup_wait;
	struct purge_wait purge_wait;
	uint64_t checkpoint_entry; /* checkpoint.h: newest that was ordered here, and the least */
	uint64_t checkpoint_low;   /* number of those that were under way with it */
	uint64_t settings_entry;   /* newest entry that changes settings */
	uint64_t upload_dropped;   /* attachment.h: newest entry that drops an upload */
	uint64_t accepted_entry;   /* newest that was answered before it was settled */
	int64_t uploads_ms;        /* next look for old ones */
	struct lock_table *locks;  /* lock.h; NULL: none so far */
	struct offers *offers;     /* offer.h; NULL: none so far */
	struct erased_lately *erased; /* erase.h; NULL: none so far */

	struct shard_index **indexes; /* index.h; in the order of the settings */
	uint32_t indexes_count;
	struct feeds *feeds; /* feed.h; NULL: nobody follows */
	bool turn_dirty;     /* something to send at the end of the turn */

	struct shard_integrity integrity; /* digest.h */
	uint64_t unreadable; /* entry that the disk has damaged: nothing is made of it; 0: none */

	struct edit_list *edits; /* shard_edit.h: writes by query, as applied */

	/* outbox */
	struct outbox_item *outbox;
	struct map outbox_ids; /* document id -> uint32_t*: how many branches of it there are */
	uint32_t outbox_count;
	uint32_t outbox_cap;
	uint64_t outbox_bytes;
	uint32_t
	    outbox_cursor; /* where the next push starts: one that is refused holds up no other */
	uint64_t outbox_next; /* sequence */
	int64_t outbox_pushed_ms;
};

struct query_job;
struct outbox_view;
struct view;
struct json_parser;
struct edit_job;
struct scrub;

struct storage {
	struct storage_options options;
	struct store *store;
	struct rng rng;
	struct map shards;      /* id -> struct shard_copy* */
	struct map collections; /* id -> struct known_collection* */
	struct map dropped;     /* id of a collection -> anything */
	struct buf map_members; /* encoded map_push with only members, for those who ask */
	uint64_t map_version;
	bool started;
	bool joined;
	bool admitted; /* the coordinator let this start in: it is no copy that was put back */
	bool draining;
	bool disk_full;
	bool disk_exhausted;    /* a quarter of the reserve is left, for what a new lead needs */
	uint64_t pending_bytes; /* of all shards, as of the last turn */
	int64_t now_ms;
	int64_t wall_ms;
	int64_t started_ms;
	int64_t tick_ms;        /* next tick */
	int64_t heartbeat_ms;   /* next heartbeat */
	int64_t lease_ms;       /* next lease renewal */
	uint64_t first_request; /* of this life: drawn at random */
	uint64_t next_request;
	bool snapshots_due;       /* a copy waits for the commit */
	bool indexes_building;    /* an index is not usable yet, perhaps */
	bool index_step_due;      /* a step of the builds waits for the commit */
	struct view *views;       /* view.h; of all shards */
	uint64_t view_scripts;    /* ids given out */
	uint64_t view_skipped;    /* documents without rows, as their function failed */
	uint64_t view_left_out;   /* rows whose keys are too long */
	bool views_due;           /* one can go on */
	struct json_parser *json; /* of what scripts return; made when first needed */
	struct query_job *jobs;   /* list, oldest first */
	uint32_t jobs_count;
	struct edit_job *edit_jobs; /* likewise */
	uint32_t edit_jobs_count;
	uint64_t feeds_count; /* of all shards, as of the last tick, and those opened since */
	struct arena arena;   /* for one step */
	struct outbox_view *outbox_view; /* document.c; NULL: none so far */
	struct bring *bring;             /* bring.c; NULL: nothing is brought */
	struct buf key;                  /* scratch for keys */
	struct buf value;                /* scratch for values */
	struct applying applying;
	uint64_t applied_bytes;  /* in this turn; see APPLY_BYTES_TURN */
	bool apply_rest;         /* it was not enough */
	uint32_t catch_up_reads; /* in this turn; see CATCH_UP_READS_TURN */
	bool catch_up_rest;      /* it was not enough */
	/* counters for metrics */
	uint64_t writes_total, reads_total, queries_total, applied_total, takeovers_total,
	    snapshots_total;
	uint64_t refused_total, discarded_total, resolved_total, cleaned_total;
	uint64_t stale_total, edits_total, purged_total;
	uint64_t damage_total, differs_total;
	struct scrub *scrub; /* scrub.c; NULL: not begun */
	bool goes;           /* one of the shards is damaged, and none can't do without this node */
	bool starting_anew;  /* at the next tick */
	int64_t damage_told_ms;
	struct trail_kept trail;
};

struct known_collection {
	struct buf bytes;
	struct arena arena;
	struct collection collection;
};

/* shard.c: state and its storage */
struct shard_copy *shard_get(struct storage *s, uint64_t id);
bool shard_load_all(struct storage *s);
void shard_free(struct shard_copy *c);
/* What a disk or a peer says of a stream: could it be? */
bool shard_position_sound(const struct shard_position *p);
void shard_save_position(struct storage *s, struct shard_copy *c);
void shard_save_promise(struct storage *s, struct shard_copy *c, struct effects *fx);
const struct replica *shard_self(const struct storage *s, const struct shard_copy *c);
bool shard_vouching(const struct storage *s, const struct shard_copy *c);
/* A copy has taken what it was counted for, and the stream has not brought all of it again. */
bool shard_lacks_vouched(const struct shard_position *p);
bool shard_is_lead(const struct shard_copy *c);
struct follower *shard_follower(struct shard_copy *c, uint64_t node);
void shard_use_settings(struct storage *s, struct shard_copy *c, struct slice encoded);
bool shard_is_available(const struct shard_copy *c);
/* An entry under way changes the settings. What it does to the bodies of superseded versions, which
 * settings let go, is not in overlays. */
bool shard_settings_pending(const struct shard_copy *c);
/* And no settings are under way: what stands in the stream here, and is cut, becomes a branch. */
bool shard_stays_available(const struct shard_copy *c);
/* It ends with entries of an earlier lead that the present one may never have had: they are cut off
 * then, and become branches that rest on what was current when they were made. */
bool shard_tail_may_depart(const struct shard_copy *c);
struct shard_copy *shard_new(struct storage *s, uint64_t id);
void shard_drop(struct storage *s, struct shard_copy *c, struct effects *fx);

/* map.c: placements and collections */
void map_on_push(struct storage *s, const struct event *e, struct effects *fx);
void map_on_request(struct storage *s, const struct event *e, struct effects *fx);
void map_on_shard_newer(struct storage *s, const struct event *e, struct effects *fx);
bool map_adopt(struct storage *s, const struct shard *placement, struct effects *fx);
const struct collection *map_collection(struct storage *s, uint64_t id);
bool map_load_collections(struct storage *s);
/* Ids of collections that were dropped; in the arena. */
uint64_t *map_dropped(struct storage *s, uint32_t *count);
void map_send_newer(struct shard_copy *c, const struct event *to, struct effects *fx);

/* joining.c: joining, heartbeats */
void joining_tick(struct storage *s, struct effects *fx);
void joining_on_join_ack(struct storage *s, const struct event *e, struct effects *fx);
void joining_on_heartbeat_ack(struct storage *s, const struct event *e, struct effects *fx);

/* ring.c: the ring of entries not applied yet */
void ring_push(struct pending_ring *r, uint64_t epoch, struct slice change);
struct pending *ring_at(const struct pending_ring *r, uint64_t number);
void ring_pop_first(struct pending_ring *r);
void ring_pop_last(struct pending_ring *r);
void ring_close(struct pending_ring *r);
/* No more answers may wait. Who asks again for what is under way must not hear that it was
 * refused. */
bool waiters_full(const struct shard_copy *c);
void waiter_add(struct pending_ring *r, struct pending *p, struct waiter *w);
struct waiter *waiter_new(const struct event *e, uint16_t type);
/* `answer`, of this type, goes when the entry is applied, with its status, clock_ms and life as of
 * then, and with no lists if it fails. NULL: it is applied, or 0; nothing was done. */
struct waiter *waiter_await(struct shard_copy *c, const struct event *e, uint64_t number,
			    uint16_t type, const void *answer);
/* A definite refusal that rests on what is under way of a document waits for it, too. False: it is
 * to be sent now, as nothing is, or too many wait: then its status says that it is unknown. */
bool waiter_refuse(struct shard_copy *c, const struct event *e, const struct overlay *o,
		   uint16_t type, const void *answer, uint64_t *status) MUST_CHECK;
void waiter_set_revision(struct waiter *w, const struct revision *r);
void waiter_answer(struct waiter *w, struct effects *fx); /* and frees it */
void waiters_fail(struct pending *p, enum status status, struct effects *fx);

/* stream.c: the stream as this node has it; the lead's side of it */
/* The newest entry, just pushed to the ring: its document and its operation are noted. */
void stream_note_entry(struct storage *s, struct shard_copy *c, uint64_t number);
uint64_t stream_append_change(struct storage *s, struct shard_copy *c, const struct change *change,
			      struct effects *fx);
bool stream_has_room(const struct storage *s, const struct shard_copy *c);
void stream_settle(struct storage *s, struct shard_copy *c, struct effects *fx);
void stream_apply(struct storage *s, struct shard_copy *c, uint64_t settled, struct effects *fx);
/* Goes on with what one turn could not apply. */
void stream_apply_rest(struct storage *s, struct effects *fx);
bool stream_epoch_at(struct storage *s, struct shard_copy *c, uint64_t number,
		     uint64_t *epoch) MUST_CHECK;
/* Of an entry that is kept. 0: it can't be read, which ends the process before anything of this
 * turn is said (common/store/store.h). */
uint64_t stream_epoch_of(struct storage *s, struct shard_copy *c, uint64_t number);
/* Its own bytes, and those inside: settings are kept as they come. */
bool stream_readable(struct storage *s, struct slice encoded, struct change *change);
/* Lends entries from `first` on: slices into the ring or the arena. */
uint32_t stream_entries(struct storage *s, struct shard_copy *c, uint64_t first,
			struct stream_entry **out);
void stream_put_entry(struct storage *s, struct shard_copy *c, uint64_t epoch, struct slice change);
void stream_cut(struct storage *s, struct shard_copy *c, uint64_t after, struct effects *fx);
void stream_trim(struct storage *s, struct shard_copy *c);
void stream_load_kept(struct storage *s, struct shard_copy *c);

/* stream_send.c: to the other replicas, and what they acknowledge */
void stream_turn(struct storage *s, struct shard_copy *c, struct effects *fx);
/* A replica that restarted does not know how far it agrees with us: tell it, if it lags behind what
 * is settled. */
void stream_nudge(struct storage *s, struct shard_copy *c, struct follower *f, struct effects *fx);
void stream_tick(struct storage *s, struct shard_copy *c, struct effects *fx);
void stream_on_ack(struct storage *s, const struct event *e, struct effects *fx);

/* follow.c: the replica's side of the stream */
void follow_on_append(struct storage *s, const struct event *e, struct effects *fx);
void follow_turn(struct storage *s, struct shard_copy *c, struct effects *fx);
/* Entries that can't be read, or of epochs that can't be, would end every replica one day:
 * BAD_MESSAGE. What leads took before they heard that this disk is full goes into the reserve, or
 * it would hang between done and not done; into the last quarter only what a new lead needs to
 * serve reads: DISK_FULL. */
enum status follow_check_entries(struct storage *s, uint64_t previous, uint64_t epoch,
				 const struct stream_entry *entries, uint32_t count);
/* Takes entries after `previous`: skips those held, cuts a departing suffix, stores the rest. */
enum status follow_take(struct storage *s, struct shard_copy *c, const struct position *previous,
			const struct stream_entry *entries, uint32_t count, struct effects *fx);

/* lease.c */
void lease_tick(struct storage *s, struct effects *fx);
void lease_on_renew(struct storage *s, const struct event *e, struct effects *fx);
void lease_on_grant(struct storage *s, const struct event *e, struct effects *fx);
void lease_on_release(struct storage *s, const struct event *e, struct effects *fx);
bool lease_held(const struct storage *s,
		const struct shard_copy *c); /* may this lead answer now? */
void lease_step_down(struct storage *s, struct shard_copy *c, struct effects *fx);
/* May this replica promise to `lead`? 0: yes; else so many ms to wait. */
int64_t lease_wait_ms(const struct storage *s, const struct shard_copy *c, uint64_t lead,
		      uint64_t boot);

/* takeover.c */
void takeover_start(struct storage *s, struct shard_copy *c, struct effects *fx);
void takeover_tick(struct storage *s, struct shard_copy *c, struct effects *fx);
void takeover_on_promise_request(struct storage *s, const struct event *e, struct effects *fx);
void takeover_on_promise_ack(struct storage *s, const struct event *e, struct effects *fx);
void takeover_on_fetch(struct storage *s, const struct event *e, struct effects *fx);
void takeover_on_fetch_ack(struct storage *s, const struct event *e, struct effects *fx);
void takeover_settled(struct storage *s, struct shard_copy *c, struct effects *fx);
void takeover_order_settings(struct storage *s, struct shard_copy *c, struct effects *fx);

/* snapshot.c */
void snapshot_start(struct storage *s, struct shard_copy *c, struct follower *f,
		    struct effects *fx);
void snapshot_stop(struct storage *s, struct follower *f);
/* Takes the copy away, so that snapshot `snapshot` can be received. */
void snapshot_clear(struct storage *s, struct shard_copy *c, uint64_t snapshot, struct effects *fx);
void snapshot_tick(struct storage *s, struct shard_copy *c, struct follower *f, struct effects *fx);
/* Entries up to this number it does not need, if it is copied to in this epoch; else UINT64_MAX. */
uint64_t snapshot_has(const struct follower *f);
/* What was put is committed: copies that waited for that begin. */
void snapshot_stored(struct storage *s, struct effects *fx);
void snapshot_on_chunk(struct storage *s, const struct event *e, struct effects *fx);
void snapshot_on_chunk_ack(struct storage *s, const struct event *e, struct effects *fx);

/* outbox.c */
bool outbox_load(struct storage *s, struct shard_copy *c);
/* cut: the entry that it was; NULL: none. */
void outbox_add(struct storage *s, struct shard_copy *c, const struct change *change,
		const struct position *cut, struct effects *fx);
void outbox_applied(struct storage *s, struct shard_copy *c, const struct change *change);
void outbox_settled(struct storage *s, struct shard_copy *c, struct slice id,
		    const struct revision *revision);
void outbox_tick(struct storage *s, struct shard_copy *c, struct effects *fx);
void outbox_on_push(struct storage *s, const struct event *e, struct effects *fx);
bool outbox_holds(const struct shard_copy *c, struct slice id);
/* NULL: none. Until the outbox changes. */
struct outbox_item *outbox_find(struct shard_copy *c, struct slice id,
				const struct revision *revision);
struct outbox_item *outbox_at(struct shard_copy *c, uint64_t sequence);
/* Of any branch that waits. */
bool outbox_names_attachments(const struct shard_copy *c);
/* For how long its oldest branch has waited, by the wall clock; 0: none does. */
uint64_t outbox_oldest_ms(const struct storage *s, const struct shard_copy *c);
/* Sets the flag of each document that it holds a branch of. ids: document id -> bool*. */
void outbox_mark(const struct shard_copy *c, const struct map *ids);
void outbox_free(struct shard_copy *c);

/* document.c: records and bodies, with or without pending entries */
struct document_view {
	struct storage *storage;
	struct shard_copy *copy;
	struct slice id;
	struct overlay *overlay; /* NULL: as applied */
	struct slice record;     /* as read from the store; empty: none there */
	bool exists;
	struct document doc;       /* lists in storage->arena, or lent by: */
	const struct large *large; /* NULL: nobody */
	bool reshaped;             /* by edits: what is lent can't follow */
	/* mark that an earlier document of this id left; NULL: none, or of no interest */
	const struct purged *purged;
};
/* As applied. */
void document_load(struct storage *s, struct shard_copy *c, struct slice id,
		   struct document_view *out);
/* As it will be when all pending entries are applied (lead only). */
void document_load_pending(struct storage *s, struct shard_copy *c, struct slice id,
			   struct document_view *out);
/* As applied, then this replica's own outbox. */
void document_load_outbox(struct storage *s, struct shard_copy *c, struct slice id,
			  struct document_view *out);
void document_free_outbox(struct storage *s);
/* Body of a node: empty if it is not kept. In the arena or the record. */
struct slice document_body(struct document_view *v, uint32_t index);
/* Likewise, where the caller knows the winner: finding it walks the graph. */
struct slice document_body_beside(struct document_view *v, uint32_t index, int winner);
/* True if these are all live leaves, each named once. */
bool document_leaves_are(const struct document *doc, const struct revision *leaves, uint32_t count,
			 struct arena *arena);
/* True if the id may be part of a key. */
bool document_id_ok(struct slice id);
/* OK, or why this document can't take one more revision; branch: one more leaf. */
enum status document_room(const struct document *doc, bool branch);
/* The mark that an earlier document of this id left, or is about to; false: none is known. */
bool document_mark(struct document_view *v, struct purged *out) MUST_CHECK;
/* Sets view->purged, for edit_apply of this change. */
void document_find_mark(struct document_view *v, const struct change *change);
void overlay_touch(struct storage *s, struct shard_copy *c, struct slice id, uint64_t number);
void overlay_forget(struct shard_copy *c, struct slice id, uint64_t applied);
void overlays_clear(struct shard_copy *c);
/* Is the cleanup of this resolution among the entries under way that its document was loaded with?
 * o may be NULL. */
bool overlay_cleans(const struct overlay *o, struct slice resolution_id);
/* Is a resolution of this id made anew among them, behind the item's? */
bool overlay_resolves(const struct overlay *o, const struct cleanup_item *item);

/* edit.c: what a change does to a document; pure but for reading bodies through the view */
struct body_edit {
	struct revision revision;
	struct slice body; /* empty: remove */
};
struct document_edit {
	bool changed;             /* false: the change is a no-op */
	struct body_edit *bodies; /* bodies outside the record */
	uint32_t bodies_count;
	bool was_live, is_live, existed;
	bool was_conflict, is_conflict;
	struct slice resolution_gone; /* CLEANUP: resolution id whose entry goes */
	bool resolved;                /* RESOLVE: an entry is to be written */
	struct revision *losers;
	uint32_t losers_count;
	struct revision *pinned;
	uint32_t pinned_count;
	struct operation *operations; /* they go from the record to keys of their own */
	uint32_t operations_count;
	bool late;                /* BRANCH: it does not know that the document was deleted */
	bool purged;              /* PURGE: nothing is left of the document */
	struct revision deletion; /* PURGE: what readers saw last */
	bool erased;              /* ERASE: nothing is left of the document */
	bool reshaped;            /* it did more than add revisions */
};
/* Changes view->doc in place (lists may move into the arena). resolved: the 'r' entry of a
 * CLEANUP, else NULL. */
void edit_apply(struct document_view *view, const struct change *change, uint64_t number,
		const struct conflict *resolved, struct document_edit *out);

/* apply.c */
void apply_change(struct storage *s, struct shard_copy *c, uint64_t number, struct slice encoded,
		  struct effects *fx);

/* read.c, query.c */
/* May this replica answer now what reads settled state? c: NULL if it has no copy. any: whether it
 * is the lead does not matter. Whoever asks under an older placement is sent the newer one. */
enum status read_allowed(struct storage *s, struct shard_copy *c, const struct event *e, bool any,
			 struct effects *fx);
void read_on_doc_read(struct storage *s, const struct event *e, struct effects *fx);
void read_on_shard_served(struct storage *s, const struct event *e, struct effects *fx);
void query_on_shard_query(struct storage *s, const struct event *e, struct effects *fx);
void query_run_jobs(struct storage *s, struct effects *fx);
void query_free_jobs(struct storage *s);

/* conflict.c, cleanup.c */
void conflict_on_list(struct storage *s, const struct event *e, struct effects *fx);
void conflict_on_read(struct storage *s, const struct event *e, struct effects *fx);
void conflict_on_resolve(struct storage *s, const struct event *e, struct effects *fx);
void conflict_on_note(struct storage *s, const struct event *e, struct effects *fx);
void conflict_notes_clear(struct shard_copy *c);
/* An arbiter's request tells whom cleanup waits for; any answer repeats it. */
void cleanup_take_wait(struct storage *s, struct shard_copy *c, const struct msg_conflict_list *m);
void cleanup_tell_wait(struct storage *s, struct shard_copy *c, struct msg_conflict_list_ack *ack);
void cleanup_on_prepare(struct storage *s, const struct event *e, struct effects *fx);
void cleanup_on_commit(struct storage *s, const struct event *e, struct effects *fx);

#endif
