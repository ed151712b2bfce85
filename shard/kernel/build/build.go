// Package build makes bootable kernel images from kernel sources: the tags of
// a git repository, or source tarballs such as Debian's linux-source packages.
//
// The sources are the user's own and trusted: their Makefiles run. What is
// built is kept in the cache by source, configuration and toolchain, and the
// result is one tar archive, mainline-kernels/bzImage-v5.13.4 and so on.
package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// Oldest is the oldest kernel that is built.
const Oldest = "5.8"

// UsageError says that the user asked for something that cannot be.
type UsageError struct{ Msg string }

func (e *UsageError) Error() string { return e.Msg }

func usagef(format string, args ...any) error {
	return &UsageError{Msg: fmt.Sprintf(format, args...)}
}

// Builder builds kernels: of each source, with each recipe, without the patches
// and with them. Every field is needed but Tags, Refs, Patches and Make.
type Builder struct {
	Sources []string       // git repositories and source tarballs
	Tags    *regexp.Regexp // matches the whole of a tag; nil: final releases, or none if there are Refs
	Refs    []string       // branches and commits of the repositories, as git knows them
	Patches []Patch
	Recipes []Recipe // of one architecture, with different names
	Make    []string // VAR=VALUE for make, after our own
	Jobs    int      // of make
	Cache   string   // directory that keeps what is built
	Scratch string   // directory for sources and objects, some GiB; on the cache's file system
	Logs    string   // directory that gets one log for each build
	Now     func() time.Time
	Report  func(Event)
}

// Event says how far a kernel is.
type Event struct {
	Kernel *Kernel
	State  State
	Index  int // from 1
	Total  int
	Err    error // of Failed
}

// State is how far a kernel is. The zero value is none.
type State uint8

// The states of a kernel.
const (
	Started State = iota + 1
	Built
	Kept // built before, found in the cache
	Failed
)

// Kernel is one that is asked for, and what has become of it.
type Kernel struct {
	Source   string // as the user knows it: the repository and a tag, or the tarball
	Name     string // v5.13.4; "" until a tarball is unpacked
	Release  string // uname -r
	Image    string // the file, in the cache; "" until it is built
	Config   string // its configuration beside it
	Size     int64  // of the image, in bytes
	Log      string // of the build; "" before there is one
	Duration time.Duration

	id     string // pins the source's content
	tree   string // name of the tree; "" until it is known: "v" and its version
	suffix string // what tells the kernel from others of the tree
	recipe Recipe
	patch  []Patch
	unpack func(ctx context.Context, dir string) error
	key    string // in the cache
}

// String is the kernel's name where it has one.
func (k *Kernel) String() string {
	if k.Name != "" {
		return k.Name
	}
	return k.Source + strings.Replace(k.suffix, "-", " ", 1) // "linux.tar kasan-patched"
}

// Run builds what is not built yet and returns all kernels that there are
// images of, in the order of the sources, the tags of a repository newest
// first. Whatever goes wrong with one kernel is reported as its event and
// does not stop the others; failed counts these. When ctx ends, Run returns
// what there is, with ctx's cause. CheckTools comes before.
func (b *Builder) Run(ctx context.Context) (built []*Kernel, failed int, err error) {
	if err := b.checkPatches(ctx); err != nil {
		return nil, 0, err
	}
	kernels, err := b.list(ctx)
	if err != nil {
		return nil, 0, err
	}
	chain, err := b.toolchain(ctx)
	if err != nil {
		return nil, 0, err
	}
	store := store{dir: filepath.Join(b.Cache, "built")}
	// What is there comes first, so that it is in the archive whenever this ends.
	names := make(map[string]string)
	ended := make(map[*Kernel]State)
	finish := func(k *Kernel, state State, err error) {
		if err != nil {
			state = Failed
			failed++
		}
		ended[k] = state
		b.Report(Event{Kernel: k, State: state, Index: len(ended), Total: len(kernels), Err: err})
	}
	for _, k := range kernels {
		k.key = b.key(k, chain)
		if store.find(ctx, k) {
			finish(k, Kept, claim(names, k))
		}
	}
	for _, k := range kernels {
		if ended[k] != 0 {
			continue
		}
		if ctx.Err() != nil {
			break
		}
		if store.find(ctx, k) { // two tags of one commit
			finish(k, Kept, claim(names, k))
			continue
		}
		b.Report(Event{Kernel: k, State: Started, Index: len(ended) + 1, Total: len(kernels)})
		start := b.Now()
		err := b.build(ctx, k, names, store)
		if ctx.Err() != nil {
			break
		}
		k.Duration = b.Now().Sub(start)
		finish(k, Built, err)
	}
	for _, k := range kernels {
		if ended[k] == Built || ended[k] == Kept {
			built = append(built, k)
		}
	}
	return built, failed, context.Cause(ctx)
}

// claim takes the kernel's name, which is its file's in the archive.
func claim(names map[string]string, k *Kernel) error {
	if other, taken := names[k.Name]; taken {
		return fmt.Errorf("%s is %s as well, which comes from %s: leave one of them out", k.Source, k.Name, other)
	}
	names[k.Name] = k.Source
	return nil
}

// name gives the kernel its name, of its tree's.
func (k *Kernel) name(tree string) {
	k.tree = cmp.Or(k.tree, tree)
	k.Name = kernel.SafeName(k.tree + k.suffix)
}

var kernelVersion = regexp.MustCompile(`^[0-9]+\.[0-9]+[0-9A-Za-z.+~_-]{0,64}$`)

// build makes one image, from unpacking the source to the cache.
func (b *Builder) build(ctx context.Context, k *Kernel, names map[string]string, store store) (err error) {
	dir, err := os.MkdirTemp(b.Scratch, "build-")
	if err != nil {
		return fmt.Errorf("make a directory to build in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	src := filepath.Join(dir, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		return fmt.Errorf("make a directory to build in: %w", err)
	}
	arch := k.recipe.Arch
	t := &tree{dir: src, arch: arch, jobs: b.Jobs}
	t.vars, t.env = b.vars(src)
	if err := k.unpack(ctx, src); err != nil {
		return err
	}
	if err := apply(ctx, src, k.patch); err != nil {
		return err
	}
	version, err := t.version(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", k.Source, err)
	}
	if report.CompareVersions(version, Oldest) < 0 {
		return fmt.Errorf("%s is Linux %s, which is too old: the oldest that can be built is %s", k.Source, version, Oldest)
	}
	k.name("v" + version)
	if err := claim(names, k); err != nil {
		return err
	}
	if err := os.MkdirAll(b.Logs, 0o755); err != nil {
		return fmt.Errorf("make the directory of the logs: %w", err)
	}
	k.Log = filepath.Join(b.Logs, k.Name+".log")
	if t.log, err = os.Create(k.Log); err != nil {
		return fmt.Errorf("make the log: %w", err)
	}
	defer func() { err = errors.Join(err, t.log.Close()) }()
	if err := t.oldBTF(ctx, version, dir); err != nil {
		return err
	}
	config, err := t.configure(ctx, k.recipe)
	if err != nil {
		return err
	}
	if err := t.make(ctx, arch.Target); err != nil {
		return err
	}
	if err := hasBTF(filepath.Join(src, "vmlinux"), config); err != nil {
		return err
	}
	built := filepath.Join(src, filepath.FromSlash(arch.Image))
	if arch.Image == "vmlinux" {
		// The debug information would be most of it.
		if _, err := output(ctx, exec.CommandContext(ctx, b.program("OBJCOPY"), "--strip-all", built)); err != nil {
			return fmt.Errorf("strip %s: %w", arch.Image, err)
		}
	}
	info, err := image.ProbeFile(built)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make %s went well and left no %s", arch.Target, arch.Image)
	}
	if err != nil {
		return err
	}
	if info.Arch != arch.Name {
		return fmt.Errorf("make %s built a kernel for %q instead of %s", arch.Target, info.Arch, arch.Name)
	}
	k.Release = info.Version
	return store.add(ctx, k, built, filepath.Join(src, ".config"), dir)
}
