# make test is the whole check and needs nothing but Go and Debian: what else the
# tests use is installed first, if it is missing.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME ?= 30s

# Packages whose tests run many processes or walk many states: the race detector
# sees nothing in those and would only slow them down. All others run under it.
HEAVY := /(bench|canary|cmd|conformance|crashtest|interop|model|mutation|simworld)(/|$$)

.PHONY: build test setup lint bench fuzz prove conformance release demo clean

build: ## the binary, for this machine
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.release=$(VERSION)" -o evergrant ./cmd/evergrant

# Both groups run even if the first fails, so that one run shows all there is.
test: setup lint ## everything that must hold before a change goes in
	@export PATH="$$(scripts/setup path)"; rc=0; \
	CGO_ENABLED=1 go test -race -timeout 8m $$(go list ./... | grep -vE '$(HEAVY)') || rc=1; \
	go test -timeout 8m $$(go list ./... | grep -E '$(HEAVY)') || rc=1; \
	exit $$rc

setup: ## what the tests need and this machine lacks
	@scripts/setup

lint: ## format, vet, other systems, staticcheck
	@unformatted=$$(find . -name node_modules -prune -o -name '*.go' -print0 | xargs -0 gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not formatted: $$unformatted" >&2; exit 1; fi
	go vet ./...
	@for os in darwin windows freebsd; do \
		echo "go build and vet for $$os"; \
		CGO_ENABLED=0 GOOS=$$os go build ./...; \
		CGO_ENABLED=0 GOOS=$$os go vet ./...; \
	done
	go run $(STATICCHECK) ./...

bench: setup ## side by side with others, as a table in docs/benchmarks.md
	go run ./bench

fuzz: ## every fuzz test for FUZZTIME
	scripts/fuzz $(FUZZTIME)

prove: setup ## the long proofs: every crash point, the model's depths, simulated years, histories, mutations
	@export PATH="$$(scripts/setup path)" EVERGRANT_PROVE=1; rc=0; \
	for p in ./model ./simworld ./crashtest; do go test -count=1 -timeout 40m -v $$p || rc=1; done; \
	go test -count=1 -timeout 30m -run 'TestHistories|TestWorld' . || rc=1; \
	go run ./mutation || rc=1; \
	exit $$rc

conformance: setup ## four programs through the conformance cases, into docs/conformance.md
	@export PATH="$$(scripts/setup path)"; go run ./conformance/report

release: ## static binaries for all systems in dist/
	scripts/release $(VERSION)

demo: ## see it work against a simulated provider
	@go run ./cmd/evergrant demo

clean:
	rm -rf dist evergrant .ci/tools
