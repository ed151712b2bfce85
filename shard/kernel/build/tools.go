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

	"github.com/elastic/bpf-kernel-check/shard/child"
)

// MissingToolsError says which tools a build needs that this machine lacks.
type MissingToolsError struct {
	Tools    []string // as users know them
	Packages []string // Debian's
}

func (e *MissingToolsError) Error() string {
	return fmt.Sprintf("build tools are missing: %s: apt-get install %s", strings.Join(e.Tools, ", "), strings.Join(e.Packages, " "))
}

// tool is a program or a C header that a build needs.
type tool struct {
	name, pkg string
	header    string // not a program, but this header of the host's compiler
}

// tools are what builds need: what the kernel's makefiles call, and what this
// package calls itself.
func (b *Builder) tools() []tool {
	t := []tool{{name: "make", pkg: "make"}}
	for _, p := range b.programs() {
		t = append(t, tool{name: b.program(p.variable), pkg: p.pkg})
	}
	t = append(t, []tool{
		{name: "flex", pkg: "flex"},
		{name: "bison", pkg: "bison"},
		{name: "bc", pkg: "bc"},
		{name: "perl", pkg: "perl"},
		{name: "tar", pkg: "tar"},
		{name: "libelf", pkg: "libelf-dev", header: "gelf.h"},
		{name: "zlib", pkg: "zlib1g-dev", header: "zlib.h"},
		{name: "openssl's headers", pkg: "libssl-dev", header: "openssl/bio.h"},
	}...)
	if b.wants("DEBUG_INFO_BTF") {
		t = append(t, tool{name: b.given("PAHOLE", "pahole"), pkg: "pahole"})
	}
	for _, src := range b.Sources {
		for suffix, t2 := range map[string]tool{
			".xz": {name: "xz", pkg: "xz-utils"}, ".zst": {name: "zstd", pkg: "zstd"},
			".bz2": {name: "bzip2", pkg: "bzip2"}, ".gz": {name: "gzip", pkg: "gzip"},
		} {
			if strings.HasSuffix(src, suffix) && !slices.Contains(t, t2) {
				t = append(t, t2)
			}
		}
		if st, err := os.Stat(src); (err == nil && st.IsDir() || len(b.Patches) > 0) && !slices.Contains(t, tool{name: "git", pkg: "git"}) {
			t = append(t, tool{name: "git", pkg: "git"})
		}
	}
	return t
}

// CheckTools returns a *MissingToolsError that names all tools that are
// missing, or nil.
func (b *Builder) CheckTools(ctx context.Context) error {
	var missing MissingToolsError
	hostcc, err := shellquote.Split(b.program("HOSTCC"))
	if err != nil || len(hostcc) == 0 {
		return usagef("HOSTCC=%s is no command", b.program("HOSTCC"))
	}
	_, err = exec.LookPath(hostcc[0])
	haveCC := err == nil
	for _, t := range b.tools() {
		ok := true
		if t.header != "" {
			// Without a compiler nobody can tell: the compiler is named, and
			// the header with it, as it comes with neither.
			args := append(slices.Clone(hostcc[1:]), "-E", "-include", t.header, "-x", "c", os.DevNull, "-o", os.DevNull)
			if ok = haveCC; ok {
				_, err := child.Output(exec.CommandContext(ctx, hostcc[0], args...))
				ok = err == nil
			}
		} else if words, err := shellquote.Split(t.name); err != nil || len(words) == 0 {
			return usagef("%q is no command", t.name)
		} else {
			for _, w := range commandWords(words) {
				if _, err := exec.LookPath(w); err != nil {
					ok = false
				}
			}
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if !ok && !slices.Contains(missing.Tools, t.name) {
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

// commandWords are the programs of a command such as "ccache gcc -m64".
func commandWords(words []string) []string {
	if filepath.Base(words[0]) == "ccache" && len(words) > 1 {
		return words[:2]
	}
	return words[:1]
}

// program is a program of the toolchain.
type program struct{ variable, name, pkg string }

// programs are the toolchain: LLVM's if make is told so.
func (b *Builder) programs() []program {
	llvm := b.given("LLVM", "")
	if llvm == "" {
		cross, cc, ld := b.given("CROSS_COMPILE", ""), "gcc", "binutils"
		if arch := b.arch(); !arch.native() {
			cross, cc, ld = b.given("CROSS_COMPILE", arch.cross()), arch.gcc(), arch.gcc()
		}
		return []program{
			{"HOSTCC", "gcc", "gcc"},
			{"CC", cross + "gcc", cc},
			{"LD", cross + "ld", ld},
			{"OBJCOPY", cross + "objcopy", ld},
		}
	}
	// As the kernel's documentation has it: a directory, a version, or just yes.
	// Trees before 5.18 take all for yes, so each program is named to them.
	prefix, suffix := "", ""
	switch {
	case strings.HasSuffix(llvm, "/"):
		prefix = llvm
	case strings.HasPrefix(llvm, "-"):
		suffix = llvm
	}
	all := []program{
		{"HOSTCC", "clang", "clang"},
		{"HOSTCXX", "clang++", "clang"},
		{"CC", "clang", "clang"},
		{"LD", "ld.lld", "lld"},
	}
	for _, name := range []string{"AR", "NM", "OBJCOPY", "OBJDUMP", "READELF", "STRIP"} {
		all = append(all, program{name, "llvm-" + strings.ToLower(name), "llvm"})
	}
	for i, p := range all {
		all[i].name, all[i].pkg = prefix+p.name+suffix, p.pkg+suffix
	}
	return all
}

// program is a program of the toolchain, by its variable.
func (b *Builder) program(variable string) string {
	for _, p := range b.programs() {
		if p.variable == variable {
			return b.given(variable, p.name)
		}
	}
	return ""
}

// vars are the variables for make.
func (b *Builder) vars() []string {
	var own []string
	if b.given("LLVM", "") != "" {
		for _, p := range b.programs() {
			own = append(own, p.variable+"="+p.name)
		}
	}
	return append(own, b.Make...)
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

// useCcache has the tree compiled through ccache, if that is there and nobody
// said what to compile with. Trees are built in directories of other names, which
// must not count.
func (b *Builder) useCcache(t *tree) {
	if _, err := exec.LookPath("ccache"); err != nil {
		return
	}
	for _, variable := range []string{"CC", "HOSTCC"} {
		if b.given(variable, "") == "" {
			t.vars = append(t.vars, variable+"=ccache "+b.program(variable))
		}
	}
	t.env = append(t.env, "CCACHE_BASEDIR="+t.dir, "CCACHE_NOHASHDIR=1")
	if os.Getenv("CCACHE_DIR") == "" {
		t.env = append(t.env, "CCACHE_DIR="+filepath.Join(b.Cache, "ccache"))
	}
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
	var out []string
	for _, c := range cmds {
		words, err := shellquote.Split(c)
		if err != nil || len(words) == 0 {
			return "", usagef("%q is no command", c)
		}
		v, err := child.Output(exec.CommandContext(ctx, words[0], append(words[1:], "--version")...))
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err != nil {
			return "", fmt.Errorf("ask %s for its version: %w", words[0], err)
		}
		line, _, _ := strings.Cut(string(v), "\n")
		out = append(out, words[0]+": "+line)
	}
	return strings.Join(out, "\n"), nil
}
