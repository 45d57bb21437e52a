/* An answer made of texts and of contents of attachments. Contents are read from the leads chunk by
 * chunk, as fast as the client takes them; some MiB are held, however long the answer is. One that
 * fits a chunk is sent whole. */
#ifndef PARLEY_GATEWAY_FLOW_H
#define PARLEY_GATEWAY_FLOW_H

#include "gateway/contents.h"
#include "gateway/http_answer.h"

struct flow;

/* Empty, in the request's arena. */
struct flow *flow_new(struct request *r);
/* Copies. */
void flow_text(struct flow *f, struct slice text);
/* So many bytes from `first` on of what this document names. */
void flow_content(struct flow *f, struct slice document, const uint8_t content[CONTENT_BYTES],
		  uint64_t first, uint64_t count);
/* The same as Base64. */
void flow_base64(struct flow *f, struct slice document, const uint8_t content[CONTENT_BYTES],
		 uint64_t count);
/* All of another one, which was not sent. */
void flow_append(struct flow *f, const struct flow *other);
/* With this status and these headers; its body is not looked at. What fails before the first bytes
 * leave is answered; later the answer breaks off. */
void flow_send(struct turn *t, struct request *r, struct flow *f, const struct reply *reply);

#endif
