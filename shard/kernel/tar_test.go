package kernel

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

// mainlineSet has what the predecessor's script leaves, and a config for one.
func mainlineSet(t testing.TB) []byte {
	return tarball(t,
		member{name: "mainline-kernels/bzImage-v5.13.4", data: string(bz(t, "5.13.4"))},
		member{name: "mainline-kernels/bzImage-v5.9", data: string(bz(t, "5.9.0"))},
		member{name: "mainline-kernels/config-v5.13.4", data: "CONFIG_BPF=y\n"},
		member{name: "mainline-kernels/README", data: "hello"},
		member{name: "mainline-kernels/bzImage-v6.1-rc2", data: string(bz(t, "6.1.0-rc2"))},
		member{name: "mainline-kernels/bzImage-v5.10", data: "no kernel"},
	)
}

var setIDs = []string{"mainline/mainline-v5.10", "mainline/mainline-v5.13.4", "mainline/mainline-v5.9", "mainline/mainline-v6.1-rc2"}

func TestMainlineSet(t *testing.T) {
	for _, c := range []Compression{NoCompression, Gzip, XZ, Zstd} {
		t.Run(string(c), func(t *testing.T) {
			name := map[Compression]string{NoCompression: ".tar", Gzip: ".tar.gz", XZ: ".tar.xz", Zstd: ".tar.zst"}[c]
			file := writeFile(t, filepath.Join(t.TempDir(), "mainline-kernels"+name), compressed(t, c, mainlineSet(t)))
			cache := newCache(t)
			src := source(t, file, cache)
			refs := list(t, src)
			if d := cmp.Diff(setIDs, ids(refs)); d != "" {
				t.Fatalf("ids (-want +got):\n%s", d)
			}
			if r := refs[1]; r.Release != "5.13.4" || r.Arch != "amd64" {
				t.Errorf("%+v", r)
			}
			var wg sync.WaitGroup
			for i, ref := range refs {
				wg.Go(func() {
					im, err := src.Open(t.Context(), ref)
					if i == 0 {
						var bad *BadKernelError
						if !errors.As(err, &bad) || !strings.Contains(err.Error(), "no kernel image") {
							t.Errorf("%s: %v, want a BadKernelError", ref.ID(), err)
						}
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					if b, err := os.ReadFile(im.Kernel); err != nil || !bytes.Equal(b, bz(t, im.Release)) {
						t.Errorf("%s: %d bytes, %v", ref.ID(), len(b), err)
					}
					config := ""
					if im.Config != "" {
						b, err := os.ReadFile(im.Config)
						if err != nil {
							t.Error(err)
						}
						config = string(b)
					}
					if (config == "CONFIG_BPF=y\n") != (i == 1) {
						t.Errorf("%s: config %q", ref.ID(), config)
					}
				})
			}
			wg.Wait()
			if left, err := os.ReadDir(filepath.Join(cache.dir, "tmp")); err != nil || len(left) > 0 {
				t.Errorf("left in tmp: %v, %v", left, err)
			}
			// A job that has only the plan and the archive.
			if _, err := source(t, file, newCache(t)).Open(t.Context(), refs[2]); err != nil {
				t.Error(err)
			}
		})
	}
}

// A compressed archive is read once for all its images, and not at all when
// they are in the cache.
func TestMainlineSetIsUnpackedOnce(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "m.tar.gz"), compressed(t, Gzip, mainlineSet(t)))
	cache := newCache(t)
	src := source(t, file, cache)
	refs := list(t, src)
	if _, err := src.Open(t.Context(), refs[3]); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadDir(filepath.Join(cache.dir, kernelsDir))
	if err != nil || len(kept) != 3 {
		t.Errorf("the first kernel brought %d into the cache (%v), want all 3", len(kept), err)
	}
	for _, e := range kept { // proof that it is the cache that answers: take the entries away
		if err := os.RemoveAll(filepath.Join(cache.dir, kernelsDir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := src.Open(t.Context(), refs[1]); err != nil {
		t.Errorf("after the cache was cleaned: %v", err)
	}
}

func TestArchiveOfOneOrOfMany(t *testing.T) {
	kernel := string(bz(t, "5.13.4"))
	for name, tc := range map[string]struct {
		members []member
		want    []string
	}{
		"predecessor":    {[]member{{name: "mainline-kernels/bzImage-v5.13.4", data: kernel}}, []string{"mainline/mainline-v5.13.4"}},
		"with dots":      {[]member{{name: "./mainline-kernels/bzImage-v5.13.4", data: kernel}}, []string{"mainline/mainline-v5.13.4"}},
		"at the top":     {[]member{{name: "bzImage-v5.13.4", data: kernel}}, []string{"mainline/mainline-v5.13.4"}},
		"other tree":     {[]member{{name: "rt/vmlinuz-5.13.4-rt1", data: kernel}}, []string{"rt/5.13.4-rt1"}},
		"one":            {[]member{{name: "vmlinuz", data: kernel}}, []string{"fedora/one"}},
		"one, versioned": {[]member{{name: "config-5.13.4", data: "x"}, {name: "vmlinuz-5.13.4", data: kernel}}, []string{"fedora/one_2c_20versioned"}},
		"boot":           {[]member{{name: "boot/bzImage-v5.13.4", data: kernel}}, []string{"fedora/boot"}},
		"modules first":  {[]member{{name: "lib/modules/5.13.4/a.ko", data: "x"}, {name: "boot/vmlinuz-5.13.4", data: kernel}}, []string{"fedora/modules_20first"}},
		"deep":           {[]member{{name: "a/b/bzImage-v5.13.4", data: kernel}}, []string{"fedora/deep"}},
		"outside":        {[]member{{name: "../bzImage-v5.13.4", data: kernel}, {name: "/x/bzImage-v1.2", data: kernel}}, []string{"fedora/outside"}},
	} {
		file := writeFile(t, filepath.Join(t.TempDir(), "fedora", name+".tar"), tarball(t, tc.members...))
		if d := cmp.Diff(tc.want, ids(list(t, source(t, file, newCache(t))))); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func TestMainlineSetThatChanges(t *testing.T) {
	file := writeFile(t, filepath.Join(t.TempDir(), "m.tar"), mainlineSet(t))
	src := source(t, file, newCache(t))
	refs := list(t, src)
	writeFile(t, file, tarball(t, member{name: "mainline-kernels/bzImage-v5.13.4", data: string(bz(t, "5.13.5"))}))
	if _, err := src.Open(t.Context(), refs[1]); err == nil || !strings.Contains(err.Error(), "holds no image with digest") {
		t.Errorf("error %v", err)
	}
	if _, err := source(t, filepath.Join(t.TempDir(), "gone.tar"), newCache(t)).List(t.Context()); err == nil || !strings.Contains(err.Error(), "is not there") {
		t.Errorf("error %v", err)
	}
}

// What an archive that breaks off has lost has no name: a list of the rest
// would be tested, and called whole.
func TestMainlineSetThatBreaksOff(t *testing.T) {
	whole := mainlineSet(t)
	for name, tc := range map[string]struct {
		data []byte
		want string
	}{
		"in the first image":   {whole[:900], "after 0 images"},
		"in the second":        {whole[:len(bz(t, "5.13.4"))+2*512+100], "after 1 images"},
		"in its second header": {whole[:512+(len(bz(t, "5.13.4"))+511)/512*512+100], "after 1 images"},
		"compressed":           {compressed(t, Gzip, whole)[:len(compressed(t, Gzip, whole))-20], "it breaks off after"},
	} {
		file := writeFile(t, filepath.Join(t.TempDir(), "mainline-kernels.tar"), tc.data)
		refs, err := source(t, file, newCache(t)).List(t.Context())
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, error %v, want a UsageError with %q", name, ids(refs), err, tc.want)
		}
	}
}

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
	} {
		if got := relativeTo("/lists", spec); got != want {
			t.Errorf("%q becomes %q, want %q", spec, got, want)
		}
	}
}

// The archive may change between its digest and its reading.
func TestSetChecksWhatItReads(t *testing.T) {
	for _, c := range []Compression{NoCompression, Gzip} {
		file := writeFile(t, filepath.Join(t.TempDir(), "m.tar"), compressed(t, c, mainlineSet(t)))
		cache := newCache(t)
		src := source(t, file, cache).(*tarSource)
		set, err := src.set(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Replace(mainlineSet(t), []byte("5.9.0 (root@build)"), []byte("5.9.0 (evil@build)"), 1)
		writeFile(t, file, compressed(t, c, changed))
		_, err = cache.unpackSet(t.Context(), file, digestA, set, set.Images[1])
		var digest *DigestError
		if !errors.As(err, &digest) {
			t.Errorf("%q: error %v, want a DigestError", c, err)
		}
	}
}

func FuzzTarSet(f *testing.F) {
	f.Add(mainlineSet(f))
	f.Add(fullArchive(f, "5.10.0"))
	f.Add(tarball(f, member{name: "a/bzImage-v1.2\n::error::", data: "x"}, member{name: "../bzImage-v1.2", data: "x"}, member{name: "-d/vmlinuz--rf", data: "x"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := readSet(context.Background(), bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, im := range s.Images {
			if id := (Ref{Distro: im.Distro, Name: im.Name}).ID(); !safeID.MatchString(id) {
				t.Fatalf("id %q", id)
			}
			if strings.ContainsAny(im.Bad, "\n\x1b") {
				t.Fatalf("reason %q", im.Bad)
			}
			if _, err := digestHex(im.Digest); err != nil {
				t.Fatal(err)
			}
			if im.Image.Offset%512 != 0 || im.Image.Offset <= 0 || im.Image.Offset+im.Image.Size > int64(len(data)) && im.Bad == "" {
				t.Fatalf("%+v in %d bytes", im.Image, len(data))
			}
		}
	})
}

func TestParseList(t *testing.T) {
	got, err := parseList("\ufeff" + `# the matrix
gs://b/p  fedora/*  !*debug*  newest:3   # the newest
debian:bookworm:cloud-amd64 newest:2	oldest:1

"my kernels/a b" 'x#y*'
!*/*-rt-*  !bad/**
./plain#1`)
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"!*/*-rt-*", "!bad/**"}
	want := []listLine{
		{number: 2, source: "gs://b/p", globs: append([]string{"fedora/*", "!*debug*"}, all...), newest: 3},
		{number: 3, source: "debian:bookworm:cloud-amd64", globs: all, newest: 2, oldest: 1},
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
		writeFile(t, filepath.Join(root, "k", name+".tar"), fullArchive(t, name))
	}
	writeFile(t, filepath.Join(root, "other kernels", "vmlinuz-6.6.6"), bz(t, "6.6.6"))
	file := writeFile(t, filepath.Join(root, "lists", "kernels.txt"), []byte(`
../k  !*debug*  newest:1  oldest:1
'../other kernels'
`))
	srcs, err := ParseAll([]string{"@" + file, filepath.Join(root, "k", "fedora")}, newCache(t))
	if err != nil || len(srcs) != 3 {
		t.Fatalf("%d sources, %v", len(srcs), err)
	}
	refs := list(t, srcs[0])
	if len(refs) != 6 {
		t.Errorf("listed %q", ids(refs))
	}
	want := []string{"fedora/5.11.1__a", "fedora/5.9.1__a", "rhel/5.14.0-1.x86_64__a", "rhel/5.14.0-2.aarch64__a", "rhel/5.14.0-3.x86_64__a"}
	if d := cmp.Diff(want, ids(srcs[0].(Picker).Pick(refs))); d != "" {
		t.Errorf("picked (-want +got):\n%s", d)
	}
	for _, r := range list(t, srcs[1]) {
		if _, err := srcs[1].Open(t.Context(), r); err != nil {
			t.Error(err)
		}
	}
	// Another job takes the source as it says it is called.
	if _, err := Parse(srcs[0].String(), newCache(t)); err != nil || srcs[0].String() != filepath.Join(root, "k") {
		t.Errorf("the source is called %q, %v", srcs[0], err)
	}
	for text, want := range map[string]string{
		"\n\ndebain:bookworm": `kernels.txt:3: kernel source "debain:bookworm" is not known, did you mean "debian"?`,
		"../k nothing/*":      "kernels.txt:1: none of the 7 kernels of ",
		"../nowhere":          "kernels.txt:1: kernel source ",
	} {
		writeFile(t, file, []byte(text))
		srcs, err := ParseAll([]string{"@" + file}, newCache(t))
		if err == nil {
			_, err = srcs[0].List(t.Context())
		}
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want a UsageError with %q", text, err, want)
		}
	}
	if _, err := ParseAll([]string{"@" + file + ".not"}, newCache(t)); err == nil {
		t.Error("a list that is not there was read")
	}
}
