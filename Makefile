# The commands for developers. `make help` lists them.

GO   ?= go
TOOL  = $(GO) tool -modfile=tools/go.mod

# The race detector, except inside SQLite: that is C translated to Go, and checking each of its
# memory accesses takes most of the time of the tests that use it.
RACE = -race -gcflags=modernc.org/sqlite/lib=-race=false -gcflags=modernc.org/libc/...=-race=false

# How long each fuzz target runs under `make fuzz`.
FUZZTIME ?= 20s

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## run the demonstration service on 127.0.0.1:8080
	$(GO) run ./cmd/latchkey serve --demo

.PHONY: build
build: ## build bin/latchkey, static
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/latchkey ./cmd/latchkey

.PHONY: test
test: ## run vet and all tests with the race detector; as root, install the servers that they need first
	@sh scripts/packages.sh
	@GO='$(GO)' RACE='$(RACE)' sh scripts/test.sh

.PHONY: soak
soak: ## run the crash, stress and property tests at full length (many minutes)
	LATCHKEY_SOAK=1 $(GO) test $(RACE) -timeout 60m -count 1 -run 'Crash|Soak|Stress|AnySchedule|LongBodies' -v ./...

.PHONY: fuzz
fuzz: ## fuzz every parser, each for FUZZTIME (default 20s)
	GO='$(GO)' FUZZTIME=$(FUZZTIME) sh scripts/fuzz.sh

.PHONY: bench
bench: ## run the benchmarks side by side and print the ratios (short form)
	$(GO) run ./internal/bench

.PHONY: bench-full
bench-full: ## run the benchmarks with more rounds, on a machine that does nothing else
	$(GO) run ./internal/bench --full

.PHONY: lint
lint: ## run the linters and check the formatting
	$(TOOL) golangci-lint run ./...

.PHONY: deploy-check
deploy-check: ## check deploy/ against Kubernetes, Compose and systemd (needs a network)
	cd scripts/deploycheck && $(GO) run .
	@! command -v systemd-analyze >/dev/null || sh scripts/unitcheck.sh

.PHONY: cross
cross: ## build for every supported platform, without cgo
	@for os in linux darwin windows; do for arch in amd64 arm64; do \
		echo "building for $$os/$$arch"; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build ./... || exit 1; \
	done; done

.PHONY: verify
verify: lint test cross ## run what has to pass before you send a change
