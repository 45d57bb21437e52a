/* What takes away from a new global object all that is not a function of its arguments. */
#ifndef PARLEY_SCRIPT_WORKER_PRELUDE_H
#define PARLEY_SCRIPT_WORKER_PRELUDE_H

/* Its value is the source of what is to run in each new global object, before the script. */
extern const char script_survey[];
/* Makes the engine load now what it loads late (tables of characters, time zones), so that nothing
 * is missing when files can't be opened any more. */
extern const char script_warm_up[];

#endif
