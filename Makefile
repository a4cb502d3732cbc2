# Building and the demo need Go and make alone; `make test` says what else it could use.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X main.version=$(VERSION)
# Where the time of a gateway under chat goes, as pointsman bench --profile --cpu-profile writes it: the compiler inlines there. Not
# called default.pgo, so that tests need not compile everything once more.
PROFILE := -pgo=cmd/pointsman/serve.pgo
RATIOS  := cmd/pointsman/bench/baseline.json
TARGETS := linux/amd64 linux/arm64 darwin/arm64
TOOL    := $(GO) tool -modfile=tools/go.mod
GOFILES := $(shell git ls-files -c -o --exclude-standard '*.go' 2>/dev/null | grep -v '\.pb\.go$$')

.DEFAULT_GOAL := help
.PHONY: help build demo test test-providers test-faults smoke check format lint generate bench bench-peers bench-check bench-against profile soak dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/pointsman
	CGO_ENABLED=0 $(GO) build -trimpath $(PROFILE) -ldflags '$(LDFLAGS)' -o bin/pointsman ./cmd/pointsman

demo: build ## show the whole idea in five seconds
	@bin/pointsman demo

test: ## run every test, the smoke test and the demo, with their own set-up
	@scripts/test.sh

test-providers: ## every built-in adapter against answers of its provider; UPDATE=1 rewrites the table of docs/providers.md
	$(GO) test -count=1 $$($(GO) list ./plugins/... | grep -v '/plugins$$')
	$(GO) test -count=1 ./cmd/pointsman -run '^TestProviders$$' $(if $(UPDATE),-update)

test-faults: ## the whole fault matrix (docs/reliability.md), some hours; ROWS="F4 F5" for some, UPDATE=1 rewrites them in the table
	@$(GO) build -C tools -o ../.cache/faults ./faults
	@.cache/faults -rows "$(ROWS)" $(if $(UPDATE),-update)

smoke: ## start a fresh gateway, examine it, send a request
	@scripts/smoke.sh

format: ## format the Go files
	@$(TOOL) gofumpt -w $(GOFILES)

lint: ## formatting, vet, staticcheck, go.mod
	@unformatted=$$($(TOOL) gofumpt -l $(GOFILES)); [ -z "$$unformatted" ] || { echo "not formatted, run make format:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(TOOL) staticcheck ./...
	$(GO) mod tidy -diff

generate: ## rebuild the generated files: protobuf, built-in policies (needs node)
	$(GO) generate ./...

check: ## everything a change must pass: lint, generated files, tests, a clean tree
	@[ -z "$$(git status --porcelain)" ] || { echo "commit or stash first: the tree must be clean to see what the checks change"; exit 1; }
	@$(MAKE) lint
	@if command -v npx >/dev/null; then $(MAKE) generate; elif [ "$$CI" = true ]; then echo "no node to generate with"; exit 1; else echo "skipping generate: there is no node"; fi
	@$(MAKE) test
	@[ -z "$$(git status --porcelain)" ] || { git status --short; git diff --stat; echo "the checks changed the tree: commit what was generated"; exit 1; }

bench: build ## compare with nginx and a bare proxy, 15 minutes; UPDATE=1 rewrites docs/benchmarks.md
	@scripts/bench-setup.sh
	PATH="$$PATH:/usr/sbin:$(CURDIR)/.cache/nginx/usr/sbin" bin/pointsman bench $(if $(UPDATE),--markdown docs/benchmarks.md) $(BENCH)

bench-peers: build ## the same, with other gateways that package clients can install
	@scripts/bench-setup.sh peers
	PATH="$$PATH:/usr/sbin:$(CURDIR)/.cache/nginx/usr/sbin" bin/pointsman bench --peers .cache/peers $(if $(UPDATE),--markdown docs/benchmarks.md) $(BENCH)

bench-check: build ## fail if the CPU time in bare proxies is 10 % above the recorded one; UPDATE=1 records it
	bin/pointsman bench check $(if $(UPDATE),--update) $(RATIOS)

bench-against: build ## fail if it takes over 8 % more CPU time than the build of COMMIT, by default of the last that recorded ratios
	@set -e; commit=$(or $(COMMIT),$$(git log -1 --format=%H -- $(RATIOS))); commit=$$(git rev-parse --verify "$$commit^{commit}"); dir=.cache/against/$$commit; \
	if [ ! -x $$dir/bin/pointsman ]; then \
		rm -rf .cache/against; mkdir -p $$dir; git archive -o $$dir/source.tar $$commit; tar -xf $$dir/source.tar -C $$dir; make -s -C $$dir build; \
	fi; \
	echo "against $$commit"; bin/pointsman bench check --against $$dir/bin/pointsman $(RATIOS)

profile: build ## renew the profile that the build is optimized by, two minutes
	bin/pointsman bench run --profile --duration 75s --cpu-profile cmd/pointsman/serve.pgo

soak: build ## 30 minutes of everything at 70 % load; MINUTES=5 for less
	bin/pointsman bench soak --minutes $(or $(MINUTES),30)

dist: ## release binaries and their sums in dist/
	@rm -rf dist && mkdir -p dist
	@set -e; for target in $(TARGETS); do \
		os=$${target%/*} arch=$${target#*/}; \
		echo "dist/pointsman-$(VERSION)-$$os-$$arch"; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath $(PROFILE) -ldflags '$(LDFLAGS)' -o dist/pointsman-$(VERSION)-$$os-$$arch ./cmd/pointsman; \
	done
	@cd dist && { sha256sum pointsman-* 2>/dev/null || shasum -a 256 pointsman-*; } > SHA256SUMS && cat SHA256SUMS

clean: ## remove what was built, installed and cached here
	rm -rf bin dist .cache examples/clients/judges/node/node_modules examples/provider-node/node_modules policies/builtin/node_modules
