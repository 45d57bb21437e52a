/* Enumerations of views that travel; part of enums.h. */
#ifndef PARLEY_PROTO_ENUMS_VIEW_H
#define PARLEY_PROTO_ENUMS_VIEW_H

/* Whether a view takes in what has changed before it is read. */
enum view_update {
	VIEW_UPDATE_FIRST = 0,
	VIEW_UPDATE_NEVER = 1,
	VIEW_UPDATE_LATER = 2, /* behind the answer */
	VIEW_UPDATE_MAX = 2
};

/* What a design document says of its views, together. */
enum view_option {
	VIEW_LOCAL_SEQ = 1,      /* the function sees _local_seq */
	VIEW_INCLUDE_DESIGN = 2, /* design documents, too */
	VIEW_RAW = 4,            /* rows come in CouchDB's raw order */
	VIEW_OPTIONS_MAX = 7
};

#endif
