# make demo    boot four Debian kernels and check the built-in tracer on them
# make test    everything: linters, unit tests, VM tests on real kernels
# make build   bin/bpf-kernel-check, with the guest's programs inside
.POSIX:
.SUFFIXES:

GO ?= go
ARCHES = amd64 arm64 riscv64 s390x ppc64le # of the kernels
HOSTS = amd64 arm64 # that releases are for
PROGRAMS = init generators tracer loader shell
# The same flags as guest.BuildFlags: small, and the same bytes from any directory.
GUEST_FLAGS = -trimpath -buildvcs=false '-ldflags=-s -w -buildid='

.PHONY: all build release programs deps test-deps demo test race unit vet bench fuzz soak generate clean

all: build

deps:
	@.github/scripts/install-deps

# Installed by version: as a tool of go.mod it would bring 200 modules.
LINT_VERSION = v2.15.0
LINT = bin/golangci-lint-$(LINT_VERSION)
$(LINT):
	GOBIN="$$PWD/bin" $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	@mv bin/golangci-lint $(LINT)

test-deps: $(LINT)
	@.github/scripts/install-deps --tests

programs:
	@rm -rf guest/programs
	@for arch in $(ARCHES); do for p in $(PROGRAMS); do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build $(GUEST_FLAGS) -o guest/programs/$$arch/$$p ./guest/$$p || exit 1; \
	done; done
	@$(GO) run guest/pack.go guest/programs/*

build: programs
	CGO_ENABLED=0 $(GO) build -trimpath -tags embed_guest,disable_grpc_modules -o bin/bpf-kernel-check ./cmd/bpf-kernel-check

# The programs that a release publishes, the same bytes from any directory:
# make release VERSION=v1.2.3
DIST = dist
release:
	@echo "$(VERSION)" | grep -Eqx 'v[0-9]+\.[0-9]+\.[0-9]+' || { echo "VERSION is \"$(VERSION)\": want vX.Y.Z" >&2; exit 2; }
	@$(MAKE) --no-print-directory programs
	@mkdir -p $(DIST)
	@for arch in $(HOSTS); do \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -buildvcs=false -tags embed_guest,disable_grpc_modules \
			-ldflags='-s -w -buildid= -X main.releaseVersion=$(VERSION)' \
			-o $(DIST)/bpf-kernel-check-$(VERSION)-linux-$$arch ./cmd/bpf-kernel-check || exit 1; \
	done
	@cd $(DIST) && rm -f *.gz && sha256sum bpf-kernel-check-$(VERSION)-linux-* >checksums.txt && cat checksums.txt
	@cd $(DIST) && gzip -9nk bpf-kernel-check-$(VERSION)-linux-* # what jobs download

demo: deps build
	bin/bpf-kernel-check demo --out bin/demo

# With the guest's programs, which each command that a test runs would build, and
# without what the program is built without.
TEST = $(GO) test -tags embed_guest,disable_grpc_modules

# Commands that print the directories of packages: of all with tests, of those
# that boot VMs unless -short, and of those in which goroutines start, by their
# own code, their tests or an HTTP server.
CODE = cmd guest report shard
DIRECTORIES = grep -v /testdata/ | xargs -n 1 dirname | sort -u | sed 's|^|./|'
TESTED = find $(CODE) -name '*_test.go' | $(DIRECTORIES)
BOOTING = grep -rl --include='*_test.go' 'testing\.Short()' $(CODE) | $(DIRECTORIES)
CONCURRENT = grep -rlE --include='*.go' '^[[:space:]]+go |\.Go\(|errgroup|httptest\.' $(CODE) | $(DIRECTORIES)

# What race leaves out comes after it, package by package, so that no more than
# two VMs run at a time.
test: test-deps vet race
	$(TEST) -p 1 -timeout 60m $$({ $(BOOTING); $(TESTED) | grep -vxF "$$($(CONCURRENT))"; } | sort -u)

# The tests that boot no VM, under the race detector, where there can be a race.
# By default every program that it watches sleeps for a second at its end, and
# the tests start thousands.
race: programs
	GOGC=400 GORACE=atexit_sleep_ms=10 $(TEST) -race -short -timeout 30m $$($(CONCURRENT))

# gofumpt, vet, staticcheck and the directions of imports: .github/golangci.yml.
vet: $(LINT)
	$(LINT) run --config .github/golangci.yml
	GOARCH=arm64 $(GO) vet ./...
	$(GO) vet ./.github/example/... ./.github/tools/soak/...

# The tests that boot no VM. A third of their time would be garbage collection.
unit: programs
	GOGC=400 $(TEST) -short ./...

# Ratios from interleaved runs; see the comment of each benchmark.
bench: build
	$(GO) test -run '^$$' -bench Boot -benchtime 5x -timeout 30m ./shard/snapshot
	$(GO) test -run '^$$' -bench Run -benchtime 5x -timeout 30m ./cmd/bpf-kernel-check
	$(GO) test -run '^$$' -bench Verdict -benchtime 5x -timeout 30m ./shard
	$(GO) test -run '^$$' -bench 'Run$$' -benchtime 1x -timeout 60m ./shard
	$(GO) test -run '^$$' -bench 'Initramfs|Unpack|Download|Merge|JUnit|Markdown' ./guest ./shard/kernel/source ./shard/kernel/fetch ./report/...

# Every fuzz target for FUZZTIME.
FUZZTIME = 2m
fuzz:
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func / /' | while read -r file target; do \
		echo "$$target in $$(dirname $$file)"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$(dirname $$file)" || exit 1; \
	done

# Debian's kernels again and again, with the built-in tracer and with a payload
# that does nothing, until BOOTS VMs have run; ended, it goes on where it was.
BOOTS = 1000
SOAK_JOBS = 1
SOAK = /var/tmp/bpf-kernel-check-soak
soak: deps build
	$(GO) run ./.github/tools/soak -dir $(SOAK) -boots $(BOOTS) -j $(SOAK_JOBS)

# BPF objects, which need Debian's clang, llvm and libbpf-dev, the loader on libbpf,
# which needs lld and zstd as well and downloads 170 MB, and reference pages.
generate:
	$(GO) generate ./guest ./guest/tracer ./guest/loader ./guest/loader/libbpf ./shard/preflight ./cmd/bpf-kernel-check

clean:
	rm -rf bin dist guest/programs
