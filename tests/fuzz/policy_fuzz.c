/* Any bytes as a conflict policy: as MessagePack, and as JSON that is converted first. What is
 * taken finds each of its paths and keeps its bounds; what is refused says where and why. */
#include <stdlib.h>

#include "common/doc/json.h"
#include "common/doc/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct policy *policy)
{
	CHECK(policy->paths_count <= POLICY_PATHS_MAX);
	for (uint32_t i = 0; i < policy->paths_count; i++) {
		const struct policy_path *path = &policy->paths[i];
		CHECK(policy_find(policy, path->path) == path);
		CHECK(path->keys_count <= POLICY_KEYS_MAX);
		CHECK((path->keys_count > 0) == (path->rule == RULE_MAP));
		if (i > 0)
			CHECK(slice_compare(policy->paths[i - 1].path, path->path) < 0);
	}
	(void)policy_find(policy, slice_text("a.b"));
}

static void try_policy(struct slice bytes)
{
	struct arena arena = {0};
	struct policy policy;
	struct policy_error error = {.text = ""};
	if (policy_parse(bytes, &arena, &policy, &error))
		use(&policy);
	else
		CHECK(strlen(error.text) > 0 && strlen(error.place) < sizeof error.place);
	arena_close(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_parser *parser = json_parser_new();
	struct json_error error;
	struct buf packed = {0};
	try_policy(slice_of(data, size));
	if (json_to_msgpack(parser, slice_of(data, size), &packed, &error))
		try_policy(buf_slice(&packed));
	buf_close(&packed);
	json_parser_free(parser);
	return 0;
}
