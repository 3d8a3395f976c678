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
HEAVY := /(bench|canary|cmd|conformance|crashtest|faultmatrix|interop|model|mutation|prove|simworld)(/|$$)

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

# What gosec is not asked, and why:
#   G104  errors that are let go: staticcheck and the reader see those that matter
#   G115  conversions of numbers: every one here is of a bounded number
#   G204  programs that are run with variables: guards_test.go names who runs programs
#   G304  files that are opened by a variable name: the user's token file is one
#   G404  math/rand: guards_test.go names who uses it, for waits only
#   G702, G703  the same as G204 and G304, followed through the code
# and in single files: man pages are for everybody (G301, G306); `token` prints the
# token it is asked for (G117); names of URNs, paths and members are no secrets
# (G101); SHA-1 names a certificate in x5t, and old key files need it and DES to be
# read (G401, G502, G505); the style of the page is a constant (G203); the nonce of
# a GCM that makes its own is nil (G407).
GOSEC := github.com/securego/gosec/v2/cmd/gosec@v2.30.0
GOSEC_EDGES := bench canary conformance crashtest examples faultmatrix idptest interop model mutation prove simworld storetest
GOSEC_FLAGS = -color=false -exclude=G104,G115,G204,G304,G404,G702,G703 $(addprefix -exclude-dir=,$(GOSEC_EDGES)) \
	-exclude-rules='cmd/evergrant/man\.go:G301,G306;cmd/evergrant/(token|formats)\.go:G117;(oauth/grants|internal/foreign/[a-z]+)\.go:G101;jose/(sign|pkcs8)\.go:G401,G502,G505;login/listener\.go:G203;store/keyring/record\.go:G407'

lint: ## format, vet, other systems, staticcheck, gosec
	@unformatted=$$(find . -name node_modules -prune -o -name '*.go' -print0 | xargs -0 gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not formatted: $$unformatted" >&2; exit 1; fi
	go vet ./...
	cd interop/servers && go vet ./...
	@for os in darwin windows freebsd; do \
		echo "go build and vet for $$os"; \
		CGO_ENABLED=0 GOOS=$$os go build ./...; \
		CGO_ENABLED=0 GOOS=$$os go vet ./...; \
	done
	go run $(STATICCHECK) ./...
	go run $(GOSEC) -quiet $(GOSEC_FLAGS) ./...

bench: setup ## side by side with others, as a table in docs/benchmarks.md
	go run ./bench

fuzz: ## every fuzz test for FUZZTIME
	scripts/fuzz $(FUZZTIME)

prove: setup ## the long proofs, into docs/reliability.md: every crash point, power cuts, simulated years, the model's depths, histories, mutations
	@export PATH="$$(scripts/setup path)"; go run ./prove

conformance: setup ## four programs through the conformance cases, into docs/conformance.md
	@export PATH="$$(scripts/setup path)"; go run ./conformance/report

release: ## static binaries for all systems in dist/
	scripts/release $(VERSION)

demo: ## see it work against a simulated provider
	@go run ./cmd/evergrant demo

clean:
	rm -rf dist evergrant .ci/tools
