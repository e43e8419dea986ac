# Waypost. CONTRIBUTING.md says how to work on it.

GO       ?= go
TOOLS    := $(CURDIR)/.cache/tools
PROGRAMS := waypost waypost-smtp waypost-store waypost-directory waypost-frontend
FUZZTIME ?= 20s
KILLS    ?= 50

.PHONY: all build run test lint fmt bench torture fuzz-short tools clean

all: build

# Static binaries: they run on any Linux of the same architecture.
build:
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ $(addprefix ./cmd/,$(PROGRAMS))

# Everything on this machine, with a demonstration organisation.
run: build
	tools/ensure.sh postgresql
	bin/waypost serve --demo

# Every test. lint runs vet, so that it is not run twice; the cache of results
# does not see what archtest looks at.
test:
	tools/ensure.sh postgresql docker-compose
	WAYPOST_REQUIRE_POSTGRES=1 $(GO) test -vet=off -timeout 20m ./...
	$(GO) test -vet=off -count=1 ./internal/archtest

lint: tools
	tools/lint.sh

fmt: tools
	$(TOOLS)/gofumpt -w $$(git ls-files '*.go')

# Results as JSON lines under bench/results/.
bench: build
	tools/ensure.sh postgresql
	$(GO) run ./bench

# The long form of the test that kills programs and database at random.
torture:
	tools/ensure.sh postgresql
	WAYPOST_REQUIRE_POSTGRES=1 WAYPOST_TORTURE_KILLS=$(KILLS) \
		$(GO) test -vet=off -count=1 -v -run 'TestTorture$$' -timeout 120m ./internal/e2e

# Every fuzz target for a short while.
fuzz-short:
	tools/fuzz.sh $(FUZZTIME)

# Pinned in a module of their own, so that the product depends on none of them.
tools:
	@mkdir -p $(TOOLS)
	$(GO) -C tools build -o $(TOOLS)/ tool

clean:
	rm -rf bin .cache
