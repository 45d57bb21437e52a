/* JSON text <-> MessagePack, once each way, at the gateway; storage nodes use it for what functions
 * of views take and give. simdjson reads, std::to_chars prints; the only C++.
 *
 * Values survive a round trip: 64-bit integers exact; other numbers as a double if the double's
 * shortest decimal form has the same value as the text, else kept as text (MP_EXT_NUMBER); member
 * order kept. */
#ifndef PARLEY_DOC_JSON_H
#define PARLEY_DOC_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/slice.h"
#include "proto/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Parser memory, reused from call to call. One per thread. */
struct json_parser;
struct json_parser *json_parser_new(void);
void json_parser_free(struct json_parser *parser);

struct json_error {
	enum status
	    status;      /* INVALID_JSON, JSON_TOO_DEEP, DUPLICATE_KEY, INVALID_UTF8, EMPTY_BODY */
	size_t offset;   /* byte of the text, as near as is known */
	char place[128]; /* a JSON pointer such as /a/0/b, cut if long; may be empty */
};

/* To compare a number takes as long as its text is, with each of a list of millions of others. */
enum { JSON_NUMBER_TEXT_MAX = 1000 };

/* Appends the value as MessagePack. At most LIMIT_JSON_DEPTH levels; duplicate keys refused at any
 * level (also keys that are equal only after unescaping); lone surrogates and numbers of more than
 * JSON_NUMBER_TEXT_MAX characters refused; nothing may follow the value but white space. False: out
 * is as before and *error says where and why. */
bool json_to_msgpack(struct json_parser *parser, struct slice text, struct buf *out,
		     struct json_error *error) MUST_CHECK;

/* Appends compact JSON. False on bytes that are no valid document value (out is as before). */
bool json_from_msgpack(struct slice value, struct buf *out) MUST_CHECK;

/* The same of a map, with extra members first: used to put "id" into a document. `id` may be empty:
 * then none. */
bool json_document(struct slice id, struct slice body, struct buf *out) MUST_CHECK;

/* Appends a JSON string, quoted and escaped. Invalid UTF-8 becomes U+FFFD. */
void json_string(struct slice text, struct buf *out);
/* The shortest decimal form that is this finite double, always with a point or an exponent. */
void json_number(double value, struct buf *out);
enum { JSON_NUMBER_CHARS = 32 };
/* The same into memory of the caller; returns the length, without a NUL. */
size_t json_number_text(double value, char out[JSON_NUMBER_CHARS]);
/* Appends the number of a JSON text as MessagePack. False: it is none; out is as before. */
bool json_number_value(struct slice text, struct buf *out) MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif
