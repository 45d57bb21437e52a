#include "storage-node/record_peek.h"

#include "proto/enums.h"
#include "proto/msgpack.h"

/* Field numbers of `document` and `revision_node` in proto/messages.def. */
enum { RECORD_REVISIONS = 2, RECORD_BODY = 4, NODE_FLAGS = 4 };

struct seen {
	bool live;
	bool purged;
};

/* A deletion wins only where nothing is live: one live leaf is enough to know. But one that stands
 * for a purged tombstone wins always. */
static bool node_look(struct mp_reader *r, struct seen *seen)
{
	struct mp_token head = mp_read(r);
	if (head.type != MP_MAP)
		return false;
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token number = mp_read(r);
		if (number.type != MP_UINT)
			return false;
		if (number.u64 != NODE_FLAGS) {
			if (!mp_skip(r))
				return false;
			continue;
		}
		struct mp_token flags = mp_read(r);
		if (flags.type != MP_UINT)
			return false;
		if (flags.u64 & REVISION_LEAF) {
			bool deleted = flags.u64 & REVISION_DELETED;
			seen->live |= !deleted;
			seen->purged |= deleted && (flags.u64 & REVISION_PURGED);
		}
	}
	return true;
}

static bool revisions_are_live(struct mp_reader *r, bool *live)
{
	struct mp_token head = mp_read(r);
	if (head.type != MP_ARRAY)
		return false;
	struct seen seen = {0};
	for (uint32_t i = 0; i < head.count; i++)
		if (!node_look(r, &seen))
			return false;
	*live = seen.live && !seen.purged;
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
			if (!revisions_are_live(&r, &out->live))
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
