/* Severity words, with exact meanings. */
#ifndef PARLEY_BASE_LOG_H
#define PARLEY_BASE_LOG_H

enum log_level {
	LOG_LEVEL_DEBUG, /* for whoever reads the source */
	LOG_LEVEL_INFO,  /* something an operator may want to know */
	LOG_LEVEL_WARN,  /* needs attention some day; the program copes */
	LOG_LEVEL_ERROR, /* needs attention now: something was refused or is degraded */
	LOG_LEVEL_FATAL  /* the program ends */
};

#endif
