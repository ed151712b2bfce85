package build

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/child"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// tree is an unpacked kernel source, in which it is built.
type tree struct {
	dir  string
	arch Arch
	jobs int
	vars []string // VAR=VALUE
	env  []string
	log  *os.File
}

// version asks the tree for its version, such as "6.1.192".
func (t *tree) version(ctx context.Context) (string, error) {
	for _, f := range []string{"Makefile", "Kconfig"} {
		if _, err := os.Stat(filepath.Join(t.dir, f)); err != nil {
			return "", errors.New("it holds no kernel source: no Makefile and Kconfig in its top directory")
		}
	}
	out, err := output(ctx, t.command(ctx, "-s", "kernelversion"))
	if err != nil {
		return "", fmt.Errorf("ask for its version: %w", err)
	}
	v := strings.TrimSpace(out)
	if !kernelVersion.MatchString(v) {
		return "", fmt.Errorf("make kernelversion says %.100q, which is no version", v)
	}
	return v, nil
}

// configure makes .config and checks that it is what the recipe wants.
func (t *tree) configure(ctx context.Context, r Recipe) (image.Config, error) {
	file := filepath.Join(t.dir, ".config")
	var base []byte
	if r.Base != "" {
		err := t.make(ctx, r.Base)
		if err != nil {
			return nil, err
		}
		if base, err = os.ReadFile(file); err != nil {
			return nil, fmt.Errorf("make %s left no configuration: %w", r.Base, err)
		}
	}
	if err := os.WriteFile(file, merge(base, r), 0o644); err != nil {
		return nil, fmt.Errorf("write the configuration: %w", err)
	}
	if err := t.make(ctx, "olddefconfig"); err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	defer f.Close()
	got, err := image.ReadConfig(f)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	missing := unmet(got, r.Options)
	if len(missing) == 0 {
		return got, nil
	}
	defs, err := definitions(os.DirFS(t.dir), t.arch, missing)
	if err != nil {
		return nil, err
	}
	var e ConfigError
	for _, o := range missing {
		e.Reasons = append(e.Reasons, explain(o, got, defs[o.Name]))
	}
	fmt.Fprintf(t.log, "\n%s\n", strings.Join(e.Reasons, "\n"))
	return nil, &e
}

// MakeError says that make did not reach a target.
type MakeError struct {
	Target string
	Err    error
	Log    string   // the file
	Lines  []string // of the log: errors, and the last ones
}

func (e *MakeError) Error() string { return fmt.Sprintf("make %s: %v, see %s", e.Target, e.Err, e.Log) }
func (e *MakeError) Unwrap() error { return e.Err }

// make runs make for a target, with its output in the log.
func (t *tree) make(ctx context.Context, target string) error {
	cmd := t.command(ctx, "-j"+strconv.Itoa(t.jobs), target)
	fmt.Fprintf(t.log, "+ %s\n", shellquote.Join(cmd.Args...))
	start, err := t.log.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("find the log's end: %w", err)
	}
	cmd.Stdout, cmd.Stderr = t.log, t.log
	child.Group(cmd)
	err = child.Run(cmd)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return &MakeError{Target: target, Err: err, Log: t.log.Name(), Lines: excerpt(t.log.Name(), start)}
	}
	return nil
}

// command is make with variables that do not depend on who builds, when and
// where. A variable on the command line reaches all sub-makes.
func (t *tree) command(ctx context.Context, args ...string) *exec.Cmd {
	vars := []string{
		"ARCH=" + t.arch.Kernel,
		"LOCALVERSION=", // set, even to nothing: no "+" for what is not a tag
		"KBUILD_BUILD_USER=build", "KBUILD_BUILD_HOST=build", "KBUILD_BUILD_VERSION=1",
		"KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
		// The tools of older trees are built with -Werror, and compilers that
		// are newer warn of more: gcc 12 of every realloc in tools/lib/subcmd.
		"WERROR=0", "HOSTCFLAGS=-Wno-error",
	}
	if !t.arch.native() {
		vars = append(vars, "CROSS_COMPILE="+t.arch.cross())
	}
	cmd := exec.CommandContext(ctx, "make", slices.Concat([]string{"-C", t.dir, "--no-print-directory"}, vars, t.vars, args)...)
	cmd.Env = append(environ(), t.env...)
	return cmd
}

// environ leaves out what changes the course of a build unasked, too: the flags
// of a make that runs us, with its job server, and the kernel's own variables.
func environ() []string { return append(child.Environ(), "LC_ALL=C") }

// output runs a command of ctx and returns what it prints. An error says what it
// printed as one, or is ctx's cause: then the command and all that it started are
// killed.
func output(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr, cmd.Env = &stderr, append(environ(), cmd.Env...)
	out, err := child.Output(cmd)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, bounded.OneLine(stderr.String()))
	}
	return string(out), nil
}

// oldBTF keeps new pahole from writing what an old kernel cannot read: from
// 1.24 on it writes enum64, which Linux reads from 6.0 on, and an older one
// takes all of its BTF for broken. Stable trees have learned to ask for it,
// their first releases have not.
func (t *tree) oldBTF(ctx context.Context, version, dir string) error {
	if report.CompareVersions(version, "6.0-rc1") >= 0 || slices.ContainsFunc(t.vars, func(kv string) bool { return strings.HasPrefix(kv, "PAHOLE=") }) {
		return nil
	}
	const skip = "--skip_encoding_btf_enum64"
	help, err := output(ctx, exec.CommandContext(ctx, "pahole", "--help"))
	if ctx.Err() != nil {
		return err
	}
	if err != nil || !strings.Contains(help, skip) {
		return nil // older than the problem, or not wanted
	}
	wrapper := filepath.Join(dir, "pahole")
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\nexec pahole "+skip+" \"$@\"\n"), 0o755); err != nil {
		return fmt.Errorf("write a wrapper for pahole: %w", err)
	}
	t.vars = append(t.vars, "PAHOLE="+wrapper)
	return nil
}

// hasBTF looks whether the kernel has got the type information that it was
// configured for: the scripts of some trees go on without.
func hasBTF(vmlinux string, config image.Config) error {
	if !config.Has("DEBUG_INFO_BTF", false) {
		return nil
	}
	f, err := elf.Open(vmlinux)
	if err != nil {
		return fmt.Errorf("look for BTF: %w", err)
	}
	defer f.Close()
	if s := f.Section(".BTF"); s == nil || s.Size == 0 {
		return errors.New("the kernel was built without BTF, which CONFIG_DEBUG_INFO_BTF asks for: the log says why")
	}
	return nil
}
