#include "common/doc/couch_name.h"

#include "common/doc/attachment.h"

bool couch_name_is_of_job(struct slice name)
{
	static const char *const names[] = {"_replication_state", "_replication_state_time",
					    "_replication_state_reason", "_replication_stats",
					    "_replication_id"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (slice_is(name, names[i]))
			return true;
	return false;
}

/* Those that are called so in both dialects keep their tildes, too. */
static bool is_moved(struct slice name)
{
	size_t at = 0;
	while (at < name.len && name.data[at] == '~')
		at++;
	if (at == name.len || name.data[at] != '_')
		return false;
	struct slice base = slice_part(name, at, name.len - at);
	return !slice_is(base, "_id") && !slice_is(base, ATTACHMENTS_MEMBER) &&
	       !couch_name_is_of_job(base);
}

struct slice couch_name_shown(struct slice stored, struct buf *scratch)
{
	if (slice_is(stored, "_id"))
		return slice_text("id");
	if (!is_moved(stored))
		return stored;
	buf_clear(scratch);
	buf_append_byte(scratch, '~');
	buf_append_slice(scratch, stored);
	return buf_slice(scratch);
}

struct slice couch_name_stored(struct slice shown)
{
	if (slice_is(shown, "id"))
		return slice_text("_id");
	if (shown.len == 0 || shown.data[0] != '~' || !is_moved(shown))
		return shown;
	return slice_part(shown, 1, shown.len - 1);
}

bool couch_name_is_nobodys(struct slice shown)
{
	return shown.len > 0 && shown.data[0] == '_' && !slice_is(shown, ATTACHMENTS_MEMBER) &&
	       !couch_name_is_of_job(shown);
}
