package guest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	goversion "go/version"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// PayloadError says why a file cannot be a payload. Its text is one line that
// ends with what to do.
type PayloadError struct {
	Path   string
	Reason string
}

func (e *PayloadError) Error() string { return fmt.Sprintf("payload %q %s", e.Path, e.Reason) }

// elfKind is a kind of ELF file that a user names, in words for errors.
type elfKind struct {
	what     string // "a static executable"
	max      int64  // bytes
	tooLarge string // what the limit is, and what to do about it
	notELF   string // why another file will not do
}

// read reads an ELF file for which check returns "", or why it will not do. An
// error is a PayloadError.
func (k elfKind) read(path string, check func(f *elf.File) string) ([]byte, error) {
	bad := func(format string, args ...any) ([]byte, error) {
		return nil, &PayloadError{Path: path, Reason: fmt.Sprintf(format, args...)}
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bad("does not exist: give the path of %s", k.what)
	case err != nil:
		return bad("cannot be read: %v", errors.Unwrap(err))
	case !info.Mode().IsRegular():
		return bad("is not a regular file: give the path of %s", k.what)
	case info.Size() > k.max:
		return bad("has %d MiB, more than the %d MiB %s", info.Size()>>20, k.max>>20, k.tooLarge)
	}
	f, err := elf.Open(path)
	if errors.Is(err, fs.ErrPermission) {
		return bad("cannot be read: %v", fs.ErrPermission)
	}
	if err != nil {
		return bad("%s", k.notELF)
	}
	defer f.Close()
	if why := check(f); why != "" {
		return bad("%s", why)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return bad("cannot be read: %v", errors.Unwrap(err))
	}
	return b, nil
}

// ReadExecutable reads an ELF executable for an architecture. The file's mode does
// not matter: the guest has its own, and artifacts of CI systems come without.
func ReadExecutable(path, arch string) ([]byte, error) {
	return elfKind{
		what: "an executable", max: maxFileBytes, tooLarge: "a guest takes: strip it",
		notELF: "is no ELF executable: the guest runs programs of Linux, and scripts only with their interpreter, as in --rootfs debian:bookworm",
	}.read(path, func(f *elf.File) string {
		got := goarch.OfELF(f.Machine, f.Data).Name
		switch {
		case f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN:
			return fmt.Sprintf("is an ELF file of type %v: want an executable", f.Type)
		case got == "" || got != arch:
			return fmt.Sprintf("is built for %s: the kernels are for %s", cmp.Or(got, f.Machine.String()), arch)
		}
		return ""
	})
}

// Digest names what a payload is asked to do: program, arguments, environment,
// modules and files, by their names. Their contents do not count, since jobs
// that each build the payload seldom get the same bytes; nor do time limits. Nor
// do the values of the environment: the digest is published, and a short secret
// can be found by trying.
func (p *Payload) Digest() string {
	job := p.Job
	job.Timeout, job.TestTimeout = 0, 0
	job.Env = envNames(job.Env)
	job.Programs = slices.Clone(job.Programs)
	for i := range job.Programs {
		one := &job.Programs[i]
		one.Timeout, one.TestTimeout, one.Env = 0, 0, envNames(one.Env)
	}
	asked := []any{job, p.Modules, p.SkipsPass, p.OnDemand, p.Own}
	for _, f := range p.Files {
		asked = append(asked, f.Path, f.Mode)
		if f.Path == wire.ObjectsPath { // settings, and no contents of a file
			asked = append(asked, f.Data)
		}
	}
	if p.Root != "" {
		asked = append(asked, p.Root)
	}
	h := sha256.New()
	// These types have no value that cannot be encoded, and a hash takes
	// everything.
	_ = json.NewEncoder(h).Encode(asked)
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// envNames are the names of variables.
func envNames(env []string) []string {
	var names []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		names = append(names, name)
	}
	return names
}

// ContentDigest names a payload with the contents of its files: the same digest
// is the same test, but for the values of its environment.
func (p *Payload) ContentDigest() string {
	h := sha256.New()
	fmt.Fprintln(h, p.Digest())
	for _, f := range p.Files {
		fmt.Fprintf(h, "%x\n", sha256.Sum256(f.Data))
	}
	if p.RootDigest != "" {
		fmt.Fprintln(h, p.RootDigest)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// EventsTracePayload is the check of an EventsTrace: testrunner starts it,
// has the generators make events happen and verifies what it reports. tracer
// is the program; flags go to testrunner.
func EventsTracePayload(ctx context.Context, arch string, tracer []byte, timeout time.Duration, flags ...string) (Payload, error) {
	p := Payload{
		Job: wire.Job{
			Args: append([]string{wire.TestrunnerPath, "--events-trace", "/EventsTrace", "--generators", "/generators"}, flags...),
			Name: "EventsTrace", Reports: true, Timeout: timeout,
		},
		Files: []File{{Path: "/EventsTrace", Mode: 0o755, Data: tracer}},
		// The container tests need it, and distributions build it as a module.
		Modules: []string{"overlay"},
		Targets: Targets(tracer),
	}
	b, err := Program(ctx, arch, Generators)
	if err != nil {
		return Payload{}, err
	}
	p.Files = append(p.Files, File{Path: "/" + Generators, Mode: 0o755, Data: b})
	return p, nil
}

// TestPayload is a test program: testrunner runs it and reports the tests that
// it prints, or, where it prints none, one with the program's name and its exit
// status as the verdict. dir is its working directory in the guest.
func TestPayload(ctx context.Context, path string, args []string, dir, arch string, timeout time.Duration) (Payload, error) {
	b, err := ReadExecutable(path, arch)
	if err != nil {
		return Payload{}, err
	}
	return ProgramPayload(path, b, args, dir, timeout), nil
}

// ProgramPayload is TestPayload for a program that was read; b are its bytes.
func ProgramPayload(path string, b []byte, args []string, dir string, timeout time.Duration) Payload {
	name := filepath.Base(path)
	if strings.ContainsAny(name, "\n\x00") {
		name = "payload"
	}
	p := InstalledPayload("/payload/"+name, b, args, dir, timeout)
	p.Files = []File{{Path: "/payload/" + name, Mode: 0o755, Data: b, Source: path}}
	return p
}

// InstalledPayload is TestPayload for a program that the guest's root file system
// has at a path; b are its bytes.
func InstalledPayload(inside string, b []byte, args []string, dir string, timeout time.Duration) Payload {
	return namedPayload(filepath.Base(inside), inside, b, args, dir, timeout)
}

// namedPayload is InstalledPayload with a name of its own.
func namedPayload(name, inside string, b []byte, args []string, dir string, timeout time.Duration) Payload {
	run := []string{wire.TestrunnerPath, "exec", "--name", name, "--dir", dir}
	version, covered, ok := goTest(b)
	if ok {
		// As go test does: a test that calls os.Exit(0) must not pass for all
		// that would have come after it. And as go test -json: without -test.v
		// nobody sees that every test was skipped. args come later and count.
		verbose := "-test.v=test2json"
		if goversion.IsValid(version) && goversion.Compare(version, "go1.20") < 0 {
			verbose = "-test.v"
		}
		run = append(run, "--go-test", "--", inside, "-test.paniconexit0", verbose)
		args = verboseAs(verbose, args)
	} else {
		run = append(run, "--", inside)
	}
	return Payload{
		Job: wire.Job{
			Args: append(run, args...),
			Name: name, Reports: true, Timeout: timeout,
		},
		Targets:   Targets(b),
		OnDemand:  OnDemandDefault,
		covered:   covered,
		selectors: map[string]selector{"": selectorOf(b, ok)},
	}
}

// Path is where the guest looks for a program by its name.
func Path() []string {
	return []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}
}

// CheckProgram says why a guest with a root file system cannot run a program: it
// may be a script, and need libraries. arch is "" where the program leaves it open.
func CheckProgram(path string, b []byte) (arch string, err error) {
	if bytes.HasPrefix(b, []byte("#!")) {
		return "", nil
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return "", &PayloadError{Path: path, Reason: "is neither a program nor a script that begins with #!: give it to its interpreter, such as 'bash " + path + "'"}
	}
	return cmp.Or(goarch.OfELF(f.Machine, f.Data).Name, f.Machine.String()), nil
}

// verboseAs returns a Go test binary's arguments with "-test.v" in each of its
// spellings replaced: without marks, text that looks like a result is taken for
// one. What follows "--" is the test's own.
func verboseAs(verbose string, args []string) []string {
	args = slices.Clone(args)
	for i, a := range args {
		if a == "--" {
			break
		}
		name, value, set := strings.Cut(a, "=")
		if on, err := strconv.ParseBool(value); (name == "-test.v" || name == "--test.v") && (!set || on && err == nil) {
			args[i] = verbose
		}
	}
	return args
}

// goTest says whether a program was made by go test -c, by which Go, and whether
// with -cover.
func goTest(program []byte) (version string, covered, ok bool) {
	info, err := buildinfo.Read(bytes.NewReader(program))
	// The path of a main package's test binary is the package's: only a function
	// that each test binary has tells it from the program itself.
	if err != nil || !strings.HasSuffix(info.Path, ".test") && !bytes.Contains(program, []byte("testing/internal/testdeps.TestDeps.MatchString")) {
		return "", false, false
	}
	version, _, _ = strings.Cut(info.GoVersion, " ") // go1.26.1 X:nodwarf5
	return version, slices.Contains(info.Settings, debug.BuildSetting{Key: "-cover", Value: "true"}), true
}

// ExecutableArch returns the architecture a program is built for (GOARCH's
// name), and "" when it is no ELF file or for none that is known.
func ExecutableArch(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	return goarch.OfELF(f.Machine, f.Data).Name
}
