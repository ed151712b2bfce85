package source

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

func TestListPathsAreRelativeToTheFile(t *testing.T) {
	for spec, want := range map[string]string{
		"kernels":                        "/lists/kernels",
		"../kernels":                     "/kernels",
		"/kernels":                       "/kernels",
		"debian:bookworm":                "debian:bookworm",
		"gs://bucket/x":                  "gs://bucket/x",
		"rpm:repo":                       "rpm:/lists/repo",
		"rpm:../repo,key=../key.asc":     "rpm:/repo,key=/key.asc",
		"rpm:/repo,flavour=rt,key=k.asc": "rpm:/repo,flavour=rt,key=/lists/k.asc",
		"rpm:https://host/repo,key=/k":   "rpm:https://host/repo,key=/k",
		"rpm:file:///repo":               "rpm:file:///repo",
		"fedora:43,key=keys/f43":         "fedora:43,key=/lists/keys/f43",
		"arch:,url=../m/$repo,repo=x":    "arch:,url=/m/$repo,repo=x",
		"suse:15-SP6,url=https://h/repo": "suse:15-SP6,url=https://h/repo",
	} {
		if got := RelativeTo("/lists", spec); got != want {
			t.Errorf("%q becomes %q, want %q", spec, got, want)
		}
	}
}

func TestParseList(t *testing.T) {
	got, err := parseList("\ufeff" + `# the matrix
gs://b/p  fedora/*  !*debug*  newest:3   # the newest
debian:bookworm:cloud-amd64 newest:2	oldest:1 pick:kinds

"my kernels/a b" 'x#y*'
!*/*-rt-*  !bad/**
./plain#1`)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"!*/*-rt-*", "!bad/**"}
	want := []listLine{
		{number: 2, source: "gs://b/p", globs: append([]string{"fedora/*", "!*debug*"}, all...), newest: 3},
		{number: 3, source: "debian:bookworm:cloud-amd64", globs: all, newest: 2, oldest: 1, kinds: true},
		{number: 5, source: "my kernels/a b", globs: append([]string{"x#y*"}, all...)},
		{number: 7, source: "./plain#1", globs: all},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(listLine{})); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
	for text, want := range map[string]string{
		"":                                   "1: the list names no source",
		"# nothing":                          "1: the list names no source",
		"!a*":                                "1: the list names no source",
		"k\n\nx [":                           `3: kernel glob "[" is not valid`,
		"k newest:1 oldest:1 newest:3":       `1: "newest:3": the line has newest:1 already`,
		"k newest:0":                         `1: "newest:0": expected SOURCE`,
		"k newst:1":                          `1: "newst:1" is no option, did you mean "newest"?: expected SOURCE`,
		"k newst:all":                        `1: "newst:all" is no option, did you mean "newest"?: expected SOURCE`,
		"k newest=2":                         `1: "newest=2" is no option, did you mean "newest"?: expected SOURCE`,
		"k x latest:2":                       `1: "latest:2" is no option: expected SOURCE`,
		"k pick:all":                         `1: "pick:all": want pick:kinds: expected SOURCE`,
		"!a pick:kinds":                      `1: "pick:kinds": want pick:kinds: expected SOURCE`,
		"k newest":                           `1: "newest": expected SOURCE`,
		"k newest:many":                      "N at least 1",
		"!a newest:1":                        `1: "newest:1"`,
		"'' x":                               "1: an empty word",
		"!a b":                               `1: "b" stands after "!a"`,
		"@other.txt":                         "a list cannot hold another",
		"k 'x":                               "1: a quote ' is not closed",
		"k\x1b[2J":                           "1: control character U+001B",
		"\xff":                               "not UTF-8",
		strings.Repeat("k\n", 10_001):        "10001: number of lines",
		strings.Repeat("k", maxList+1):       "size of the list",
		strings.Repeat("k\n", 9_999) + "! x": `10000: kernel glob "!"`,
	} {
		if _, err := parseList(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: error %v, want %q", text, err, want)
		}
	}
}

func FuzzParseList(f *testing.F) {
	f.Add("gs://b/p fedora/* !x newest:3 # y\n!z\n")
	f.Add("'a b' \"c'd\" oldest:1")
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := parseList(text)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("error %q", err)
			}
			return
		}
		for _, l := range lines {
			if l.source == "" || strings.HasPrefix(l.source, "!") || l.newest < 0 || l.oldest < 0 || CheckGlobs(l.globs) != nil {
				t.Fatalf("%+v", l)
			}
			report.MatchKernel(l.globs, "debian/6.1")
		}
	})
}

func TestListFile(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"fedora/5.11.1__a", "fedora/5.9.1__a", "fedora/5.10.1__a", "fedora/5.10.2-debug__a", "rhel/5.14.0-1.x86_64__a", "rhel/5.14.0-2.aarch64__a", "rhel/5.14.0-3.x86_64__a"} {
		imagetest.WriteFile(t, filepath.Join(root, "k", name+".tar"), imagetest.FullArchive(t, name))
	}
	imagetest.WriteFile(t, filepath.Join(root, "other kernels", "vmlinuz-6.6.6"), imagetest.Vmlinuz(t, "6.6.6"))
	file := imagetest.WriteFile(t, filepath.Join(root, "lists", "kernels.txt"), []byte(`
../k  !*debug*  newest:1  oldest:1
'../other kernels'
`))
	srcs, err := ParseAll([]string{"@" + file, filepath.Join(root, "k", "fedora")}, kerneltest.NewCache(t))
	if err != nil || len(srcs) != 3 {
		t.Fatalf("%d sources, %v", len(srcs), err)
	}
	refs := kerneltest.List(t, srcs[0])
	if len(refs) != 6 {
		t.Errorf("listed %q", kerneltest.IDs(refs))
	}
	want := []string{"fedora/5.11.1__a", "fedora/5.9.1__a", "rhel/5.14.0-1.x86_64__a", "rhel/5.14.0-2.aarch64__a", "rhel/5.14.0-3.x86_64__a"}
	if d := cmp.Diff(want, kerneltest.IDs(srcs[0].(Picker).Pick(refs))); d != "" {
		t.Errorf("picked (-want +got):\n%s", d)
	}
	for _, r := range kerneltest.List(t, srcs[1]) {
		if _, err := srcs[1].Open(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	// Another job takes the source as it says it is called.
	if _, err := Parse(srcs[0].String(), kerneltest.NewCache(t)); err != nil || srcs[0].String() != filepath.Join(root, "k") {
		t.Errorf("the source is called %q, %v", srcs[0], err)
	}
	for text, want := range map[string]string{
		"\n\ndebain:bookworm": `kernels.txt:3: kernel source "debain:bookworm" is not known, did you mean "debian"?`,
		"../k nothing/*":      "kernels.txt:1: none of the 7 kernels of ",
		"../nowhere":          "kernels.txt:1: kernel source ",
	} {
		imagetest.WriteFile(t, file, []byte(text))
		srcs, err := ParseAll([]string{"@" + file}, kerneltest.NewCache(t))
		if err == nil {
			_, err = srcs[0].List(t.Context())
		}
		var usage *kernel.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want a UsageError with %q", text, err, want)
		}
	}
	if _, err := ParseAll([]string{"@" + file + ".not"}, kerneltest.NewCache(t)); err == nil {
		t.Error("a list that is not there was read")
	}
}
