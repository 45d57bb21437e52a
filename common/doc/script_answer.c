#include "common/doc/script_answer.h"

#include "common/doc/utf8.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"
#include "proto/script_frame.h"

struct slice script_text(struct slice text)
{
	if (text.len > SCRIPT_TEXT_BYTES_MAX)
		text.len = SCRIPT_TEXT_BYTES_MAX;
	return slice_of(text.data, utf8_valid_prefix(text));
}

static enum script_verdict nothing(const char *why, struct slice *text)
{
	*text = slice_text(why);
	return SCRIPT_SAYS_NOTHING;
}

static enum script_verdict take_pick(struct slice value, struct answer *out, struct slice *text)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token token = mp_read(&r);
	out->kind = ANSWER_PICK;
	if (token.type != MP_STR || !revision_parse(token.bytes, &out->pick))
		return nothing("pick must be the rev of a leaf", text);
	return SCRIPT_ANSWERS;
}

static enum script_verdict take_open(struct slice value, struct slice *text)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token token = mp_read(&r);
	if (token.type != MP_STR)
		return nothing("open must be a text", text);
	*text = script_text(token.bytes);
	return SCRIPT_LEAVES_OPEN;
}

static enum script_verdict take(struct slice name, struct slice value, struct answer *out,
				struct slice *text)
{
	static const uint8_t yes[] = {0xc3};
	if (slice_is(name, "resolve")) {
		out->kind = ANSWER_BODY;
		out->body = value;
		return value_is_document(value) ? SCRIPT_ANSWERS
						: nothing("resolve must be an object", text);
	}
	if (slice_is(name, "pick"))
		return take_pick(value, out, text);
	if (slice_is(name, "open"))
		return take_open(value, text);
	bool is_yes = slice_equal(value, slice_of(yes, sizeof yes));
	out->kind = slice_is(name, "split") ? ANSWER_SPLIT : ANSWER_DELETE;
	if (is_yes && (slice_is(name, "delete") || slice_is(name, "split")))
		return SCRIPT_ANSWERS;
	return nothing("it must return one of resolve, pick, delete: true, split: true, open",
		       text);
}

enum script_verdict script_answer_read(struct slice output, struct answer *out, struct slice *text)
{
	struct mp_reader r = mp_reader_of(output);
	struct mp_token head = mp_read(&r);
	*out = (struct answer){.how = HOW_SCRIPT};
	*text = slice_of(NULL, 0);
	/* the worker may have been taken over */
	if (head.type != MP_MAP || head.count != 1 || !value_is_document(output))
		return nothing(
		    "it must return an object with one of resolve, pick, delete, split, open",
		    text);
	struct slice name = mp_read(&r).bytes;
	return take(name, mp_value(&r), out, text);
}
