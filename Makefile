# Waypost. CONTRIBUTING.md says how to work on it.

GO       ?= go
TOOLS    := $(CURDIR)/.cache/tools
PROGRAMS := waypost waypost-smtp waypost-store waypost-directory waypost-frontend
FUZZTIME ?= 20s
KILLS    ?= 50

# One set of flags for everything, so that lint and tests see what is shipped
# and nothing is compiled twice. Outside of a repository that git accepts there
# is no revision to stamp.
export CGO_ENABLED := 0
export GOFLAGS     := $(strip $(shell $(GO) env GOFLAGS) -trimpath \
	$(shell git rev-parse HEAD >/dev/null 2>&1 || echo -buildvcs=false))

.PHONY: all build run test race lint fmt bench torture fuzz-short tools clean

all: build

# Static binaries: they run on any Linux of the same architecture.
build:
	$(GO) build -o bin/ $(addprefix ./cmd/,$(PROGRAMS))

# Everything on this machine, with a demonstration organisation.
run: build
	tools/ensure.sh postgresql
	bin/waypost serve --demo

# Every test. tools/test.sh says in which order.
test:
	tools/ensure.sh postgresql docker-compose swaks wbxml ldap ical dav chromium
	WAYPOST_REQUIRE_POSTGRES=1 tools/test.sh

# The race detector needs a C compiler; it is not part of make test.
race:
	tools/ensure.sh postgresql
	CGO_ENABLED=1 WAYPOST_REQUIRE_POSTGRES=1 $(GO) test -race -vet=off -short -timeout 20m ./...

lint: tools
	tools/lint.sh

fmt: tools
	$(TOOLS)/gofumpt -w .

# Results as JSON lines under bench/results/.
bench: build
	tools/ensure.sh postgresql
	$(GO) run ./bench

# The long form of the test that kills programs and database at random.
torture:
	tools/ensure.sh postgresql
	WAYPOST_REQUIRE_POSTGRES=1 WAYPOST_TORTURE_KILLS=$(KILLS) \
		$(GO) test -vet=off -count=1 -v -run 'TestTorture' -timeout 120m ./internal/e2e

# Every fuzz target for a short while.
fuzz-short:
	tools/fuzz.sh $(FUZZTIME)

# Pinned in a module of their own, so that the product depends on none of them.
tools:
	@mkdir -p $(TOOLS)
	$(GO) -C tools build -o $(TOOLS)/ tool

clean:
	rm -rf bin .cache
