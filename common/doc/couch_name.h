/* Names of a document's members in CouchDB's dialect. Names that begin with an underscore have a
 * meaning there, and clients refuse those they don't know. So a stored one has a tilde before it
 * there (`_a` is `~_a`), and so that each name leads back to one, those that begin with tildes and
 * an underscore have one more (`~_a` is `~~_a`). Stored `_id` is `id`, since `_id` is the
 * document's own; `_attachments`, and what became of a replication job, are called the same in
 * both. */
#ifndef PARLEY_DOC_COUCH_NAME_H
#define PARLEY_DOC_COUCH_NAME_H

#include "common/base/buf.h"

/* May borrow from scratch, which is cleared. */
struct slice couch_name_shown(struct slice stored, struct buf *scratch);
/* And back; borrows from shown. */
struct slice couch_name_stored(struct slice shown);
/* Has it an underscore, and is the name of no stored member? */
bool couch_name_is_nobodys(struct slice shown);
/* What became of a replication job stands in its document, under names that all take. */
bool couch_name_is_of_job(struct slice name);

#endif
