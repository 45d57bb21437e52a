/* What the files of the policy parser share; nobody else includes it. */
#ifndef PARLEY_DOC_POLICY_PARSER_H
#define PARLEY_DOC_POLICY_PARSER_H

#include "common/doc/policy.h"
#include "proto/msgpack.h"

struct policy_parser {
	struct arena *arena;
	struct policy_error *error;
};

/* Reads the value of one member, which stands next in the reader. */
typedef bool policy_reader(struct policy_parser *p, struct mp_reader *r, struct policy *out);

/* ---- policy.c ---- */

/* Notes the complaint about place + member (may be empty) and returns false. */
bool policy_refuse(struct policy_parser *p, const char *place, struct slice member,
		   const char *text);
bool policy_path_is_well_formed(struct slice path);

/* ---- policy_paths.c, policy_roots.c ---- */

policy_reader policy_read_paths;
policy_reader policy_read_roots;
policy_reader policy_read_references;

#endif
