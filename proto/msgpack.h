/* MessagePack, bounded: a writer over MessagePack-C's packer and a reader that walks bytes in
 * place. The only door to MessagePack in the tree: schema.c uses it for messages, common/doc for
 * documents.
 *
 * Documents use nil, boolean, integers, float 64, str, array, map, and one extension: MP_EXT_NUMBER
 * (type 1), a JSON number kept as its text because neither a 64-bit integer nor a double holds it
 * exactly. */
#ifndef PARLEY_PROTO_MSGPACK_H
#define PARLEY_PROTO_MSGPACK_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/slice.h"

enum { MP_EXT_NUMBER = 1 };

void mp_write_nil(struct buf *out);
void mp_write_bool(struct buf *out, bool v);
void mp_write_u64(struct buf *out, uint64_t v);
void mp_write_i64(struct buf *out,
		  int64_t v); /* the shortest form; >= 0 is the same as mp_write_u64 */
void mp_write_double(struct buf *out, double v);
void mp_write_str(struct buf *out, struct slice text);
void mp_write_text(struct buf *out, const char *text);
void mp_write_bin(struct buf *out, struct slice bytes);
void mp_write_array(struct buf *out, uint32_t count);
void mp_write_map(struct buf *out, uint32_t count);
void mp_write_ext(struct buf *out, int8_t type, struct slice bytes);

enum mp_type {
	MP_INVALID = 0, /* truncated, or a byte MessagePack does not define */
	MP_NIL,
	MP_BOOL,
	MP_UINT, /* u64 */
	MP_INT,  /* i64, negative */
	MP_DOUBLE,
	MP_STR,
	MP_BIN,
	MP_ARRAY, /* count members follow */
	MP_MAP,   /* count pairs follow */
	MP_EXT
};

/* One token. */
struct mp_token {
	enum mp_type type;
	union {
		bool flag;
		uint64_t u64;
		int64_t i64;
		double number;
		struct slice bytes; /* STR, BIN, EXT: points into the input */
		uint32_t count;     /* ARRAY, MAP; never more than the input could still hold */
	};
	int8_t ext_type;
};

/* A position in borrowed bytes. */
struct mp_reader {
	const uint8_t *at;
	const uint8_t *end;
};

static inline struct mp_reader mp_reader_of(struct slice bytes)
{
	/* No arithmetic on the NULL of an empty slice. */
	return (struct mp_reader){bytes.data, bytes.len ? bytes.data + bytes.len : bytes.data};
}

static inline bool mp_at_end(const struct mp_reader *r)
{
	return r->at == r->end;
}

/* What the inline functions below leave to msgpack.c: heads of more than one byte, containers, bad
 * bytes. Call those. */
struct mp_token mp_read_long(struct mp_reader *r);
bool mp_skip_long(struct mp_reader *r);
bool mp_read_uint_long(struct mp_reader *r, uint64_t *out);
/* By head: bytes of a value whose head alone tells its length; 0 for the others. */
extern const uint8_t mp_bytes_by_head[256];

/* Reads one token (of a container only its head). MP_INVALID at the end or on bad bytes; the reader
 * then stays where it was. Lengths are compared with what remains before any use. */
static inline struct mp_token mp_read(struct mp_reader *r)
{
	struct mp_token t;
	t.type = MP_INVALID;
	t.bytes = slice_of(NULL, 0);
	t.ext_type = 0;
	if (r->at == r->end)
		return t;
	uint8_t head = *r->at;
	size_t len = head & 31u;
	if (head < 0x80) {
		r->at++;
		t.type = MP_UINT;
		t.u64 = head;
		return t;
	}
	if (head >= 0xa0 && head < 0xc0 && len < (size_t)(r->end - r->at)) {
		t.type = MP_STR;
		t.bytes = slice_of(r->at + 1, len);
		r->at += len + 1;
		return t;
	}
	return mp_read_long(r);
}

/* The next token, which has to be of this kind: false if not, and the reader may then stand behind
 * it. What most of a message is made of, at less cost than a token. */
MUST_CHECK static inline bool mp_read_uint(struct mp_reader *r, uint64_t *out)
{
	if (r->at == r->end || *r->at >= 0x80)
		return mp_read_uint_long(r, out);
	*out = *r->at++;
	return true;
}
MUST_CHECK bool mp_read_bin(struct mp_reader *r, struct slice *out);
MUST_CHECK bool mp_read_map(struct mp_reader *r, uint32_t *count);

/* The type of the next token without reading it. */
static inline enum mp_type mp_peek(const struct mp_reader *r)
{
	struct mp_reader ahead = *r;
	return mp_read(&ahead).type;
}

/* Steps over one whole value; false on bad bytes or more than LIMIT_JSON_DEPTH + 28 levels. */
MUST_CHECK static inline bool mp_skip(struct mp_reader *r)
{
	size_t bytes = r->at == r->end ? 0 : mp_bytes_by_head[*r->at];
	if (bytes == 0 || bytes > (size_t)(r->end - r->at))
		return mp_skip_long(r);
	r->at += bytes;
	return true;
}

/* Steps over one whole value and gives its bytes; empty on bad bytes. */
struct slice mp_value(struct mp_reader *r);
/* True if the bytes are exactly one valid value. */
bool mp_valid(struct slice bytes);

#endif
