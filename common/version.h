/* The release. Protocol and formats have numbers of their own: see proto/enums.h. */
#ifndef PARLEY_VERSION_H
#define PARLEY_VERSION_H

#define PARLEY_VERSION "0.1.0"

#endif
