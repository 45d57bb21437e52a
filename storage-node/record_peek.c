#include "storage-node/record_peek.h"

#include "proto/enums.h"
#include "proto/msgpack.h"

/* Field numbers of `document` and `revision_node` in proto/messages.def. */
enum { RECORD_REVISIONS = 2, RECORD_BODY = 4 };
enum { NODE_GENERATION = 1, NODE_HASH = 2, NODE_FLAGS = 4 };

struct seen {
	uint32_t live;
	struct revision last; /* of these */
	bool purged;
};

/* A deletion wins only where nothing is live: one live leaf is enough to know. But one that stands
 * for a purged tombstone wins always. */
static bool node_look(struct mp_reader *r, struct seen *seen)
{
	struct mp_token head = mp_read(r);
	if (head.type != MP_MAP)
		return false;
	uint64_t flags = 0;
	struct revision name = {0};
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token number = mp_read(r);
		bool known =
		    number.type == MP_UINT && (number.u64 == NODE_GENERATION ||
					       number.u64 == NODE_HASH || number.u64 == NODE_FLAGS);
		if (number.type != MP_UINT || (!known && !mp_skip(r)))
			return false;
		if (!known)
			continue;
		struct mp_token value = mp_read(r);
		if (value.type != (number.u64 == NODE_HASH ? MP_BIN : MP_UINT))
			return false;
		if (number.u64 == NODE_HASH)
			name.hash = value.bytes;
		else if (number.u64 == NODE_FLAGS)
			flags = value.u64;
		else
			name.generation = value.u64;
	}
	bool deleted = flags & REVISION_DELETED;
	if ((flags & REVISION_LEAF) && !deleted) {
		seen->live++;
		seen->last = name;
	}
	seen->purged |= (flags & REVISION_LEAF) && deleted && (flags & REVISION_PURGED);
	return true;
}

static bool revisions_look(struct mp_reader *r, struct record_peek *out)
{
	struct mp_token head = mp_read(r);
	if (head.type != MP_ARRAY)
		return false;
	struct seen seen = {0};
	for (uint32_t i = 0; i < head.count; i++)
		if (!node_look(r, &seen))
			return false;
	out->live = seen.live > 0 && !seen.purged;
	out->leaves = seen.live;
	out->winner = seen.last;
	return true;
}

bool record_peek(struct slice record, struct record_peek *out)
{
	*out = (struct record_peek){0};
	struct mp_reader r = mp_reader_of(record);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_MAP)
		return false;
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token number = mp_read(&r);
		if (number.type != MP_UINT)
			return false;
		if (number.u64 > RECORD_BODY)
			return true; /* numbers ascend */
		if (number.u64 == RECORD_REVISIONS) {
			if (!revisions_look(&r, out))
				return false;
		} else if (number.u64 == RECORD_BODY) {
			struct mp_token body = mp_read(&r);
			out->body = body.bytes;
			return body.type == MP_BIN;
		} else if (!mp_skip(&r)) {
			return false;
		}
	}
	return true;
}
