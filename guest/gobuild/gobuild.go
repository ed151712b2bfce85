// Package gobuild finds and builds the tests of Go packages with the go command,
// as go test does, and gathers the files that they may read. Nothing of them runs
// on this machine.
package gobuild

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Options say what is built.
type Options struct {
	Patterns []string // of packages, as go test takes them; those that are paths may lead into several modules
	Tags     string   // build tags, as go test's -tags
	Arch     string   // GOARCH's name
	Cover    bool     // for coverage of all packages that Patterns match
	Args     []string // of the test binaries, as Args returns them: packages without a test that they choose are left out

	Warn func(string) // takes one line
}

// Tests are the test binaries of packages.
type Tests struct {
	Programs []Program
	Files    []guest.File // of all packages
}

// Program is one package's test binary.
type Program struct {
	Package string // import path
	Path    string // where go test -c would leave it
	Dir     string // the package's directory in the guest
	Data    []byte
}

// SourceDir is the guest's directory of the packages' files: the module's
// directory, or the one that all modules are in.
const SourceDir = "/src"

// Build lists and builds the tests. The environment is the caller's, with GOOS and
// GOARCH of the guest, and without cgo unless CGO_ENABLED is set. An error ends with
// the go command's own words, which can be several lines.
func Build(ctx context.Context, o Options) (*Tests, error) {
	goCmd, err := exec.LookPath("go")
	if err != nil {
		return nil, errors.New("the go command is not in PATH: install Go, in a workflow by actions/setup-go in a step before")
	}
	b := builder{Options: o, goCmd: goCmd}
	if err := b.readEnv(ctx); err != nil {
		return nil, err
	}
	var all []*listed
	tests := &Tests{}
	for _, g := range b.groups() {
		packages, err := b.list(ctx, g)
		if err != nil {
			return nil, err
		}
		all = append(all, packages...)
		chosen, err := b.choose(packages)
		if err != nil {
			return nil, err
		}
		programs, err := b.build(ctx, g, chosen)
		if err != nil {
			return nil, err
		}
		tests.Programs = append(tests.Programs, programs...)
	}
	if len(tests.Programs) == 0 {
		said := strings.TrimSpace("no package has a test, or none that the arguments choose: name packages with tests\n" + b.unmatched)
		return nil, errors.New(said)
	}
	for line := range strings.Lines(b.unmatched) {
		b.Warn(strings.TrimSpace(line))
	}
	// As go test shows them.
	slices.SortFunc(tests.Programs, func(a, b Program) int { return strings.Compare(a.Package, b.Package) })
	return tests, b.gather(tests, all)
}

type builder struct {
	Options
	goCmd  string
	gowork bool // one workspace has all modules
	linked bool // GOFLAGS has flags of the linker

	unmatched string // lines of the go command about patterns without packages
}

// goError is what the go command says of what cannot be built.
type goError struct{ doing, said string }

func (e *goError) Error() string {
	const most = 32 << 10 // bytes
	return e.doing + ", and nothing was booted:\n" + wire.Truncate(strings.TrimSpace(e.said), most)
}

// run runs the go command in a directory and returns its standard output.
func (b *builder) run(ctx context.Context, dir, doing string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, b.goCmd, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+b.Arch)
	if _, set := os.LookupEnv("CGO_ENABLED"); !set {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
	}
	var out, said strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &said
	// It ends its compilers at this signal, and not when it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, new(*exec.ExitError)):
		return nil, &goError{doing, said.String()}
	case err != nil:
		return nil, fmt.Errorf("run the go command: %w", err)
	}
	for line := range strings.Lines(said.String()) {
		if strings.Contains(line, "matched no packages") {
			b.unmatched += line
		}
	}
	return []byte(out.String()), nil
}

var race = regexp.MustCompile(`^--?race(=[1tT].*)?$`)

// readEnv reads what the go command does by itself.
func (b *builder) readEnv(ctx context.Context) error {
	out, err := b.run(ctx, "", "go env fails", "env", "GOWORK", "GOFLAGS")
	if err != nil {
		return err
	}
	gowork, goflags, _ := strings.Cut(string(out), "\n")
	b.gowork = gowork != "" && gowork != "off"
	b.linked = strings.Contains(goflags, "-ldflags")
	for _, f := range slices.Concat(strings.Fields(goflags), b.Args) {
		if race.MatchString(f) {
			return fmt.Errorf("%s: the race detector needs cgo, a dynamic program and several times the memory, and what it finds does not depend on the kernel: run go test -race on this machine", f)
		}
	}
	return nil
}

// group are patterns that one go command takes, in its directory.
type group struct {
	dir      string
	patterns []string
}

// groups are the patterns by module: without a workspace, the go command takes
// those of the module that it is in only. "" is this directory.
func (b *builder) groups() []group {
	var groups []group
	for _, pattern := range b.Patterns {
		g := group{patterns: []string{pattern}}
		if module := moduleOf(pattern); module != "" && !b.gowork {
			if rel, err := filepath.Rel(module, pattern); err == nil {
				g = group{module, []string{"./" + filepath.ToSlash(rel)}}
			}
		}
		if i := slices.IndexFunc(groups, func(other group) bool { return other.dir == g.dir }); i >= 0 {
			groups[i].patterns = append(groups[i].patterns, g.patterns...)
			continue
		}
		groups = append(groups, g)
	}
	return groups
}

// moduleOf is the directory of the module that a pattern begins in, below this
// directory; "" for others.
func moduleOf(pattern string) string {
	if !strings.HasPrefix(pattern, "./") {
		return ""
	}
	fixed, _, _ := strings.Cut(pattern, "...")
	for dir := filepath.Clean(fixed); dir != "." && filepath.IsLocal(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	return ""
}

// flags adds those of both go list and go test to arguments.
func (b *builder) flags(args ...string) []string {
	args = append(args, "-buildvcs=false")
	if b.Tags != "" {
		args = append(args, "-tags="+b.Tags)
	}
	return args
}

// build builds the tests of packages. It is go test -c and not go test -exec, which
// takes as long, but needs a program of ours that it starts for each binary.
func (b *builder) build(ctx context.Context, g group, packages []*listed) ([]Program, error) {
	dir, err := os.MkdirTemp("", "bpf-kernel-check-build-")
	if err != nil {
		return nil, fmt.Errorf("make a directory to build in: %w", err)
	}
	defer os.RemoveAll(dir)
	args := b.flags("test", "-c", "-vet=off")
	if b.Cover {
		args = append(args, "-cover", "-coverpkg="+strings.Join(g.patterns, ","))
	}
	if !b.linked {
		// Without the debugger's tables a binary takes three quarters of the
		// memory. Its symbols stay, unlike those of go test: uprobes on
		// /proc/self/exe need them.
		args = append(args, "-ldflags=-w")
	}
	var failed goError
	built := map[string]string{}
	for i, batch := range batches(packages) {
		out := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(out, 0o700); err != nil {
			return nil, fmt.Errorf("make a directory to build in: %w", err)
		}
		_, err := b.run(ctx, g.dir, "the tests do not build", append(append(slices.Clone(args), "-o", out+"/"), batch...)...)
		if bad := (*goError)(nil); errors.As(err, &bad) {
			failed = goError{bad.doing, failed.said + bad.said}
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := binaries(out, built); err != nil {
			return nil, err
		}
	}
	if failed.doing != "" {
		return nil, &failed
	}
	var programs []Program
	for _, p := range packages {
		file := built[p.ImportPath]
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the test binary of %s: %w", p.ImportPath, err)
		}
		programs = append(programs, Program{Package: p.ImportPath, Path: filepath.Join(p.Dir, filepath.Base(file)), Data: data})
	}
	return programs, nil
}

// binaries finds the test binaries in a directory, by import path. That of a main
// package has the package's path, others one with .test behind it.
func binaries(dir string, found map[string]string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return err
	}
	for _, file := range files {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read the test binary %s: %w", filepath.Base(file), err)
		}
		found[strings.TrimSuffix(info.Path, ".test")] = file
	}
	return nil
}

var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// batches are import paths, no two of one batch with binaries of the same name,
// which one go test -c refuses.
func batches(packages []*listed) (batches [][]string) {
	of := map[string]int{}
	for _, p := range packages {
		parts := strings.Split(p.ImportPath, "/")
		last := len(parts) - 1
		if last > 0 && majorVersion.MatchString(parts[last]) {
			last--
		}
		i := of[parts[last]]
		of[parts[last]]++
		if i == len(batches) {
			batches = append(batches, nil)
		}
		batches[i] = append(batches[i], p.ImportPath)
	}
	return batches
}
