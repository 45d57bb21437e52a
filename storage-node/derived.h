/* Documents that a split makes (common/doc/decide.h). Whoever splits may have to do it again, with
 * what came to the old document since, and late messages of earlier tries may come after those of
 * later ones; what people did to the new document meanwhile must stay. */
#ifndef PARLEY_STORAGE_NODE_DERIVED_H
#define PARLEY_STORAGE_NODE_DERIVED_H

#include "storage-node/internal.h"

/* What a write with EXPECT_DERIVED comes to. */
struct derived {
	enum status status; /* not OK: refused */
	bool done;          /* the newest try before brought the same: `made` */
	struct revision made;
	int parent;
	bool branch; /* it is no leaf any more: what came in between is kept beside this */
};

/* doc: NULL if there is none. Borrows from it; work in the arena. */
void derived_decide(const struct document *doc, const struct msg_doc_write *m, struct arena *arena,
		    struct derived *out);
/* Is what a split made, or what people made of it, still there? Else whatever the split takes away
 * under the old id would be nowhere. */
bool derived_stands(const struct document *doc, const struct revision *made, struct arena *arena);
/* The first leaf that came of it; GRAPH_NONE: it is not known, or a resolution closed all. */
int derived_end(const struct document *doc, const struct revision *made, struct arena *arena);

#endif
