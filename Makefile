# logferry. `make` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO ?= go
BIN := $(CURDIR)/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOLANGCI_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.8.0
NFPM_VERSION := v2.43.4
FUZZTIME ?= 60s
SCRIPTS := .ci/run .ci/vuln test/run deploy/release/build deploy/packaging/reload $(wildcard bench/agents/*.sh)

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/logferry (static, stripped) and bin/logferry-sandbox
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/logferry ./cmd/logferry
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/logferry-sandbox ./cmd/sandbox

.PHONY: demo
demo: build ## watch lines flow: embedded etcd, in-process Kafka, a rotating log, the agent (Ctrl-C ends it)
	$(BIN)/logferry-sandbox

.PHONY: demo-check
demo-check: build ## the same with a fixed number of lines: exits 0 when each line arrived
	$(BIN)/logferry-sandbox --once

.PHONY: fleet-check
fleet-check: build ## three agents, a three-member etcd and real Kafka do what docs/fleet.md says: exits 0 or 1 (FLEET=-quick for a look)
	$(GO) run ./test/fleetcheck -logferry $(BIN)/logferry $(FLEET)

.PHONY: test
test: ## all tests, -race, with real Kafka and etcd
	./test/run

.PHONY: test-short
test-short: ## tests without the slow ones
	$(GO) test -short ./...

.PHONY: faults
faults: ## break the world around the agent: one row a scenario (SCENARIO=name runs one, PRODUCER=async the other writer)
	$(GO) test ./test/faults -count=1 -timeout 60m -v -faults.all $(if $(PRODUCER),-faults.producer $(PRODUCER)) -run 'TestFaults/^($(or $(SCENARIO),.*))$$' | grep -v -e '^=== ' -e 'using real'

.PHONY: soak
soak: ## random faults for DURATION (10m), then the sums; SEED=n does the same again, PRODUCER=async with the other writer
	$(if $(PRODUCER),LOGFERRY_KAFKA_PRODUCER=$(PRODUCER)) $(GO) test ./test/soak -count=1 -timeout 0 -v -soak.duration $(or $(DURATION),10m) $(if $(SEED),-soak.seed $(SEED)) -run TestRandomFaults

.PHONY: bench
bench: build ## real Kafka, the tutorial shape, each writer, and AGENT=start-script: speed, cost, latency (BENCH="-quick" for a look)
	$(GO) run ./bench/run -logferry $(BIN)/logferry $(if $(AGENT),-agent $(abspath $(AGENT))) $(BENCH)

.PHONY: bench-fleet
bench-fleet: ## 5,000 simulated agents on a real etcd: time until an edit is everywhere, etcd's cost, restarts (FLEET=-quick for a look)
	$(GO) build -o $(BIN)/bench-fleet ./bench/fleet
	nice -n 10 $(BIN)/bench-fleet $(FLEET)

.PHONY: bench-guard
bench-guard: ## what may not get worse, as allocations and ratios: no absolute times
	$(GO) test -count=1 -run '^TestGuard' ./bench/guard

.PHONY: lint
lint: $(BIN)/golangci-lint ## gofmt, vet, golangci-lint, shellcheck where it is installed
	@fmt=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$fmt" || { echo "not formatted: $$fmt"; exit 1; }
	$(GO) vet ./...
	$(BIN)/golangci-lint run ./...
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); else echo "shellcheck is not installed: shell scripts are only parsed"; for f in $(SCRIPTS); do bash -n $$f; done; fi

$(BIN)/golangci-lint: Makefile
	GOBIN=$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@touch $@

.PHONY: vuln
vuln: $(BIN)/govulncheck ## known weaknesses in what the binaries call; says so loudly when the database cannot be reached
	GOVULNCHECK=$(BIN)/govulncheck ./.ci/vuln

$(BIN)/govulncheck: Makefile
	GOBIN=$(BIN) $(GO) install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@touch $@

.PHONY: sbom
sbom: build ## dist/logferry.cdx.json: what bin/logferry is made of (CycloneDX)
	@mkdir -p dist
	$(GO) run ./deploy/release/sbom -version $(VERSION) $(BIN)/logferry >dist/logferry.cdx.json

.PHONY: release
release: $(BIN)/nfpm ## dist/: tarballs, deb, rpm, bills of materials and checksums, for amd64 and arm64; the deb is tried
	VERSION=$(VERSION) NFPM=$(BIN)/nfpm GO=$(GO) ./deploy/release/build

$(BIN)/nfpm: Makefile
	GOBIN=$(BIN) $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
	@touch $@

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (60s); what is found is made smaller a hundred times at most, or that would take all of it
	@for pkg in $$($(GO) list ./...); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "== $$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $(if $(FUZZPARALLEL),-parallel $(FUZZPARALLEL)) $$pkg || exit 1; \
	  done; \
	done

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN) dist coverage.out
