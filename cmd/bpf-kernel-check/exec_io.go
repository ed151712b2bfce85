package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
)

// shared is a stream that several goroutines write to.
type shared struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// lines returns a writer whose lines go to the stream behind a name.
func (s *shared) lines(name string) io.Writer {
	return &prefixed{to: s, prefix: []byte("[" + name + "] ")}
}

// prefixed writes whole lines.
type prefixed struct {
	to     *shared
	prefix []byte
	buf    []byte
}

// maxPrefixed is how long a line may be until it is broken, in bytes.
const maxPrefixed = 64 << 10

func (p *prefixed) Write(b []byte) (int, error) {
	p.buf = append(p.buf, b...)
	var out []byte
	for {
		end := bytes.IndexByte(p.buf, '\n')
		if end < 0 && len(p.buf) < maxPrefixed {
			break
		}
		if end < 0 {
			end = maxPrefixed - 1
			p.buf = slices.Insert(p.buf, end, '\n')
		}
		out = append(append(out, p.prefix...), p.buf[:end+1]...)
		p.buf = append(p.buf[:0], p.buf[end+1:]...)
	}
	if len(out) > 0 {
		_, _ = p.to.Write(out)
	}
	return len(b), nil
}

// flush ends the line that a program did not.
func flush(w io.Writer) {
	if p, ok := w.(*prefixed); ok && len(p.buf) > 0 {
		_, _ = p.Write([]byte("\n"))
	}
}

// spool keeps what was read of standard input, which each kernel's program reads
// from its start, and reads no more than one of them asks for.
type spool struct {
	src  io.Reader
	file *os.File

	mu      sync.Mutex
	size    int64
	err     error
	reading bool
	more    chan struct{} // closed when there is more
}

func newSpool(src io.Reader) (*spool, error) {
	f, err := os.CreateTemp("", "bpf-kernel-check-stdin-")
	if err != nil {
		return nil, fmt.Errorf("make a file for standard input: %w", err)
	}
	os.Remove(f.Name())
	return &spool{src: src, file: f, more: make(chan struct{})}, nil
}

func (s *spool) Close() error { return s.file.Close() }

// ReadAt is vm.Input's.
func (s *spool) ReadAt(ctx context.Context, b []byte, off int64) (int, error) {
	for {
		s.mu.Lock()
		size, err, more := s.size, s.err, s.more
		if off >= size && err == nil && !s.reading {
			s.reading = true
			go s.fill()
		}
		s.mu.Unlock()
		switch {
		case off < size:
			return s.file.ReadAt(b[:min(int64(len(b)), size-off)], off)
		case err != nil:
			return 0, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-more:
		}
	}
}

// fill reads once. It may wait for ever, and ends with the process then.
func (s *spool) fill() {
	buf := make([]byte, 32<<10)
	n, err := s.src.Read(buf)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, werr := s.file.WriteAt(buf[:n], s.size); err == nil {
		err = werr
	}
	s.size, s.err, s.reading = s.size+int64(n), err, false
	close(s.more)
	s.more = make(chan struct{})
}

// endGrace is how long a program may take to end after the first signal that asks
// it to.
const endGrace = 10 * time.Second

// passSignals passes signals on to the program. The second that asks it to end
// ends its VM, and so does the first where it does not run yet.
func (e *execution) passSignals() (stop func()) {
	sigs, done := make(chan os.Signal, 16), make(chan struct{})
	for _, sig := range []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2} {
		if !signal.Ignored(sig) { // as by nohup
			signal.Notify(sigs, sig)
		}
	}
	go func() {
		var late <-chan time.Time
		var first syscall.Signal
		for {
			select {
			case <-done:
				return
			case <-late:
				e.cancel(interrupted{first})
			case s := <-sigs:
				sig := s.(syscall.Signal)
				running := e.signal(sig)
				switch {
				case sig == syscall.SIGUSR1 || sig == syscall.SIGUSR2:
				case !running || late != nil:
					e.cancel(interrupted{sig})
				default:
					first, late = sig, time.After(endGrace)
				}
			}
		}
	}()
	return func() { signal.Stop(sigs); close(done) }
}

// signal passes a signal on, and says whether the program runs anywhere.
func (e *execution) signal(sig syscall.Signal) (running bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range e.streams {
		running = running || s.Started()
		s.Signal(sig)
	}
	return running
}

// execEnv are the variables of its own that a program gets by default: what test
// runners tell it. None is known to hold a secret.
var execEnv = []string{
	"CARGO_BIN_EXE_*", "CARGO_CRATE_NAME", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_*", "CARGO_TARGET_TMPDIR",
	"GODEBUG", "GOMAXPROCS", "GOTRACEBACK",
	"GTEST_*", "MALLOC_PERTURB_", "MESON_TEST_ITERATION", "NEXTEST", "NEXTEST_*",
	"RUST_BACKTRACE", "RUST_LIB_BACKTRACE", "RUST_LOG", "RUST_MIN_STACK", "RUST_TEST_*",
	"ASAN_OPTIONS", "LSAN_OPTIONS", "MSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS",
}

// environment returns the program's variables: those of execEnv, and those of
// --env.
func (e *execution) environment() ([]string, error) {
	var names []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	var env, plain []string
	add := func(pattern string) {
		for _, name := range names {
			if ok, _ := path.Match(pattern, name); ok && guest.CheckEnv(name+"="+e.getenv(name)) == nil {
				env = append(env, name+"="+e.getenv(name))
			}
		}
	}
	for _, pattern := range execEnv {
		add(pattern)
	}
	for _, given := range e.o.payload.env {
		name, _, set := strings.Cut(given, "=")
		switch _, err := path.Match(name, ""); {
		case set || !strings.ContainsAny(name, "*?["):
			plain = append(plain, given)
		case err != nil:
			return nil, usagef("--env %q: want NAME=VALUE, NAME, or a glob of names", given)
		default:
			add(given)
		}
	}
	o := payloadOptions{env: plain}
	o.takeEnv(e.getenv, e.warn)
	return append(env, o.env...), nil
}

var notInName = regexp.MustCompile(`[^A-Za-z0-9_.+~@-]+`)

// maxProgramName is the longest name of a program, in bytes.
const maxProgramName = 200

// programName is the name of the program in results: that of --name, or the
// working directory as it is called in its repository or module, the program's
// file and its own arguments. It is a safe relative path. Cargo's hash stays: a
// library and a program of one name differ in nothing else.
func (e *execution) programName(program string, args []string) (string, error) {
	if name := e.o.name; name != "" {
		if safeName(name) != name {
			return "", usagef("--name %q: want letters, digits and ._+~@-, in parts that are joined by slashes, %d bytes at most, such as %s", name, maxProgramName, safeName(name))
		}
		return name, nil
	}
	at := "."
	for _, marks := range [][]string{{".git"}, {"go.work", "go.mod", "Cargo.toml", "meson.build", "CMakeLists.txt"}} {
		for dir := e.dir; at == "."; dir = filepath.Dir(dir) {
			if slices.ContainsFunc(marks, func(m string) bool { return exists(filepath.Join(dir, m)) }) {
				at, _ = filepath.Rel(dir, e.dir)
				break
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	name := path.Join(filepath.ToSlash(at), filepath.Base(program))
	// go test's own arguments are the same for each of its programs.
	own := slices.DeleteFunc(slices.Clone(args), func(a string) bool { return strings.HasPrefix(strings.TrimLeft(a, "-"), "test.") })
	if len(own) > 0 {
		name += "@" + nameOfArgs(own)
	}
	return safeName(name), nil
}

// safeName makes a name's parts safe ones.
func safeName(name string) string {
	var parts []string
	for _, part := range strings.Split(name, "/") {
		part = strings.TrimLeft(notInName.ReplaceAllString(part, "_"), ".+~@-")
		if part != "" {
			parts = append(parts, part)
		}
	}
	name = cmp.Or(strings.Join(parts, "/"), "program")
	if sum := sha256.Sum256([]byte(name)); len(name) > maxProgramName {
		name = fmt.Sprintf("%s~%x", name[:maxProgramName-9], sum[:4])
	}
	return name
}

// listing are the arguments by which test runners ask a program for its tests.
var listing = regexp.MustCompile(`^--?(gtest_list_tests|list|list-tests|list-test-cases|list-test-names-only|test\.list(=.*)?)$`)

// nameOfArgs tells calls of one program with several arguments apart, as test
// runners make them for each of its tests.
func nameOfArgs(args []string) string {
	shown := strings.Join(report.RedactWords(args), " ")
	sum := sha256.Sum256([]byte(shown))
	words := strings.Trim(notInName.ReplaceAllString(shown, "_"), "-_")
	return fmt.Sprintf("%s~%x", words[:min(len(words), 60)], sum[:3])
}
