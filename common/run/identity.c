#include "common/run/identity.h"

#include "common/run/entropy.h"

static const char identity_key[] = "identity";

static bool check(const struct node_identity *id, uint64_t cluster, uint64_t member,
		  struct buf *problem)
{
	if (id->format != STORE_FORMAT)
		buf_printf(problem, "the data directory has format %llu, this version reads %d",
			   (unsigned long long)id->format, STORE_FORMAT);
	else if (id->cluster != cluster)
		buf_printf(problem, "the data directory belongs to cluster %016llx, not %016llx",
			   (unsigned long long)id->cluster, (unsigned long long)cluster);
	else if (id->member != member)
		buf_printf(problem, "the data directory belongs to member %llu, not %llu",
			   (unsigned long long)id->member, (unsigned long long)member);
	else
		return true;
	return false;
}

bool identity_take(struct store *store, uint64_t cluster, uint64_t member,
		   struct node_identity *out, struct buf *problem)
{
	struct arena arena = {0};
	struct slice value;
	enum store_result got = store_get(store, STORE_META, slice_text(identity_key), &value);
	bool ok = true;
	if (got == STORE_OK) {
		ok = schema_decode(&schema_node_identity, value, &arena, out);
		if (!ok)
			buf_append_text(problem, "the data directory's identity can't be read");
		ok = ok && check(out, cluster, member, problem);
	} else if (got == STORE_ABSENT) {
		*out = (struct node_identity){.format = STORE_FORMAT,
					      .incarnation = entropy_u64(),
					      .cluster = cluster,
					      .member = member};
	} else {
		buf_append_text(problem, "the data directory can't be read");
		ok = false;
	}
	arena_close(&arena);
	if (!ok)
		return false;
	out->boot++;
	out->life = entropy_u64();
	struct buf encoded = {0};
	schema_encode(&schema_node_identity, out, &encoded);
	store_put(store, STORE_META, slice_text(identity_key), buf_slice(&encoded));
	buf_close(&encoded);
	ok = store_commit(store, true) == STORE_OK;
	if (!ok)
		buf_append_text(problem, "the data directory can't be written");
	return ok;
}
