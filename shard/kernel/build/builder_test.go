package build

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The sources of these tests are not Linux, but answer to the same targets of
// make, in real git repositories and archives; real_test.go builds Linux.
const sampleMakefile = `
include version
kernelversion:
	@echo $(VERSION)
defconfig:
	printf 'CONFIG_BASE=y\nCONFIG_MOD=m\n' >.config
olddefconfig:
	cp .config asked
	grep -v CONFIG_REFUSED asked >.config
bzImage:
	@test -z "$(BROKEN)" || { echo "foo.c:1:2: error: no such thing" >&2; for i in 1 2 3 4 5 6 7 8 9 10; do echo "  CC other$$i.o"; done; exit 1; }
	@if [ -n "$(HANG)" ]; then sleep 1000 & echo $$! >"$(HANG)"; wait; fi
	mkdir -p arch/x86/boot
	cp vmlinux.in vmlinux
	cp image arch/x86/boot/bzImage
`

const sampleKconfig = `
config REFUSED
	bool "Refused"
	depends on BASE && LACKING
`

// bzImage is the smallest file that counts as an x86 kernel.
func bzImage(version string) []byte {
	b := make([]byte, 5*512)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	b[0x236] = 1 // 64 bits
	b[0x1f1] = 4
	binary.LittleEndian.PutUint16(b[0x20e:], 0x200)
	copy(b[0x400:], version+" (build@build) #1")
	return b
}

func sampleFiles(version string, more map[string]string) map[string]string {
	files := map[string]string{
		"Makefile": sampleMakefile, "Kconfig": sampleKconfig, "version": "VERSION = " + version + "\n",
		"image": string(bzImage(version)), "vmlinux.in": "not ELF",
	}
	for name, text := range more {
		files[name] = text
	}
	return files
}

func writeFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// repository makes a git repository with a commit and a tag per version.
func repository(t *testing.T, more map[string]map[string]string, versions ...string) string {
	t.Helper()
	dir := t.TempDir()
	command(t, dir, "git", "init", "-q")
	for i, v := range versions {
		writeFiles(t, dir, sampleFiles(v, more[v]))
		command(t, dir, "git", "add", "-A")
		command(t, dir, "git", "commit", "-q", "--allow-empty", "-m", v)
		if i%2 == 0 {
			command(t, dir, "git", "tag", "v"+v)
		} else {
			command(t, dir, "git", "tag", "-a", "-m", "tag", "v"+v)
		}
	}
	return dir
}

// pack makes a tarball with the files in a directory of their own.
func pack(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	writeFiles(t, filepath.Join(dir, "linux-source"), files)
	out := filepath.Join(t.TempDir(), name)
	command(t, dir, "tar", "--auto-compress", "--create", "--file="+out, "linux-source")
	return out
}

var sampleRecipe = Recipe{Arch: arches[0], Base: "defconfig", Modules: "y", Options: []Option{{Name: "WANTED", Value: "y"}}}

// builder builds sources in directories of the test, and collects what it
// reports.
func builder(t *testing.T, events *[]string, sources ...string) *Builder {
	t.Helper()
	if sampleRecipe.Arch.Name != "amd64" {
		t.Fatal("the images of these tests are for amd64")
	}
	dir := t.TempDir()
	b := &Builder{
		Sources: sources, Recipes: []Recipe{sampleRecipe}, Jobs: 2,
		Make:  []string{"CROSS_COMPILE="}, // nothing here is compiled, on any host
		Cache: filepath.Join(dir, "cache"), Scratch: filepath.Join(dir, "scratch"), Logs: filepath.Join(dir, "logs"),
		Now: time.Now,
	}
	if err := os.MkdirAll(b.Scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	b.Report = func(e Event) {
		s := fmt.Sprintf("%d/%d %s %d", e.Index, e.Total, e.Kernel, e.State)
		if e.Err != nil {
			s += ": " + e.Err.Error()
		}
		*events = append(*events, s)
	}
	return b
}

func names(kernels []*Kernel) (out []string) {
	for _, k := range kernels {
		out = append(out, k.Name)
	}
	return out
}

func run(t *testing.T, b *Builder) (built []string, failed int) {
	t.Helper()
	kernels, failed, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(b.Scratch)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the scratch directory: %v, %v", left, err)
	}
	return names(kernels), failed
}

func TestRepository(t *testing.T) {
	// A make that runs the tests, and the kernel's variables, change nothing.
	t.Setenv("MAKEFLAGS", "-n")
	t.Setenv("KBUILD_OUTPUT", "/nowhere")
	t.Setenv("GIT_DIR", "/nowhere")
	repo := func() string {
		defer func() { _ = os.Setenv("GIT_DIR", os.Getenv("GIT_DIR")) }()
		_ = os.Unsetenv("GIT_DIR")
		dir := repository(t, map[string]map[string]string{
			"6.1": {"version": "VERSION = 6.1.0\nBROKEN = 1\n"},
			"6.2": {"version": "VERSION = 6.2\n", "image": "no kernel"},
			"6.3": {"version": "VERSION = 6.3\n", "image": string(bzImage("6.3")), "olddir/x": ""},
		}, "5.7", "5.8", "5.13.4", "6.1", "6.2", "6.3", "6.4-rc1")
		command(t, dir, "git", "tag", "v7.0", "v6.3^{tree}") // no commit
		command(t, dir, "git", "tag", "other")
		return dir
	}()

	var events []string
	b := builder(t, &events, repo)
	built, failed := run(t, b)
	if want := []string{"v6.3", "v5.13.4", "v5.8"}; !slices.Equal(built, want) || failed != 2 {
		t.Errorf("built %v, want %v; %d failed, want 2", built, want, failed)
	}
	want := []string{
		`^1/5 v6.3 1$`, `^1/5 v6.3 2$`, `^2/5 v6.2 1$`, `^2/5 v6.2 4: ".*/bzImage" is no kernel image: `,
		`^3/5 v6.1 1$`, `^3/5 v6.1 4: make bzImage: exit status 2, see .*/logs/v6.1.log$`,
		`^4/5 v5.13.4 1$`, `^4/5 v5.13.4 2$`, `^5/5 v5.8 1$`, `^5/5 v5.8 2$`,
	}
	checkEvents(t, events, want)
	config, err := os.ReadFile(filepath.Join(b.Cache, "built", mustKey(t, b, "v6.3"), "config"))
	if err != nil || string(config) != "CONFIG_BASE=y\nCONFIG_MOD=y\nCONFIG_WANTED=y\n" {
		t.Errorf("the configuration is %q, %v", config, err)
	}

	// What is built is not built again; what is not is tried again.
	events = nil
	if built, failed := run(t, b); len(built) != 3 || failed != 2 {
		t.Errorf("built %v, %d failed", built, failed)
	}
	checkEvents(t, events, []string{`^1/5 v6.3 3$`, `^2/5 v5.13.4 3$`, `^3/5 v5.8 3$`, `^4/5 v6.2 1$`, `^4/5 v6.2 4:`, `^5/5 v6.1 1$`, `^5/5 v6.1 4:`})

	// A damaged image is, and so is one that is asked for in another way.
	image := filepath.Join(b.Cache, "built", mustKey(t, b, "v5.8"), "image")
	if err := os.WriteFile(image, []byte("damaged"), 0o644); err != nil {
		t.Fatal(err)
	}
	events = nil
	b.Tags = regexp.MustCompile(`^(?:v5\.8|v6\.4.*|other)$`)
	run(t, b)
	checkEvents(t, events, []string{`^1/3 other 1$`, `^1/3 other 2$`, `^2/3 v6.4-rc1 3$`, `^3/3 v5.8 1$`, `^3/3 v5.8 2$`}) // v6.4-rc1 is of other's commit
	events = nil
	b.Make = append(b.Make, "EXTRA=1")
	run(t, b)
	checkEvents(t, events, []string{`^1/3 other 1$`, `^1/3 other 2$`, `^2/3 v6.4-rc1 3$`, `^3/3 v5.8 1$`, `^3/3 v5.8 2$`})
}

// A commit is built whatever tags there are, and kept, by any of its names.
func TestRefs(t *testing.T) {
	repo := repository(t, nil, "6.1", "6.2")
	commit := command(t, repo, "git", "rev-parse", "v6.1^{commit}")
	command(t, repo, "git", "branch", "bpf/next", "v6.1")
	var events []string
	b := builder(t, &events, repo)
	name := "v6.1-g" + commit[:12]
	for _, ref := range []string{commit, commit[:10]} {
		b.Refs = []string{ref}
		if built, failed := run(t, b); !slices.Equal(built, []string{name}) || failed != 0 {
			t.Errorf("built %v, want %s; %d failed", built, name, failed)
		}
	}
	checkEvents(t, events, []string{"^1/1 [^ ]* g" + commit[:12] + " 1$", "^1/1 " + name + " 2$", "^1/1 " + name + " 3$"})
	b.Refs, b.Tags = []string{"bpf/next", "HEAD", "v6.2~1"}, regexp.MustCompile(`^v6\.1$`)
	head := command(t, repo, "git", "rev-parse", "HEAD")
	want := []string{"v6.1-bpf_2fnext-g" + commit[:12], "v6.2-g" + head[:12], "v6.1-v6.2~1-g" + commit[:12], "v6.1"}
	if built, failed := run(t, b); !slices.Equal(built, want) || failed != 0 {
		t.Errorf("built %v, want %v; %d failed", built, want, failed)
	}
	for _, ref := range []string{"none", "--all", "v6.1^{tree}", ""} {
		b.Refs = []string{ref}
		var usage *UsageError
		if _, _, err := b.Run(t.Context()); !errors.As(err, &usage) || !strings.HasSuffix(err.Error(), strconv.Quote(ref)+" is no branch and no commit there") {
			t.Errorf("%q: %v", ref, err)
		}
	}
	b = builder(t, &events, pack(t, "a.tar", sampleFiles("6.1", nil)))
	b.Refs = []string{"HEAD"}
	if err := b.CheckSources(); err == nil || !strings.HasSuffix(err.Error(), "is no git repository: branches and commits are of one") {
		t.Error(err)
	}
}

// A tree is built with each configuration, without the patches and with them.
func TestVariants(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"small.config": "CONFIG_SMALL=y\n# CONFIG_BASE is not set\n", "more.config": "CONFIG_MORE=m\n",
		// The second one is a mail, and its place has moved.
		"series/0000-cover-letter.patch": "no patch", "series/README": "none",
		"series/0001-a.patch": "--- a/Kconfig\n+++ b/Kconfig\n@@ -1,2 +1,3 @@\n+# first\n \n config REFUSED\n",
		"series/0002-b.patch": "From 0 Mon Sep 17 00:00:00 2001\nFrom: A <a@example.com>\nSubject: [PATCH] b\n\nText.\n---\n Kconfig | 1 +\n\ndiff --git a/Kconfig b/Kconfig\n--- a/Kconfig\n+++ b/Kconfig\n@@ -3,2 +3,3 @@\n \tbool \"Refused\"\n+\t# second\n \tdepends on BASE && LACKING\n-- \n2.39\n",
		"bad.patch":           "--- a/Kconfig\n+++ b/Kconfig\n@@ -1,2 +1,3 @@\n+# first\n # never\n config REFUSED\n",
		"none.patch":          "words",
	})
	// The image tells what the tree was.
	files := sampleFiles("6.1", map[string]string{"Makefile": sampleMakefile + "\tcat Kconfig >>arch/x86/boot/bzImage\n"})
	var events []string
	b := builder(t, &events, pack(t, "linux.tar", files))
	var err error
	if b.Recipes, err = Configurations(sampleRecipe, []string{dir + "/small.config", dir + "/more.config," + dir + "/small.config"}, []string{"ubsan"}); err != nil {
		t.Fatal(err)
	}
	if b.Patches, err = ReadPatches([]string{dir + "/series"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"v6.1-small-ubsan", "v6.1-small-ubsan-patched", "v6.1-more-small-ubsan", "v6.1-more-small-ubsan-patched"}
	kernels, failed, err := b.Run(t.Context())
	if err != nil || !slices.Equal(names(kernels), want) || failed != 0 {
		t.Fatalf("built %v, want %v; %d failed; %v\n%s", names(kernels), want, failed, err, strings.Join(events, "\n"))
	}
	const ubsan = "CONFIG_UBSAN=y\nCONFIG_UBSAN_BOUNDS=y\nCONFIG_UBSAN_SHIFT=y\n"
	for i, config := range []string{
		"CONFIG_MOD=y\nCONFIG_WANTED=y\nCONFIG_SMALL=y\n# CONFIG_BASE is not set\n" + ubsan,
		"CONFIG_MOD=y\nCONFIG_WANTED=y\nCONFIG_MORE=y\nCONFIG_SMALL=y\n# CONFIG_BASE is not set\n" + ubsan,
	} {
		for _, k := range kernels[2*i : 2*i+2] {
			got, err := os.ReadFile(k.Config)
			if err != nil || string(got) != config {
				t.Errorf("%s has %q, want %q; %v", k.Name, got, config, err)
			}
			image, err := os.ReadFile(k.Image)
			patched := bytes.HasSuffix(image, []byte("# first\n\nconfig REFUSED\n\tbool \"Refused\"\n\t# second\n\tdepends on BASE && LACKING\n"))
			if err != nil || patched != strings.HasSuffix(k.Name, "-patched") {
				t.Errorf("%s is patched: %v, %v", k.Name, patched, err)
			}
		}
	}
	events = nil
	if built, _ := run(t, b); !slices.Equal(built, want) || len(events) != 4 {
		t.Errorf("again: %v, %v", built, events)
	}

	// What does not apply leaves the kernel without it.
	b.Recipes = b.Recipes[:1]
	events = nil
	if b.Patches, err = ReadPatches([]string{filepath.Join(dir, "bad.patch")}); err != nil {
		t.Fatal(err)
	}
	if built, failed := run(t, b); !slices.Equal(built, want[:1]) || failed != 1 {
		t.Errorf("built %v; %d failed", built, failed)
	}
	checkEvents(t, events, []string{"^1/2 v6.1-small-ubsan 3$", "^2/2 .*linux.tar small-ubsan-patched 1$", "^2/2 .*linux.tar small-ubsan-patched 4: patch bad.patch does not apply: git: exit status 1: error: patch failed: Kconfig:1 "})
	// What is no patch is found before anything is built.
	events = nil
	if b.Patches, err = ReadPatches([]string{filepath.Join(dir, "none.patch")}); err != nil {
		t.Fatal(err)
	}
	var usage *UsageError
	if _, _, err := b.Run(t.Context()); !errors.As(err, &usage) || !strings.Contains(err.Error(), "No valid patches in input") || len(events) > 0 {
		t.Errorf("%v; %v", err, events)
	}
	for path, want := range map[string]string{"none": "no such file", ".": "holds no file that ends with .patch"} {
		if _, err := ReadPatches([]string{filepath.Join(t.TempDir(), path)}); !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func checkEvents(t *testing.T, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		return
	}
	for i := range got {
		if !regexp.MustCompile(want[i]).MatchString(got[i]) {
			t.Errorf("event %q, want %q", got[i], want[i])
		}
	}
}

func mustKey(t *testing.T, b *Builder, name string) string {
	t.Helper()
	kernels, err := b.list(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	chain, err := b.toolchain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels {
		if k.Name == name {
			return b.key(k, chain)
		}
	}
	t.Fatalf("no kernel %s", name)
	return ""
}

func TestRepositoryWithoutMatch(t *testing.T) {
	old, other, none := repository(t, nil, "5.6", "5.7"), repository(t, nil, "6.1-rc1"), repository(t, nil)
	inside := filepath.Join(old, "below")
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		old:    `all 2 tags that match are older than 5.8`,
		other:  `none of its 1 tags matches: give a pattern for the whole of a tag, such as 'v6\\.1\\..*'; without one`,
		none:   `has no tags: fetch them with git fetch --tags`,
		inside: `is no git repository: want a git repository of the kernel, or a source tarball`,
	} {
		var events []string
		_, _, err := builder(t, &events, dir).Run(t.Context())
		var usage *UsageError
		if !errors.As(err, &usage) || !regexp.MustCompile(want).MatchString(err.Error()) {
			t.Errorf("%v, want a UsageError with %q", err, want)
		}
	}
}

func TestTarballs(t *testing.T) {
	good := pack(t, "linux-source-6.1.tar.xz", sampleFiles("6.1.192", nil))
	again := pack(t, "linux.tar.gz", sampleFiles("6.1.192", map[string]string{"other": ""}))
	old := pack(t, "old.tar", sampleFiles("5.7.19", nil))
	none := pack(t, "none.tar", map[string]string{"README": ""})
	foreign := pack(t, "foreign.tar", sampleFiles("6.4", map[string]string{"image": strings.Replace(string(bzImage("6.4")), "\x01", "\x00", 1)})) // 32 bits
	odd := pack(t, "odd.tar", sampleFiles("../../x", nil))
	broken := filepath.Join(t.TempDir(), "broken.tar.xz")
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broken, whole[:len(whole)/2], 0o644); err != nil {
		t.Fatal(err)
	}
	var events []string
	b := builder(t, &events, old, none, foreign, odd, broken, good, again)
	built, failed := run(t, b)
	if !slices.Equal(built, []string{"v6.1.192"}) || failed != 6 {
		t.Errorf("built %v, %d failed", built, failed)
	}
	events = slices.DeleteFunc(events, func(s string) bool { return strings.HasSuffix(s, " 1") })
	checkEvents(t, events, []string{
		`old.tar 4: .*old.tar is Linux 5.7.19, which is too old: the oldest that can be built is 5.8$`,
		`none.tar 4: .*none.tar: it holds no kernel source: no Makefile and Kconfig`,
		`v6.4 4: make bzImage built a kernel for "386" instead of amd64$`,
		`odd.tar 4: .*odd.tar: make kernelversion says "../../x", which is no version$`,
		`broken.tar.xz 4: .*broken.tar.xz: tar: exit status 2: xz: .*[Uu]nexpected end`,
		` v6.1.192 2$`,
		` v6.1.192 4: .*linux.tar.gz is v6.1.192 as well, which comes from .*linux-source-6.1.tar.xz: leave one of them out$`,
	})
}

func TestConfigRefused(t *testing.T) {
	var events []string
	b := builder(t, &events, repository(t, nil, "6.1"))
	b.Recipes[0].Options = []Option{{Name: "WANTED", Value: "y"}, {Name: "REFUSED", Value: "y"}}
	_, _, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkEvents(t, events, []string{` 1$`, `v6.1 4: the configuration is not what was asked for: CONFIG_REFUSED is n, not y \(Kconfig:2: depends on BASE && LACKING\)$`})
}

// A kernel without the BTF that it was to have is not built, whatever make says.
func TestNoBTF(t *testing.T) {
	self, err := os.Executable() // an ELF file without BTF
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	var events []string
	b := builder(t, &events, pack(t, "a.tar", sampleFiles("6.1", map[string]string{"vmlinux.in": string(program)})), pack(t, "b.tar", sampleFiles("6.1", nil)))
	b.Recipes[0].Options = []Option{{Name: "DEBUG_INFO_BTF", Value: "y"}}
	if built, failed := run(t, b); len(built) != 0 || failed != 2 {
		t.Errorf("built %v, %d failed", built, failed)
	}
	checkEvents(t, events, []string{` 1$`, ` 4: the kernel was built without BTF`, ` 1$`, `v6.1 as well`})
}

// An interrupted build leaves nothing behind: no files, no processes, and what
// was built before is there.
func TestInterrupted(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	var events []string
	b := builder(t, &events, repository(t, map[string]map[string]string{"6.1": {"version": "VERSION = 6.1\nHANG = " + fifo + "\n"}, "6.2": {"version": "VERSION = 6.2\n"}}, "6.1", "6.2"))
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("interrupted")
	sleeper := -1 // a pidfd of the build's grandchild
	go func() {
		text, err := os.ReadFile(fifo) // comes once the build hangs
		var pid int
		if err == nil {
			pid, err = strconv.Atoi(string(bytes.TrimSpace(text)))
		}
		if err == nil {
			sleeper, err = unix.PidfdOpen(pid, 0)
		}
		if err != nil {
			cause = err
		}
		cancel(cause)
	}()
	kernels, failed, err := b.Run(ctx)
	if !errors.Is(err, cause) || failed != 0 || !slices.Equal(names(kernels), []string{"v6.2"}) {
		t.Errorf("built %v, %d failed, %v", names(kernels), failed, err)
	}
	if left, err := os.ReadDir(b.Scratch); err != nil || len(left) > 0 {
		t.Errorf("left in the scratch directory: %v, %v", left, err)
	}
	fds := []unix.PollFd{{Fd: int32(sleeper), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 10_000)
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll(fds, 10_000)
	}
	if n != 1 || err != nil || fds[0].Revents != unix.POLLIN {
		t.Errorf("a process of the build still runs: %d, %v, %#x", n, err, fds[0].Revents)
	}
	checkEvents(t, events, []string{`v6.2 1$`, `v6.2 2$`, `v6.1 1$`})
}

func TestMakeError(t *testing.T) {
	var got *MakeError
	b := builder(t, new([]string), repository(t, map[string]map[string]string{"6.1": {"version": "VERSION = 6.1\nBROKEN = 1\n"}}, "6.1"))
	b.Report = func(e Event) { errors.As(e.Err, &got) }
	run(t, b)
	if got == nil {
		t.Fatal("no MakeError")
	}
	if got.Lines[0] != "foo.c:1:2: error: no such thing" || !strings.HasPrefix(got.Lines[len(got.Lines)-1], "make: *** [Makefile:") || len(got.Lines) > maxErrors+lastLines {
		t.Errorf("lines of the log:\n%s", strings.Join(got.Lines, "\n"))
	}
}

// Tools that are missing are named together, with their packages.
func TestMissingTools(t *testing.T) {
	b := builder(t, new([]string), "linux-6.1.tar.xz", t.TempDir())
	b.Recipes = []Recipe{Mainline(arches[0])}
	if err := b.CheckTools(t.Context()); err != nil {
		t.Errorf("here, where the tests' packages are installed: %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	err := b.CheckTools(t.Context())
	want := "build tools are missing: make, gcc, ld, objcopy, flex, bison, bc, perl, tar, libelf, zlib, openssl's headers, pahole, xz, git: " +
		"apt-get install make gcc binutils flex bison bc perl tar libelf-dev zlib1g-dev libssl-dev pahole xz-utils git"
	var missing *MissingToolsError
	if !errors.As(err, &missing) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	b.Recipes, b.Make = []Recipe{Mainline(arches[1])}, []string{"CC=no-such-gcc -m64"}
	if err := b.CheckTools(t.Context()); err == nil || !strings.Contains(err.Error(), "no-such-gcc -m64, ") {
		t.Errorf("%v, want the compiler that was asked for", err)
	}
}

// LLVM is a set of programs, of which make has its own names; nobody else's are
// looked for, not even on other architectures.
func TestLLVM(t *testing.T) {
	for llvm, want := range map[string]string{"1": "clang ld.lld", "-14": "clang-14 ld.lld-14", "/opt/llvm/": "/opt/llvm/clang /opt/llvm/ld.lld"} {
		b := builder(t, new([]string))
		b.Recipes, b.Make = []Recipe{{Arch: arches[1]}}, []string{"LLVM=" + llvm}
		if got := b.program("CC") + " " + b.program("LD"); got != want {
			t.Errorf("LLVM=%s: %s, want %s", llvm, got, want)
		}
		for _, tool := range b.tools() {
			if strings.Contains(tool.name, "gcc") || strings.Contains(tool.pkg, "gcc") {
				t.Errorf("LLVM=%s needs %s of %s", llvm, tool.name, tool.pkg)
			}
		}
		vars, _ := b.vars("/src")
		if !slices.Contains(vars, "LD="+b.program("LD")) || vars[len(vars)-1] != "LLVM="+llvm {
			t.Errorf("LLVM=%s: %v", llvm, vars)
		}
		b.Make = append(b.Make, "CC=other")
		if b.program("CC") != "other" {
			t.Errorf("CC=other is %s", b.program("CC"))
		}
	}
}

// Compiling goes through ccache, unless the user says what compiles.
func TestUseCcache(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	t.Setenv("CCACHE_DIR", "")
	b := builder(t, new([]string))
	b.Make = []string{"HOSTCC=mine"}
	if vars, _ := b.vars("/src"); !slices.Equal(vars, []string{"CC=gcc", "LD=ld", "OBJCOPY=objcopy", "HOSTCC=mine"}) {
		t.Errorf("without ccache: %v", vars)
	}
	writeFiles(t, dir, map[string]string{"ccache": ""})
	if err := os.Chmod(filepath.Join(dir, "ccache"), 0o755); err != nil {
		t.Fatal(err)
	}
	vars, env := b.vars("/src")
	if vars[0] != "CC=ccache gcc" || vars[3] != "HOSTCC=mine" || !slices.Equal(env, []string{"CCACHE_BASEDIR=/src", "CCACHE_NOHASHDIR=1", "CCACHE_DIR=" + filepath.Join(b.Cache, "ccache")}) {
		t.Errorf("%v, %v", vars, env)
	}
	t.Setenv("CCACHE_DIR", "/own")
	if _, env := b.vars("/src"); len(env) != 2 {
		t.Errorf("%v", env)
	}
}

// A header counts as there only when the compiler finds it.
func TestMissingHeader(t *testing.T) {
	dir := t.TempDir()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, map[string]string{"cc": "#!/bin/sh\ncase \"$*\" in *gelf.h*) exit 1;; esac\nexec " + gcc + " \"$@\"\n"})
	if err := os.Chmod(filepath.Join(dir, "cc"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := builder(t, new([]string))
	b.Make = append(b.Make, "HOSTCC="+filepath.Join(dir, "cc"))
	if err := b.CheckTools(t.Context()); err == nil || err.Error() != "build tools are missing: libelf: apt-get install libelf-dev" {
		t.Errorf("%v", err)
	}
}

func TestOldBTF(t *testing.T) {
	for version, want := range map[string]bool{"5.13.4": true, "5.19.0": true, "6.0.0-rc1": false, "6.0.0": false, "6.12.1": false} {
		tr := &tree{}
		dir := t.TempDir()
		if err := tr.oldBTF(t.Context(), version, dir); err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(tr.vars, "PAHOLE="+filepath.Join(dir, "pahole")); got != want {
			t.Errorf("%s: a wrapper: %v, want %v", version, got, want)
		}
		if want {
			direct, wrapped := command(t, dir, "pahole", "--version"), command(t, dir, "./pahole", "--version")
			if direct != wrapped {
				t.Errorf("the wrapper says %q, pahole %q", wrapped, direct)
			}
		}
		tr = &tree{vars: []string{"PAHOLE=mine"}}
		if err := tr.oldBTF(t.Context(), version, dir); err != nil || len(tr.vars) != 1 {
			t.Errorf("%s: %v, %v", version, tr.vars, err)
		}
	}
}

func TestExcerpt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	text := "before: error: of another make\n"
	from := int64(len(text))
	text += "  CC a.o\n\x1b[1mb.c:3: error:\x1b[0m bad\x00 \xff\nld: undefined reference to `x'\n" + strings.Repeat("  CC x.o\n", 100) + strings.Repeat("y", 10000) + "\n\nmake: *** [Makefile:1] Error 2\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got := excerpt(file, from)
	if len(got) < 3 || got[0] != "[1mb.c:3: error: [0m bad ?" || got[1] != "ld: undefined reference to `x'" || got[len(got)-1] != "make: *** [Makefile:1] Error 2" || len(got[len(got)-2]) > 610 {
		t.Errorf("%q", got)
	}
	if got := excerpt(filepath.Join(t.TempDir(), "none"), 0); got != nil {
		t.Errorf("%q of a file that is not there", got)
	}
}

func TestWriteArchive(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{"a": "image a", "a.config": "CONFIG_A=y\n", "b": "image b", "b.config": ""})
	kernel := func(name, file string) *Kernel {
		return &Kernel{Name: name, Image: filepath.Join(dir, file), Config: filepath.Join(dir, file+".config")}
	}
	out := filepath.Join(dir, "out", "mainline-kernels.tar")
	if err := os.Mkdir(filepath.Dir(out), 0o755); err != nil {
		t.Fatal(err)
	}
	kernels := []*Kernel{kernel("v6.1", "a"), kernel("v5.13.4", "b")}
	if err := WriteArchive(out, arches[0], kernels); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want := "mainline-kernels/\nmainline-kernels/bzImage-v6.1\nmainline-kernels/config-v6.1\nmainline-kernels/bzImage-v5.13.4\nmainline-kernels/config-v5.13.4"
	if got := command(t, dir, "tar", "--list", "--file="+out); got != want {
		t.Errorf("the archive holds\n%s\nwant\n%s", got, want)
	}
	if got := command(t, dir, "tar", "--extract", "--to-stdout", "--file="+out, "mainline-kernels/bzImage-v5.13.4"); got != "image b" {
		t.Errorf("the image is %q", got)
	}
	if got := command(t, dir, "tar", "--list", "--verbose", "--utc", "--full-time", "--file="+out); strings.Count(got, "1970-01-01 00:00:00") != 5 {
		t.Errorf("the archive depends on when it was made:\n%s", got)
	}
	// The same again is the same bytes; one that fails changes nothing.
	if err := WriteArchive(out, arches[0], kernels); err != nil {
		t.Fatal(err)
	}
	if err := WriteArchive(out, arches[0], append(kernels, kernel("v7", "none"))); err == nil || !strings.Contains(err.Error(), "mainline-kernels.tar: ") {
		t.Errorf("%v, want an error that names the archive", err)
	}
	if again, err := os.ReadFile(out); err != nil || !bytes.Equal(first, again) {
		t.Errorf("the archive has changed, %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 1 {
		t.Errorf("left beside the archive: %v, %v", left, err)
	}
}
