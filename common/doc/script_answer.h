/* What the function of a policy returned. Exactly one of
 *
 *   {"resolve": {...}}     becomes the document; it may have the "id" that it has
 *   {"pick": "2-abc"}      this leaf, as it is
 *   {"delete": true}       the document is deleted
 *   {"split": true}        each document that was made under this id gets an id of its own
 *   {"open": "reason"}     it takes a person */
#ifndef PARLEY_DOC_SCRIPT_ANSWER_H
#define PARLEY_DOC_SCRIPT_ANSWER_H

#include "common/doc/decide.h"

enum script_verdict { SCRIPT_ANSWERS, SCRIPT_LEAVES_OPEN, SCRIPT_SAYS_NOTHING };

/* ANSWERS: *out is for decide_answer. LEAVES_OPEN: *text is the reason given. SAYS_NOTHING: *text
 * says what is wrong. Borrow from output. */
enum script_verdict script_answer_read(struct slice output, struct answer *out, struct slice *text);
/* What may stand in a record of what a script or its worker said: short, and UTF-8. */
struct slice script_text(struct slice text);

#endif
