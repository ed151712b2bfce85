package build

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"
)

// MissingToolsError says which tools a build needs that this machine lacks.
type MissingToolsError struct {
	Tools    []string // as users know them
	Packages []string // Debian's
}

func (e *MissingToolsError) Error() string {
	return fmt.Sprintf("build tools are missing: %s: apt-get install %s", strings.Join(e.Tools, ", "), strings.Join(e.Packages, " "))
}

// tool is a command or a C header that a build needs.
type tool struct {
	name, pkg string
	header    string // not a command, but this header of the host's compiler
}

// tools are what builds need: what the kernel's makefiles call, and what this
// package calls itself.
func (b *Builder) tools() []tool {
	t := []tool{{name: "make", pkg: "make"}}
	for _, p := range b.programs() {
		t = append(t, tool{name: b.program(p.variable), pkg: p.pkg})
	}
	for _, name := range []string{"flex", "bison", "bc", "perl", "tar"} {
		t = append(t, tool{name: name, pkg: name})
	}
	t = append(t,
		tool{name: "libelf", pkg: "libelf-dev", header: "gelf.h"},
		tool{name: "zlib", pkg: "zlib1g-dev", header: "zlib.h"},
		tool{name: "openssl's headers", pkg: "libssl-dev", header: "openssl/bio.h"})
	if b.wants("DEBUG_INFO_BTF") {
		t = append(t, tool{name: b.given("PAHOLE", "pahole"), pkg: "pahole"})
	}
	for _, src := range b.Sources {
		switch filepath.Ext(src) {
		case ".xz":
			t = append(t, tool{name: "xz", pkg: "xz-utils"})
		case ".zst":
			t = append(t, tool{name: "zstd", pkg: "zstd"})
		case ".bz2":
			t = append(t, tool{name: "bzip2", pkg: "bzip2"})
		case ".gz":
			t = append(t, tool{name: "gzip", pkg: "gzip"})
		}
		if st, err := os.Stat(src); err == nil && st.IsDir() || len(b.Patches) > 0 {
			t = append(t, tool{name: "git", pkg: "git"})
		}
	}
	return t
}

// CheckTools returns a *MissingToolsError that names all tools that are
// missing, or nil.
func (b *Builder) CheckTools(ctx context.Context) error {
	var missing MissingToolsError
	hostcc, err := words(b.program("HOSTCC"))
	if err != nil {
		return err
	}
	for _, t := range b.tools() {
		// Without a compiler nobody can tell whether a header is there: both are
		// named then, as they come in different packages.
		command := append(hostcc, "-E", "-include", t.header, "-x", "c", os.DevNull, "-o", os.DevNull)
		if t.header == "" {
			if command, err = words(t.name); err != nil {
				return err
			}
		}
		_, err := exec.LookPath(command[0])
		if err == nil && t.header != "" {
			_, err = output(ctx, exec.CommandContext(ctx, command[0], command[1:]...))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && !slices.Contains(missing.Tools, t.name) {
			missing.Tools = append(missing.Tools, t.name)
			if !slices.Contains(missing.Packages, t.pkg) {
				missing.Packages = append(missing.Packages, t.pkg)
			}
		}
	}
	if len(missing.Tools) > 0 {
		return &missing
	}
	return nil
}

// words splits a command.
func words(command string) ([]string, error) {
	w, err := shellquote.Split(command)
	if err != nil || len(w) == 0 {
		return nil, usagef("%q is no command", command)
	}
	return slices.Clip(w), nil
}

// program is one of the toolchain, as make knows it.
type program struct{ variable, name, pkg string }

// programs are those of the toolchain that this package must know: LLVM's if
// make is told so. Documentation/kbuild/llvm.rst says what LLVM can be: a
// directory, a version, or just 1.
func (b *Builder) programs() []program {
	if llvm := b.given("LLVM", ""); llvm != "" {
		dir, version := "", ""
		if strings.HasSuffix(llvm, "/") {
			dir = llvm
		} else if strings.HasPrefix(llvm, "-") {
			version = llvm
		}
		return []program{
			{"HOSTCC", dir + "clang" + version, "clang" + version},
			{"CC", dir + "clang" + version, "clang" + version},
			{"LD", dir + "ld.lld" + version, "lld" + version},
			{"OBJCOPY", dir + "llvm-objcopy" + version, "llvm" + version},
		}
	}
	cross, gcc, binutils := "", "gcc", "binutils"
	if arch := b.arch(); !arch.native() {
		cross, gcc, binutils = arch.cross(), arch.gcc(), arch.gcc()
	}
	cross = b.given("CROSS_COMPILE", cross)
	return []program{
		{"HOSTCC", "gcc", "gcc"},
		{"CC", cross + "gcc", gcc},
		{"LD", cross + "ld", binutils},
		{"OBJCOPY", cross + "objcopy", binutils},
	}
}

// program is the command for a variable of make.
func (b *Builder) program(variable string) string {
	for _, p := range b.programs() {
		if p.variable == variable {
			return b.given(variable, p.name)
		}
	}
	return ""
}

// given is the value of a variable that the user gave to make.
func (b *Builder) given(name, otherwise string) string {
	for _, kv := range slices.Backward(b.Make) {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return otherwise
}

// vars are the variables of make and of the environment for the tree in dir. They
// name each program: trees before 5.18 know LLVM=1 and nothing else. Through
// ccache goes what the user did not name, and the directory's name, which is
// another one each time, does not count.
func (b *Builder) vars(dir string) (vars, env []string) {
	_, err := exec.LookPath("ccache")
	for _, p := range b.programs() {
		if command := p.name; b.given(p.variable, "") == "" {
			if err == nil && strings.HasSuffix(p.variable, "CC") {
				command = "ccache " + command
			}
			vars = append(vars, p.variable+"="+command)
		}
	}
	env = []string{"CCACHE_BASEDIR=" + dir, "CCACHE_NOHASHDIR=1"}
	if os.Getenv("CCACHE_DIR") == "" {
		env = append(env, "CCACHE_DIR="+filepath.Join(b.Cache, "ccache"))
	}
	return append(vars, b.Make...), env
}

func (b *Builder) arch() Arch { return b.Recipes[0].Arch }

// wants says whether a recipe sets an option to y.
func (b *Builder) wants(option string) bool {
	return slices.ContainsFunc(b.Recipes, func(r Recipe) bool { return r.wants(option) })
}

// toolchain describes the tools whose version shows in what they build.
func (b *Builder) toolchain(ctx context.Context) (string, error) {
	cmds := []string{b.program("CC"), b.program("LD")}
	if b.wants("DEBUG_INFO_BTF") {
		cmds = append(cmds, b.given("PAHOLE", "pahole"))
	}
	var all []string
	for _, c := range cmds {
		w, err := words(c)
		if err != nil {
			return "", err
		}
		out, err := output(ctx, exec.CommandContext(ctx, w[0], append(w[1:], "--version")...))
		if err != nil {
			return "", fmt.Errorf("ask for a version: %w", err)
		}
		line, _, _ := strings.Cut(out, "\n")
		all = append(all, w[0]+": "+line)
	}
	return strings.Join(all, "\n"), nil
}
