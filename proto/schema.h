/* Messages and stored structures as C: plain structs made from messages.def, one generic encoder and one
 * generic decoder that walk descriptor rows.
 *
 * Decoded structs borrow: slices point into the bytes decoded, lists live in the arena given. They are valid
 * as long as both are. Encoding copies. */
#ifndef PARLEY_PROTO_SCHEMA_H
#define PARLEY_PROTO_SCHEMA_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/slice.h"
#include "proto/enums.h"
#include "proto/status.h"

/* ---- structs, from the table ---- */

#define SCHEMA_C_u64 uint64_t
#define SCHEMA_C_i64 int64_t
#define SCHEMA_C_flag bool
#define SCHEMA_C_bin struct slice

#define MESSAGE(name, number, senders, receivers, doc) struct msg_##name {
#define STRUCT(name, doc) struct name {
#define FIELD(owner, number, type, name, need, limit, doc) SCHEMA_C_##type name;
#define ITEM(owner, number, type, name, need, doc) struct type name;
#define LIST(owner, number, type, name, need, limit, doc) \
	struct type *name;                                 \
	uint32_t name##_count;
#define LIST_U64(owner, number, name, need, limit, doc) \
	uint64_t *name;                                  \
	uint32_t name##_count;
#define LIST_BIN(owner, number, name, need, limit, bytes, doc) \
	struct slice *name;                                     \
	uint32_t name##_count;
#define END(name) \
	}         \
	;
#include "proto/messages.def"
#undef MESSAGE
#undef STRUCT
#undef FIELD
#undef ITEM
#undef LIST
#undef LIST_U64
#undef LIST_BIN
#undef END

enum message_number {
	MSG_NONE = 0,
#define MESSAGE(name, number, senders, receivers, doc) MSG_##name = (number),
#define STRUCT(name, doc)
#define FIELD(owner, number, type, name, need, limit, doc)
#define ITEM(owner, number, type, name, need, doc)
#define LIST(owner, number, type, name, need, limit, doc)
#define LIST_U64(owner, number, name, need, limit, doc)
#define LIST_BIN(owner, number, name, need, limit, bytes, doc)
#define END(name)
#include "proto/messages.def"
#undef MESSAGE
#undef STRUCT
#undef FIELD
#undef ITEM
#undef LIST
#undef LIST_U64
#undef LIST_BIN
#undef END
	MSG_NUMBER_MAX = 255
};

/* ---- descriptors ---- */

enum schema_type {
	SCHEMA_U64,
	SCHEMA_I64,
	SCHEMA_FLAG,
	SCHEMA_BIN,
	SCHEMA_ITEM,
	SCHEMA_LIST,
	SCHEMA_LIST_U64,
	SCHEMA_LIST_BIN
};

struct schema_field {
	const char *name;
	const char *doc;
	uint8_t number;
	uint8_t type; /* enum schema_type */
	bool required;
	uint64_t limit;       /* greatest value, bytes, or members */
	uint64_t limit_bytes; /* LIST_BIN: bytes of each */
	size_t offset;
	size_t count_offset; /* lists */
	const struct schema *nested;
};

struct schema {
	const char *name;
	const char *doc;
	uint16_t number;    /* of a message, else 0 */
	uint16_t senders;   /* sets of R_* */
	uint16_t receivers; /* sets of R_* */
	size_t size;        /* of the C struct */
	const struct schema_field *fields;
	uint32_t fields_count;
};

/* schema_<name> for a STRUCT, schema_msg_<name> for a MESSAGE */
#define MESSAGE(name, number, senders, receivers, doc) extern const struct schema schema_msg_##name;
#define STRUCT(name, doc) extern const struct schema schema_##name;
#define FIELD(owner, number, type, name, need, limit, doc)
#define ITEM(owner, number, type, name, need, doc)
#define LIST(owner, number, type, name, need, limit, doc)
#define LIST_U64(owner, number, name, need, limit, doc)
#define LIST_BIN(owner, number, name, need, limit, bytes, doc)
#define END(name)
#include "proto/messages.def"
#undef MESSAGE
#undef STRUCT
#undef FIELD
#undef ITEM
#undef LIST
#undef LIST_U64
#undef LIST_BIN
#undef END

/* NULL for a number that no message has. */
const struct schema *schema_of_message(uint16_t number);
/* All messages, then all structs; ended by NULL. For documentation, fuzzers and random messages. */
extern const struct schema *const schema_all[];

/* Appends the encoding of *value. A value that breaks a limit of its row is a bug of ours (CHECK). */
void schema_encode(const struct schema *schema, const void *value, struct buf *out);

/* Would both be encoded alike? */
bool schema_same(const struct schema *schema, const void *a, const void *b);

/* Fills *value (zeroed first). Checks types, limits, required fields, ascending order, trailing bytes and
 * depth; returns false with nothing usable in *value when the bytes are not a valid encoding. */
bool schema_decode(const struct schema *schema, struct slice bytes, struct arena *arena, void *value) MUST_CHECK;

/* One line of text, stable, for traces and golden files: name{field=value ...}; bin as text where printable,
 * else hex, cut at 32 bytes. */
void schema_print(const struct schema *schema, const void *value, struct buf *out);

/* ---- frames and envelopes ---- */

/* What stands before each message in a frame. */
struct envelope {
	uint16_t type;       /* enum message_number */
	uint64_t request_id; /* the sender's number for this exchange; answers repeat it; 0: no answer expected */
	uint64_t epoch;      /* of the shard concerned; 0: none */
	uint8_t trace_id[16]; /* W3C trace id; all zero: none */
};

/* A frame is what one ZeroMQ message carries: a header, then any number of messages.
 * Header: 'P' 'Y' major minor, cluster id (8 bytes big endian): the first four bytes never change between
 * major versions, so that a refusal can always be said in words.
 * Each message: a MessagePack array [type, request id, epoch, trace id (bin, empty or 16), body (bin)]. */
enum { FRAME_HEADER_BYTES = 12 };

void frame_begin(struct buf *frame, uint64_t cluster);
/* Appends one message; schema is that of envelope->type. */
void frame_append(struct buf *frame, const struct envelope *envelope, const void *message);
/* The same of a message that is encoded already. */
void frame_append_raw(struct buf *frame, const struct envelope *envelope, struct slice body);

enum frame_problem { FRAME_OK = 0, FRAME_MALFORMED, FRAME_OTHER_MAJOR, FRAME_OTHER_CLUSTER, FRAME_END };

struct frame_reader {
	struct slice bytes;
	size_t at;
	uint8_t major;
	uint8_t minor;
	uint64_t cluster;
};

/* Checks the header; cluster 0 accepts any. */
enum frame_problem frame_open(struct frame_reader *r, struct slice bytes, uint64_t cluster) MUST_CHECK;
/* The next message: FRAME_OK with *envelope and *body filled, FRAME_END, or FRAME_MALFORMED. */
enum frame_problem frame_next(struct frame_reader *r, struct envelope *envelope, struct slice *body) MUST_CHECK;

/* May a `sender` send this to a `receiver`? Unknown types: no. */
bool message_allowed(uint16_t type, enum role sender, enum role receiver);

#endif
