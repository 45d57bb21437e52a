/* Policies over HTTP: checked, and what they would do. */
#ifndef PARLEY_GATEWAY_POLICY_H
#define PARLEY_GATEWAY_POLICY_H

#include "common/doc/decide.h"
#include "gateway/native.h"

/* Is the value a policy? place: where it stands in the body, "" or a JSON pointer. */
bool policy_check(struct request *r, struct slice value, const char *place,
		  struct problem *p) MUST_CHECK;

/* What comes of a conflict, as members of a JSON object without braces:
 *   "outcome":"resolved","how":...,"revision":...,"deleted":bool,"document":{...},"detail":{...}
 *   "outcome":"open","detail":{...}, and what it would become if nothing stood against it
 *   "outcome":"script" | "external" | "none"
 *   beside the first, if the id is split, "documents":[...], those that are made
 * document: without it the bodies are left out. */
void decision_print(const struct decision *d, struct slice id, bool document, struct buf *out);

#endif
