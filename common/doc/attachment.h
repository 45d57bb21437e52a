/* Attachments: a body's member `_attachments` is a map from name to what is known of each, and the
 * bytes are kept once under the name of their content.
 *
 *   {"photo.png": {"content_type": "image/png", "revpos": 2, "digest": "md5-...", "length": 4711,
 *                  "content": "<64 hexadecimal digits>"}}
 *
 * So revisions, merges, branches and undo carry them as they carry all members. A content's name
 * is SHA-256(chain || length as 8 bytes, big endian), where chain begins with 32 zeros and becomes
 * SHA-256(chain || SHA-256(chunk)) with each chunk of LIMIT_CHUNK_BYTES, the last being what is
 * left: whoever stores it can check it chunk by chunk, and nobody can make one content stand for
 * another. The digest is the MD5 that CouchDB's clients look at. */
#ifndef PARLEY_DOC_ATTACHMENT_H
#define PARLEY_DOC_ATTACHMENT_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "proto/msgpack.h"

#define ATTACHMENTS_MEMBER "_attachments"

enum { CONTENT_BYTES = 32, CONTENT_CHARS = 64, MD5_BYTES = 16 };
enum { STUB_MEMBERS = 5 }; /* in the form above */

struct attachment_stub {
	struct slice name;
	struct slice type;   /* empty: none was given */
	struct slice digest; /* "md5-" and Base64 */
	uint64_t length;
	uint64_t revpos; /* generation of the revision that it came with */
	uint8_t content[CONTENT_BYTES];
};

/* The member's value; empty: the body has none. Quick for bodies that have none. */
struct slice attachments_of(struct slice body);
/* Walks a member's value. What is no stub is passed over. */
struct attachments {
	struct mp_reader reader;
	uint32_t left;
};
struct attachments attachments_begin(struct slice member);
bool attachments_next(struct attachments *walk, struct attachment_stub *out);
bool attachment_find(struct slice member, struct slice name, struct attachment_stub *out);
/* False: it is not in the form above. */
bool attachment_parse(struct slice value, struct attachment_stub *out) MUST_CHECK;
/* Attachments that a body names, to be looked for in others, which must say the same of each but
 * for its type. False: its member is none in the form above, or has too many. */
struct attachments_wanted {
	struct attachment_stub *stubs;
	bool *found;
	uint32_t count;
	struct slice wrong; /* where one of these says false: the name of the first that is not in
			     * that form, or not found; empty: the member itself is wrong */
};
bool attachments_want(struct slice body, struct arena *arena,
		      struct attachments_wanted *out) MUST_CHECK;
void attachments_look(struct attachments_wanted *wanted, struct slice body);
bool attachments_all_found(struct attachments_wanted *wanted);
/* Without the name. */
void attachment_write(const struct attachment_stub *stub, struct buf *out);
/* The same attachment, wherever it came in? Both values as stored, or something else. */
bool attachment_same(struct slice a, struct slice b);
void attachment_md5(struct slice bytes, uint8_t out[MD5_BYTES]);
/* The same of bytes that come one after another. */
struct md5;
struct md5 *md5_new(void);
void md5_add(struct md5 *m, struct slice bytes);
void md5_end(struct md5 *m, uint8_t out[MD5_BYTES]);
void md5_free(struct md5 *m);
/* "md5-" and Base64. */
void attachment_digest(const uint8_t md5[MD5_BYTES], struct buf *out);

/* Names of contents and uploads as they are written: lower-case hexadecimal digits of so many
 * bytes. */
bool attachment_hex(struct slice text, uint8_t *out, size_t bytes) MUST_CHECK;

void content_chain(uint8_t chain[CONTENT_BYTES], struct slice chunk);
void content_name(const uint8_t chain[CONTENT_BYTES], uint64_t length, uint8_t out[CONTENT_BYTES]);
static inline uint64_t content_chunks(uint64_t length, uint64_t chunk_bytes)
{
	return length == 0 ? 1 : (length - 1) / chunk_bytes + 1;
}

#endif
