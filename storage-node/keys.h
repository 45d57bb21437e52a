/* The on-disk format, STORE_FORMAT 2.
 *
 * Integers in keys are big endian, so that keys sort by number. Values are structs of
 * proto/messages.def in their encoding, unless said otherwise. Every key of a shard starts with a
 * letter and the shard's id: dropping a shard is a range removal per letter. Shard ids are never
 * reused. Documents are placed by XXH3-64 (common/doc/shard_hash.h).
 *
 *   family      key                                       value
 *   META        "identity"                                node_identity (written by the shell)
 *   META        "trail"                                   trail
 *   META        'c' collection id                         collection, newest known from the map
 *   META        'd' collection id                         nothing: it was dropped
 *   META        's' shard id                              shard: placement adopted
 *   META        'p' shard id                              shard_promise
 *   META        'x' shard id                              shard_position
 *   META        'g' shard id                              collection: as ordered in the stream
 *   META        'b' shard id                              stream_kept
 *   META        't' shard id, edit id                     edit_record
 *   META        'n' shard id, index id                    index_state
 *   META        'r' shard id, number                      change: a refusal, while remembered
 *   META        'w' shard id, signature                   view_state
 *   DOCUMENTS   'd' shard id, document id, 0              document
 *   DOCUMENTS   'd' shard id, document id, 0, 1, revision body (MessagePack map) of a revision
 *                                                         that is not the winner
 *   DOCUMENTS   'd' shard id, document id, 0, 2, op id    operation: a client's, older than those
 *                                                         in the record
 *   DOCUMENTS   'd' shard id, document id, 0, 3, sequence operation id, then its stamp (8 bytes)
 *   STREAM      'e' shard id, number                      epoch (8 bytes), then change
 *   STREAM      'v' shard id, number                      nothing: this write had no effect; or
 *                                                         what it did to a conflict, a byte each:
 *                                                         conflict_event, conflict_kind
 *   STREAM      'o' shard id, sequence                    outbox_entry
 *   STREAM      'z' shard id, wall ms, number             discarded: epoch (8 bytes), then change
 *   CONFLICTS   'd' shard id, document id, 0, 'o'         conflict, open
 *   CONFLICTS   'd' shard id, document id, 0, 'r', rid    conflict, resolved, until its cleanup
 *   CONFLICTS   'd' shard id, 0, 'e'                      epoch_starts
 *   CONFLICTS   'd' shard id, 0, 'h', number              conflict, resolved: of the history
 *   CONFLICTS   'd' shard id, 0, 'l', lock id             shard_lock: held; here, as it then
 *                                                         travels in snapshots
 *   CONFLICTS   'd' shard id, 0, 't', number              tombstone: of the document whose last
 *                                                         change this is, and which is deleted
 *   CONFLICTS   'd' shard id, 0, 's', number              latest: the document whose last change
 *                                                         this is
 *   CONFLICTS   'd' shard id, 0, 'p', hash of document id purged: mark of a document that is gone
 *   CONFLICTS   'd' shard id, 0, 'q', sequence            the hash whose mark that is, or was
 *   CONFLICTS   'd' shard id, 0, 'c', name                checkpoint
 *   ATTACHMENTS 'd' shard id, 'c', content                attachment
 *   ATTACHMENTS 'd' shard id, 'k', source, number         a chunk (4 bytes of number)
 *   ATTACHMENTS 'd' shard id, 'u', upload id              upload
 *   INDEXES     'i' shard id, index id, values, 0,        nothing; values as in
 *                 document id                             common/doc/index_key.h
 *   INDEXES     'w' shard id, signature, 'r', place       row of a view: key, value (MessagePack);
 *                                                         place as in view_range
 *   INDEXES     'w' shard id, signature, 'd', document id places of its rows, each behind its
 *                                                         length (4 bytes)
 *
 * A shard_position carries the shard's digest: the sum, modulo 2^64, of digest_pair (digest.h) over
 * all its pairs of DOCUMENTS, CONFLICTS and ATTACHMENTS. Positions of older versions lack it: the
 * first scrub adds it.
 *
 * Records of older versions list all operation ids (up to 1,024): they move to keys with the next
 * one that comes.
 *
 * Document ids hold no control characters, so 0 ends them; none is empty. */
#ifndef PARLEY_STORAGE_KEYS_H
#define PARLEY_STORAGE_KEYS_H

#include "common/base/buf.h"
#include "proto/schema.h"

enum {
	KEY_SHARD_BYTES = 9,   /* letter and shard id */
	KEY_INDEX_BYTES = 17,  /* and index id */
	KEY_LOCK_BYTES = 11,   /* before the lock id */
	KEY_BESIDE_BYTES = 11, /* before what tells one of no document from others of its kind */
	LOCK_ID_BYTES = 16,
	KEY_SEQUENCE_VALUE_BYTES = 24 /* operation id and stamp */
};

/* Each clears `out`, builds the key there and returns it; valid until out changes. */
struct slice key_shard(struct buf *out, char letter, uint64_t shard);
struct slice key_number(struct buf *out, char letter, uint64_t shard, uint64_t number);
struct slice key_discarded(struct buf *out, uint64_t shard, uint64_t wall_ms, uint64_t number);
struct slice key_document(struct buf *out, uint64_t shard, struct slice id);
struct slice key_body(struct buf *out, uint64_t shard, struct slice id,
		      const struct revision *revision);
struct slice key_operation(struct buf *out, uint64_t shard, struct slice id,
			   struct slice operation_id);
struct slice key_operation_sequence(struct buf *out, uint64_t shard, struct slice id,
				    uint64_t sequence);
struct slice key_conflict_open(struct buf *out, uint64_t shard, struct slice id);
struct slice key_conflict_resolved(struct buf *out, uint64_t shard, struct slice id,
				   struct slice resolution_id);
struct slice key_epochs(struct buf *out, uint64_t shard);
struct slice key_history(struct buf *out, uint64_t shard, uint64_t sequence);
struct slice key_tombstone(struct buf *out, uint64_t shard, uint64_t number);
struct slice key_latest(struct buf *out, uint64_t shard, uint64_t number);
struct slice key_purged(struct buf *out, uint64_t shard, struct slice id);
struct slice key_purged_hash(struct buf *out, uint64_t shard, uint64_t hash);
struct slice key_purged_sequence(struct buf *out, uint64_t shard, uint64_t sequence);
struct slice key_checkpoint(struct buf *out, uint64_t shard, struct slice name);
/* Before all keys of CONFLICTS that are some document's, and behind those that are none's. */
struct slice key_conflicts(struct buf *out, uint64_t shard);
struct slice key_lock(struct buf *out, uint64_t shard, struct slice lock_id);
/* First key after all of a document's keys. */
struct slice key_document_end(struct buf *out, uint64_t shard, struct slice id);
/* First key after all of this letter and shard; for a shard id of all ones the next letter. */
struct slice key_shard_end(struct buf *out, char letter, uint64_t shard);

/* Of ATTACHMENTS. */
struct slice key_content(struct buf *out, uint64_t shard, struct slice content);
struct slice key_chunk(struct buf *out, uint64_t shard, uint64_t source, uint32_t number);
struct slice key_upload(struct buf *out, uint64_t shard, struct slice upload);
/* What its value is. NULL: a chunk; *known is false if it is no key of that family. */
const struct schema *key_attachments_schema(struct slice key, bool *known);

/* What all keys of an index begin with, and the first key after them. */
struct slice key_index(struct buf *out, uint64_t shard, uint64_t index);
struct slice key_index_end(struct buf *out, uint64_t shard, uint64_t index);
/* Where an index's build is remembered, in META. */
struct slice key_index_state(struct buf *out, uint64_t shard, uint64_t index);
/* The document id at the end of a key of INDEXES. */
struct slice key_index_document(struct slice key);

/* Of a key of CONFLICTS, split: what its value is. NULL: the hash of a document id. */
const struct schema *key_conflicts_schema(struct slice id, struct slice rest);

/* Of a key of DOCUMENTS, split: what its value is. */
enum key_part { KEY_PART_RECORD, KEY_PART_BODY, KEY_PART_OPERATION, KEY_PART_SEQUENCE };
enum key_part key_part_of(struct slice rest);

/* The document id inside a key of DOCUMENTS or CONFLICTS, and what follows its 0; false: not such a
 * key. */
bool key_split(struct slice key, struct slice *id, struct slice *rest) MUST_CHECK;

#endif
