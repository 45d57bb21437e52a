#include "gateway/policy_script.h"

#include <stdio.h>

#include "common/doc/policy.h"
#include "common/doc/script_answer.h"
#include "gateway/http_answer.h"

/* Under the deadline of requests: a busy machine takes a while to spend a run's time. */
enum { CHECK_PATIENCE_MS = 4000 };

struct check {
	script_checked *next;
	char place[PLACE_BYTES];
};

static void checked(struct turn *t, struct request *r, const void *context,
		    const struct script_end *with)
{
	const struct check *check = context;
	struct problem problem;
	char text[PLACE_BYTES];
	if (with->status == SCRIPT_BUSY) {
		answer_status(t, r, STATUS_OVERLOADED, check->place);
		return;
	}
	if (with->status != SCRIPT_INVALID && with->status != SCRIPT_TIME &&
	    with->status != SCRIPT_MEMORY) {
		check->next(t, r);
		return;
	}
	struct slice why = script_text(with->output);
	snprintf(text, sizeof text, "%.*s", (int)why.len, why.len ? (const char *)why.data : "");
	problem_detail(&problem, STATUS_BAD_PARAMETER, check->place, text);
	answer_problem(t, r, &problem);
}

void policy_check_script(struct turn *t, struct request *r, struct slice policy, const char *place,
			 script_checked *next)
{
	struct policy read;
	struct policy_error error;
	struct check *check = arena_alloc(&r->arena, sizeof *check);
	check->next = next;
	snprintf(check->place, sizeof check->place, "%s/script", place);
	bool has = policy_parse(policy, &r->arena, &read, &error) && read.script.len > 0;
	struct script_asked asked = {.source = has ? read.script : slice_of(NULL, 0),
				     .done = checked,
				     .context = check,
				     .patience_ms = CHECK_PATIENCE_MS};
	if (!has)
		next(t, r);
	else if (!script_run(t, r, &asked))
		answer_status(t, r, STATUS_OVERLOADED, check->place);
}
