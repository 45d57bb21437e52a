#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>
#include <simdjson.h>
#include <string_view>
#include <system_error>

/* C's headers, as C++ sees them: its word for functions that do not return is another, and a
 * function may not share its name with a struct without a warning. */
#define _Noreturn [[noreturn]]
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
extern "C" {
#include "common/base/memory.h"
#include "common/doc/container.h"
#include "common/doc/json.h"
#include "common/doc/number.h"
#include "common/doc/utf8.h"
#include "proto/enums.h"
#include "proto/msgpack.h"
}
#pragma GCC diagnostic pop

namespace ondemand = simdjson::ondemand;

/* Objects of at most so many members look for a duplicate key pairwise, others by sorting. */
enum { FEW_KEYS = 16 };
/* Memory for larger texts is given back after use. */
enum { KEEP_BYTES = 1024 * 1024 };
/* Any decimal of so many digits, far from the ends of the range, is the shortest form of its
 * double. */
enum { SURE_DIGITS = 15, SURE_MAGNITUDE = 300, DOUBLE_DIGITS_MAX = 17 };

/* Below 2^53 every integer is a double. */
static const double EXACT_INTEGERS = 9007199254740992.0;

/* A key of an object that is being read; compared by print first. */
struct key_slot {
	uint64_t print;
	struct slice key;
};

/* Where the reader stands in one container. */
struct frame {
	bool object;
	uint32_t index;
	struct slice key;
};

struct json_parser {
	ondemand::parser simd;
	struct buf padded;     /* '[' text ']' and the padding that simdjson may read */
	struct key_slot *keys; /* of all objects that are open, outermost first */
	size_t keys_count;
	size_t keys_cap;
	struct frame frames[LIMIT_JSON_DEPTH];
	unsigned level;
	const char *at; /* the name or value that was begun last */
	ondemand::document *doc;
	struct buf *out;
	struct json_error *error;
};

struct json_parser *json_parser_new(void)
{
	return new (mem_alloc(sizeof(struct json_parser))) json_parser();
}

static void release_memory(struct json_parser *p)
{
	p->simd = ondemand::parser();
	buf_close(&p->padded);
	free(p->keys);
	p->keys = nullptr;
	p->keys_cap = 0;
}

void json_parser_free(struct json_parser *parser)
{
	if (!parser)
		return;
	release_memory(parser);
	parser->~json_parser();
	free(parser);
}

static struct slice slice_of_view(std::string_view v)
{
	return slice_of(v.data(), v.size());
}

/* ---- errors ---- */

struct place {
	char *at;
	size_t left; /* without the terminating NUL */
};

/* False, with nothing added, when there is no room: a pointer is cut between characters. */
static bool place_add(struct place *p, const void *bytes, size_t len)
{
	if (len > p->left)
		return false;
	memcpy(p->at, bytes, len);
	p->at += len;
	p->left -= len;
	return true;
}

/* RFC 6901 */
static bool place_add_key(struct place *p, struct slice key)
{
	size_t len;
	for (size_t i = 0; i < key.len; i += len) {
		len = utf8_char(key.data + i, key.len - i);
		if (len == 0)
			return false;
		bool done = key.data[i] == '~'   ? place_add(p, "~0", 2)
			    : key.data[i] == '/' ? place_add(p, "~1", 2)
						 : place_add(p, key.data + i, len);
		if (!done)
			return false;
	}
	return true;
}

static void write_place(const struct json_parser *p, char *out, size_t cap)
{
	struct place place = {out, cap - 1};
	bool room = true;
	for (unsigned i = 0; room && i < p->level; i++) {
		const struct frame *f = &p->frames[i];
		if (f->object && !f->key.data)
			break; /* none of its members */
		char digits[12];
		auto end = std::to_chars(digits, digits + sizeof digits, f->index).ptr;
		room = place_add(&place, "/", 1) &&
		       (f->object ? place_add_key(&place, f->key)
				  : place_add(&place, digits, (size_t)(end - digits)));
	}
	*place.at = 0;
}

/* Always false, so that callers can return it. The text starts at the second byte of the padded
 * copy. */
static bool fail(struct json_parser *p, enum status status)
{
	p->error->status = status;
	size_t offset = (size_t)(p->at - (const char *)p->padded.data);
	size_t end = p->padded.len - 2;
	offset = offset > 0 ? offset - 1 : 0;
	p->error->offset = offset < end ? offset : end;
	write_place(p, p->error->place, sizeof p->error->place);
	return false;
}

/* What stands where the reader stopped belongs to no value, or ends one too early. */
static bool fail_between(struct json_parser *p)
{
	const char *at;
	if (!p->doc->current_location().get(at))
		p->at = at;
	if (p->level > 0 && p->frames[p->level - 1].object)
		p->frames[p->level - 1].key = slice_of(nullptr, 0);
	return fail(p, STATUS_INVALID_JSON);
}

/* ---- numbers ---- */

static uint64_t load(const uint8_t *at, size_t bytes)
{
	uint64_t v = 0;
	memcpy(&v, at, bytes);
	return v;
}

/* False if the integer needs more than 64 bits. */
static bool put_integer(const struct number_text *n, struct slice token, struct buf *out)
{
	if (token.len > 20)
		return false;
	uint64_t value = 0;
	for (size_t i = n->negative; i < token.len; i++) {
		unsigned digit = token.data[i] - '0';
		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	if (!n->negative)
		mp_write_u64(out, value);
	else if (value == 0)
		mp_write_double(out, -0.0);
	else if (value <= UINT64_C(1) << 63)
		mp_write_i64(out, (int64_t)(0 - value));
	else
		return false;
	return true;
}

/* True if the double's shortest decimal form has the value of the text. */
static bool is_exact(double value, const struct number_text *n)
{
	if (n->digits <= SURE_DIGITS && n->magnitude < SURE_MAGNITUDE &&
	    n->magnitude > -SURE_MAGNITUDE)
		return true;
	if (n->digits > DOUBLE_DIGITS_MAX)
		return false;
	char text[JSON_NUMBER_CHARS];
	struct number_text shortest;
	size_t len = json_number_text(value, text);
	return number_scan(slice_of(text, len), &shortest) && number_compare(&shortest, n) == 0;
}

bool json_number_value(struct slice token, struct buf *out)
{
	struct number_text n;
	if (!number_scan(token, &n))
		return false;
	if (n.integer && put_integer(&n, token, out))
		return true;
	double value = 0;
	const char *text = (const char *)token.data;
	bool in_range = std::from_chars(text, text + token.len, value).ec == std::errc();
	if (!n.integer && in_range && is_exact(value, &n))
		mp_write_double(out, value);
	else
		mp_write_ext(out, MP_EXT_NUMBER, token);
	return true;
}

/* ---- keys ---- */

/* Differs for most keys that differ. */
static uint64_t key_print(struct slice key)
{
	const uint64_t odd = UINT64_C(0x9e3779b97f4a7c15);
	if (key.len >= 8)
		return (load(key.data, 8) * odd ^ load(key.data + key.len - 8, 8)) * odd + key.len;
	if (key.len >= 4)
		return (load(key.data, 4) << 32 | load(key.data + key.len - 4, 4)) * odd + key.len;
	uint64_t print = key.len;
	for (size_t i = 0; i < key.len; i++)
		print = print << 8 | key.data[i];
	return print;
}

static bool key_less(const struct key_slot &a, const struct key_slot &b)
{
	return a.print != b.print ? a.print < b.print : slice_compare(a.key, b.key) < 0;
}

static bool key_same(const struct key_slot &a, const struct key_slot &b)
{
	return a.print == b.print && slice_equal(a.key, b.key);
}

static void push_key(struct json_parser *p, struct slice key)
{
	if (p->keys_count == p->keys_cap) {
		p->keys_cap = p->keys_cap ? p->keys_cap * 2 : 64;
		p->keys = (struct key_slot *)mem_realloc(p->keys, p->keys_cap * sizeof *p->keys);
	}
	p->keys[p->keys_count++] = {key_print(key), key};
}

/* The newest key against those before it, while they are few. */
static bool is_repeated(const struct json_parser *p, size_t first)
{
	size_t last = p->keys_count - 1;
	if (last - first >= FEW_KEYS)
		return false;
	for (size_t i = first; i < last; i++)
		if (key_same(p->keys[i], p->keys[last]))
			return true;
	return false;
}

/* All keys of an object with many: sorting has no bad case that a client could aim for. */
static const struct key_slot *find_repeated(struct json_parser *p, size_t first)
{
	struct key_slot *from = p->keys + first, *end = p->keys + p->keys_count;
	if (end - from <= FEW_KEYS)
		return nullptr;
	std::sort(from, end, key_less);
	const struct key_slot *found = std::adjacent_find(from, end, key_same);
	return found == end ? nullptr : found;
}

/* ---- reading ---- */

static bool put_value(struct json_parser *p, ondemand::value value);

static bool enter(struct json_parser *p, bool object)
{
	if (p->level == LIMIT_JSON_DEPTH)
		return fail(p, STATUS_JSON_TOO_DEEP);
	p->frames[p->level++] = frame{object, 0, {nullptr, 0}};
	return true;
}

/* Keys without a backslash, nearly all, are used where they stand. */
static bool read_key(ondemand::field &field, struct slice *out)
{
	const char *raw = field.key().raw();
	size_t len = 0;
	while (raw[len] != '"' && raw[len] != '\\')
		len++;
	*out = slice_of(raw, len);
	if (raw[len] == '"')
		return true;
	std::string_view unescaped;
	if (field.unescaped_key().get(unescaped))
		return false;
	*out = slice_of_view(unescaped);
	return true;
}

static bool put_member(struct json_parser *p, ondemand::field &field, size_t first_key)
{
	struct slice key;
	p->at = field.key().raw() - 1;
	if (!read_key(field, &key))
		return fail(p, STATUS_INVALID_JSON);
	p->frames[p->level - 1].key = key;
	push_key(p, key);
	if (is_repeated(p, first_key))
		return fail(p, STATUS_DUPLICATE_KEY);
	mp_write_str(p->out, key);
	return put_value(p, field.value());
}

static bool put_object(struct json_parser *p, ondemand::value value)
{
	size_t start = container_begin(p->out), first_key = p->keys_count;
	uint32_t count = 0;
	ondemand::object object;
	if (!enter(p, true))
		return false;
	if (value.get_object().get(object))
		return fail_between(p);
	for (auto item : object) {
		ondemand::field field;
		if (std::move(item).get(field))
			return fail_between(p);
		if (!put_member(p, field, first_key))
			return false;
		count++;
	}
	const struct key_slot *repeated = find_repeated(p, first_key);
	if (repeated) {
		p->frames[p->level - 1].key = repeated->key;
		return fail(p, STATUS_DUPLICATE_KEY);
	}
	p->keys_count = first_key;
	p->level--;
	container_end_map(p->out, start, count);
	return true;
}

static bool put_array(struct json_parser *p, ondemand::value value)
{
	size_t start = container_begin(p->out);
	uint32_t count = 0;
	ondemand::array array;
	if (!enter(p, false))
		return false;
	if (value.get_array().get(array))
		return fail_between(p);
	for (auto item : array) {
		ondemand::value element;
		p->frames[p->level - 1].index = count;
		if (std::move(item).get(element))
			return fail_between(p);
		if (!put_value(p, element))
			return false;
		count++;
	}
	p->level--;
	container_end_array(p->out, start, count);
	return true;
}

/* A string without a backslash is copied from where it stands; control characters and UTF-8 were
 * checked when the text was indexed. */
static bool put_string(struct json_parser *p, ondemand::value value, struct slice token)
{
	if (token.len < 2 || token.data[token.len - 1] != '"')
		return fail(p, STATUS_INVALID_JSON);
	struct slice text = slice_of(token.data + 1, token.len - 2);
	if (memchr(text.data, '\\', text.len)) {
		std::string_view unescaped;
		if (value.get_string().get(unescaped))
			return fail(p, STATUS_INVALID_JSON);
		text = slice_of_view(unescaped);
	}
	mp_write_str(p->out, text);
	return true;
}

/* The scalar's bytes, without the white space up to the next token. */
static struct slice trim(std::string_view token)
{
	size_t len = token.size();
	while (len > 0 && (token[len - 1] == ' ' || token[len - 1] == '\n' ||
			   token[len - 1] == '\r' || token[len - 1] == '\t'))
		len--;
	return slice_of(token.data(), len);
}

static bool put_value(struct json_parser *p, ondemand::value value)
{
	std::string_view raw = value.raw_json_token();
	p->at = raw.data();
	if (raw.empty())
		return fail(p, STATUS_INVALID_JSON);
	if (raw[0] == '{')
		return put_object(p, value);
	if (raw[0] == '[')
		return put_array(p, value);
	struct slice token = trim(raw);
	if (raw[0] == '"')
		return put_string(p, value, token);
	if (slice_is(token, "null"))
		mp_write_nil(p->out);
	else if (slice_is(token, "true"))
		mp_write_bool(p->out, true);
	else if (slice_is(token, "false"))
		mp_write_bool(p->out, false);
	else if (token.len > JSON_NUMBER_TEXT_MAX || !json_number_value(token, p->out))
		return fail(p, STATUS_INVALID_JSON);
	return true;
}

/* The text as the only member of an array: so a value that is no container needs no rules of its
 * own. */
static void pad(struct json_parser *p, struct slice text)
{
	buf_clear(&p->padded);
	buf_reserve(&p->padded, text.len + 2 + simdjson::SIMDJSON_PADDING);
	buf_append_byte(&p->padded, '[');
	buf_append_slice(&p->padded, text);
	buf_append_byte(&p->padded, ']');
	memset(p->padded.data + p->padded.len, 0, simdjson::SIMDJSON_PADDING);
	p->at = (const char *)p->padded.data;
	p->level = 0;
	p->keys_count = 0;
}

static bool put_text(struct json_parser *p, ondemand::document &doc)
{
	ondemand::array array;
	uint32_t count = 0;
	if (doc.get_array().get(array))
		return fail(p, STATUS_INVALID_JSON);
	for (auto item : array) {
		ondemand::value value;
		if (std::move(item).get(value) || count++ > 0)
			return fail_between(p);
		if (!put_value(p, value))
			return false;
	}
	if (doc.current_location().error() != simdjson::OUT_OF_BOUNDS)
		return fail_between(p);
	return count == 1 || fail(p, STATUS_EMPTY_BODY);
}

static bool parse(struct json_parser *p, struct slice text)
{
	pad(p, text);
	ondemand::document doc;
	auto problem = p->simd.iterate(p->padded.data, p->padded.len, p->padded.cap).get(doc);
	p->doc = &doc;
	if (!problem)
		return put_text(p, doc);
	CHECK(problem != simdjson::MEMALLOC);
	if (problem != simdjson::UTF8_ERROR)
		return fail(p, STATUS_INVALID_JSON);
	p->at += 1 + utf8_valid_prefix(text);
	return fail(p, STATUS_INVALID_UTF8);
}

bool json_to_msgpack(struct json_parser *parser, struct slice text, struct buf *out,
		     struct json_error *error)
{
	size_t before = out->len;
	parser->out = out;
	parser->error = error;
	bool done = parse(parser, text);
	if (!done)
		out->len = before;
	if (parser->padded.cap > KEEP_BYTES || parser->keys_cap * sizeof *parser->keys > KEEP_BYTES)
		release_memory(parser);
	return done;
}

/* ---- what C has no equal of ---- */

size_t json_number_text(double value, char out[JSON_NUMBER_CHARS])
{
	char *last = out + JSON_NUMBER_CHARS - 2;
	/* Without an exponent large numbers get all digits of their binary value, not the fewest
	 * that name it. */
	char *end = std::fabs(value) < EXACT_INTEGERS
			? std::to_chars(out, last, value).ptr
			: std::to_chars(out, last, value, std::chars_format::scientific).ptr;
	size_t len = (size_t)(end - out);
	/* "1" would be read as an integer. */
	if (!memchr(out, '.', len) && !memchr(out, 'e', len)) {
		out[len++] = '.';
		out[len++] = '0';
	}
	return len;
}

bool utf8_is_valid_long(struct slice text)
{
	return simdjson::validate_utf8((const char *)text.data, text.len);
}
