# The house rules as programs; each fails with file, line and what is wrong. See tests/README.md.
#   make check             all of them but clang-tidy
#   make check-fast        without the proof that each check can fail
#   make check-tidy        clang-tidy: some minutes; what goes to main has to pass it, too
#   make check-sizes       one of them, likewise for the others

LINTS := format sizes banned layers headers shell metrics
LINT_TARGETS := $(LINTS:%=check-%)

check: check-fast check-selftest
check-fast: $(LINT_TARGETS) check-purity check-fresh check-openapi

$(LINT_TARGETS): check-%:
	@tests/lint/$*
check-tidy:
	@tests/lint/tidy
check-selftest: $(NPM_STAMP)
	@tests/lint/selftest
check-purity: $(BUILD)/libcores.a $(BUILD)/libpure.a
	@BUILD=$(BUILD) tests/lint/purity
check-fresh: $(BUILD)/schema-doc
	@BUILD=$(BUILD) tests/lint/fresh

check-openapi: $(NPM_STAMP)
	@tests/lint/openapi.mjs

.PHONY: check-openapi check check-fast check-tidy check-selftest check-purity check-fresh $(LINT_TARGETS)
