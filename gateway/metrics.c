/* What a gateway counts, as Prometheus reads it. */
#include <inttypes.h>

#include "gateway/arbiter.h"
#include "gateway/couch/auth.h"
#include "gateway/notify/notify.h"
#include "gateway/replicate/schedule.h"
#include "gateway/routes.h"

/* Upper bounds of the histogram, in milliseconds; one more bucket takes the rest. */
static const uint32_t bounds_ms[LATENCY_BUCKETS] = {1,   2,   5,    10,   25,   50,   100,
						    250, 500, 1000, 2500, 5000, 10000};

void metrics_answered(struct gateway *gw, const struct request *r, int code, int64_t now_ms)
{
	uint64_t took_ms = now_ms > r->started_ms ? (uint64_t)(now_ms - r->started_ms) : 0;
	uint32_t bucket = 0;
	while (bucket < LATENCY_BUCKETS && took_ms > bounds_ms[bucket])
		bucket++;
	gw->metrics.latency[bucket]++;
	gw->metrics.latency_ms_sum += took_ms;
	if (code >= 0 && code < HTTP_CODES && (unsigned)r->method < HTTP_METHODS)
		gw->metrics.requests[r->dialect][r->method][code]++;
}

void gateway_count_rejection(struct gateway *gw, enum gateway_rejection why)
{
	if (why < REJECT_KINDS)
		gw->metrics.rejected[why]++;
}

static void print_requests_of(const struct gateway *gw, int dialect, const char *api,
			      struct buf *out)
{
	for (int method = 0; method < HTTP_METHODS; method++)
		for (int code = 0; code < HTTP_CODES; code++) {
			uint64_t count = gw->metrics.requests[dialect][method][code];
			if (count > 0)
				buf_printf(out,
					   "parley_http_requests_total{api=\"%s\",method=\"%s\","
					   "code=\"%d\"} %" PRIu64 "\n",
					   api, http_method_name(method), code, count);
		}
}

static void print_requests(const struct gateway *gw, struct buf *out)
{
	buf_append_text(out, "# TYPE parley_http_requests_total counter\n");
	print_requests_of(gw, DIALECT_NATIVE, "native", out);
	print_requests_of(gw, DIALECT_COUCH, "couch", out);
}

static void print_latency(const struct gateway *gw, struct buf *out)
{
	uint64_t sum = 0;
	buf_append_text(out, "# TYPE parley_http_request_duration_seconds histogram\n");
	for (int i = 0; i < LATENCY_BUCKETS; i++) {
		sum += gw->metrics.latency[i];
		buf_printf(out,
			   "parley_http_request_duration_seconds_bucket{le=\"%g\"} %" PRIu64 "\n",
			   bounds_ms[i] / 1000.0, sum);
	}
	sum += gw->metrics.latency[LATENCY_BUCKETS];
	buf_printf(out, "parley_http_request_duration_seconds_bucket{le=\"+Inf\"} %" PRIu64 "\n",
		   sum);
	buf_printf(out, "parley_http_request_duration_seconds_sum %" PRIu64 ".%03" PRIu64 "\n",
		   gw->metrics.latency_ms_sum / 1000, gw->metrics.latency_ms_sum % 1000);
	buf_printf(out, "parley_http_request_duration_seconds_count %" PRIu64 "\n", sum);
}

void metrics_print(const void *core, struct buf *out)
{
	static const char *const reasons[REJECT_KINDS] = {"certificate", "overload", "draining",
							  "malformed"};
	const struct gateway *gw = core;
	print_requests(gw, out);
	print_latency(gw, out);
	buf_printf(out,
		   "# TYPE parley_http_inflight_requests gauge\n"
		   "parley_http_inflight_requests %zu\n"
		   "# TYPE parley_http_rejected_total counter\n",
		   gw->requests.count);
	for (int i = 0; i < REJECT_KINDS; i++)
		buf_printf(out, "parley_http_rejected_total{reason=\"%s\"} %" PRIu64 "\n",
			   reasons[i], gw->metrics.rejected[i]);
	buf_printf(out,
		   "# TYPE parley_gateway_calls_retried_total counter\n"
		   "parley_gateway_calls_retried_total %" PRIu64 "\n"
		   "# TYPE parley_gateway_answers_stray_total counter\n"
		   "parley_gateway_answers_stray_total %" PRIu64 "\n"
		   "# TYPE parley_gateway_map_version gauge\n"
		   "parley_gateway_map_version %" PRIu64 "\n",
		   gw->metrics.calls_retried, gw->metrics.calls_stray, gw->map.version);
	notify_metrics(gw, out);
	arbiters_metrics(gw, out);
	couch_auth_metrics(gw, out);
	schedule_metrics(gw, out);
}
