package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
)

// readPayload makes a payload of the program and the working directory.
func (e *execution) readPayload(ctx context.Context, args []string) (namedPayload, error) {
	o := &e.o.payload
	var p namedPayload
	env, err := e.environment()
	if err != nil {
		return p, err
	}
	o.env = env
	if e.root, err = e.openRoot(ctx, o, e.o.run.arch); err != nil {
		return p, err
	}
	b, installed, err := e.program(&p, args[0])
	if err != nil {
		return p, err
	}
	name, err := e.programName(p.path, args[1:])
	if err != nil {
		return p, err
	}
	p.name, p.root = shellquote.Join(report.RedactWords(args)...), e.root
	p.Payload = guest.ExecPayload(name, p.path, b, args[1:], e.dir, installed)
	// With this machine's files the directory is there, unless the guest hides it.
	if !o.hostRoot || guest.Reserved(e.dir) != "" {
		left, err := p.AddHere(e.dir, e.excluded())
		if err != nil {
			return p, usageError{err}
		}
		if len(left) > 0 {
			e.warn(fmt.Sprintf("%s of the working directory are left out, such as %s: links that lead out of it, and what is no file or cannot be read", count(len(left), "name"), left[0]))
		}
	}
	if o.libraryPath == nil { // cargo and others say there where a program's libraries are
		for _, dir := range filepath.SplitList(e.getenv("LD_LIBRARY_PATH")) {
			if info, err := os.Stat(dir); err == nil && info.IsDir() {
				o.libraryPath = append(o.libraryPath, dir)
			}
		}
	}
	if err := o.addExtras(&p); err != nil {
		return p, err
	}
	p.Job.Env = append([]string{"PWD=" + e.dir}, p.Job.Env...)
	if err := p.PlaceHere(); err != nil {
		return p, usageError{err}
	}
	if guest.Reserved(e.dir) == "" {
		same := *o
		same.tests, same.workdir = []string{shellquote.Join(append([]string{p.path}, args[1:]...)...)}, e.dir
		same.files = append([]string{e.dir + ":" + e.dir}, o.files...)
		p.flags = same.flags()
	}
	return p, nil
}

// excluded are the directories that are not brought along.
func (e *execution) excluded() []string {
	var skip []string
	for _, name := range append(slices.Clone(e.o.exclude), e.o.out) {
		if name == "" {
			continue
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(e.dir, name)
		}
		skip = append(skip, filepath.Clean(name))
	}
	return skip
}

// program finds the program as a shell does, in the guest's root file system if it
// is there.
func (e *execution) program(p *namedPayload, word string) (b []byte, installed bool, err error) {
	bare := !strings.Contains(word, "/")
	if e.root.given() && (bare || filepath.IsAbs(word)) {
		found, b, err := e.root.find(word)
		if err == nil {
			is, err := guest.CheckProgram(found, b)
			if err != nil {
				return nil, false, statusError{statusNotRun, err}
			}
			asked := e.o.run.arch
			if e.root.Root != nil {
				asked = cmp.Or(asked, e.root.Arch)
			}
			p.path = found
			p.arch, err = programArch(found, is, asked)
			return b, true, err
		}
		if bare {
			return nil, false, statusError{statusNotFound, err}
		}
	}
	path, err := exec.LookPath(word)
	if errors.Is(err, fs.ErrPermission) && !bare { // artifacts of CI systems come without modes
		path, err = word, nil
	}
	if errors.Is(err, exec.ErrDot) {
		err = fmt.Errorf("%q is in this directory, which is not searched: want ./%s", word, word)
	}
	if err == nil {
		if path, err = filepath.Abs(path); err == nil {
			path, err = filepath.EvalSymlinks(path)
		}
	}
	if err != nil {
		return nil, false, statusError{statusNotFound, fmt.Errorf("find the program %q: %w", word, cmp.Or(errors.Unwrap(err), err))}
	}
	p.path = path
	if e.root.given() {
		if b, err = os.ReadFile(path); err == nil {
			var is string
			if is, err = guest.CheckProgram(path, b); err == nil {
				p.arch, err = programArch(path, is, e.o.run.arch)
			}
		}
	} else if p.arch, err = programArch(path, guest.ExecutableArch(path), e.o.run.arch); err == nil {
		b, err = guest.ReadExecutable(path, p.arch)
	}
	if err != nil {
		return nil, false, statusError{statusNotRun, err}
	}
	return b, false, nil
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
