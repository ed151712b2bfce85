package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func list(t testing.TB, s Source) []Ref {
	t.Helper()
	refs, err := s.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

func source(t testing.TB, spec string, c *Cache) Source {
	t.Helper()
	s, err := Parse(spec, c)
	if err != nil {
		t.Fatal(err)
	}
	if s.String() != spec {
		t.Errorf("String %q, want %q", s.String(), spec)
	}
	return s
}

func ids(refs []Ref) []string {
	var out []string
	for _, r := range refs {
		out = append(out, r.ID())
	}
	return out
}

func TestDirLists(t *testing.T) {
	root := filepath.Join(t.TempDir(), "my kernels")
	for name, data := range map[string][]byte{
		"amazonlinux2/5.10.102-99.473.amzn2.x86_64__0935484e__06f8afb1.tar.gz": fullArchive(t, "5.10.102-99.473.amzn2.x86_64"),
		"fedora/5.11.12-300.fc34.x86_64__b52ee374.tar.xz":                      fullArchive(t, "5.11.12"),
		"fedora/SHA256SUMS":                   []byte("not a kernel"),
		"fedora/deep/er/vmlinuz-1":            []byte("not looked at"),
		"mainline-kernels/bzImage-v5.13.4":    bz(t, "5.13.4"),
		"mainline-kernels/mainline-v5.14.tar": fullArchive(t, "5.14.0"),
		"vmlinuz-6.1.0-custom":                bz(t, "6.1.0-custom"),
		"config-6.1.0-custom":                 []byte("CONFIG_BPF=y\n"),
		"README.md":                           []byte("not a kernel"),
		".git/vmlinuz-1":                      []byte("not looked at"),
	} {
		writeFile(t, filepath.Join(root, name), data)
	}
	c := newCache(t)
	s := source(t, root, c)
	refs := list(t, s)
	want := []string{
		"amazonlinux2/5.10.102-99.473.amzn2.x86_64__0935484e__06f8afb1",
		"fedora/5.11.12-300.fc34.x86_64__b52ee374",
		"mainline/mainline-v5.13.4",
		"mainline/mainline-v5.14",
		"my_20kernels/6.1.0-custom",
	}
	if d := cmp.Diff(want, ids(refs)); d != "" {
		t.Errorf("ids (-want +got):\n%s", d)
	}
	if r := refs[0]; r.Release != "5.10.102-99.473.amzn2.x86_64" || r.Arch != "amd64" || r.Size != 0 {
		t.Errorf("archive: %+v", r)
	}
	if r := refs[4]; r.Release != "6.1.0-custom" || r.Arch != "amd64" {
		t.Errorf("image: %+v", r)
	}
	// A plan takes a Ref to another job, by JSON.
	b, err := json.Marshal(refs[4])
	if err != nil {
		t.Fatal(err)
	}
	var again Ref
	if err := json.Unmarshal(b, &again); err != nil || again != refs[4] {
		t.Errorf("JSON round trip: %+v, %v", again, err)
	}
	im, err := source(t, root, newCache(t)).Open(context.Background(), again)
	if err != nil {
		t.Fatal(err)
	}
	if config, _ := os.ReadFile(im.Config); string(config) != "CONFIG_BPF=y\n" {
		t.Errorf("config %q", config)
	}
	if im.HasModules() {
		t.Error("a bare image has modules")
	}
}

func TestDirOfOneDistroAndSingleFiles(t *testing.T) {
	root := filepath.Join(t.TempDir(), "fedora")
	a := writeFile(t, filepath.Join(root, "5.11.12__b5.tar.gz"), fullArchive(t, "5.11.12"))
	b := writeFile(t, filepath.Join(root, "odd name"), bz(t, "6.6.6"))
	for spec, want := range map[string]string{root: "fedora/5.11.12__b5", a: "fedora/5.11.12__b5", b: "fedora/odd_20name"} {
		s := source(t, spec, newCache(t))
		refs := list(t, s)
		if d := cmp.Diff([]string{want}, ids(refs)); d != "" {
			t.Errorf("%s (-want +got):\n%s", spec, d)
		}
		if _, err := s.Open(context.Background(), refs[0]); err != nil {
			t.Error(err)
		}
	}
}

var safeID = regexp.MustCompile(`^[A-Za-z0-9_+~][A-Za-z0-9._+~-]*/[A-Za-z0-9_+~][A-Za-z0-9._+~-]*$`)

func TestHostileNamesAreListedAndNotOpened(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{
		"vmlinuz-a\nb", "-rf.tar.gz", ".hidden.tar.gz", "..tar.gz", "x\x1b[2J.tar", "\xff\xfe.tar.gz",
		strings.Repeat("n", 230) + ".tar.gz", "::error::x.tar.gz", "good.tar.gz",
	} {
		data := fullArchive(t, "5.10.0")
		if strings.HasPrefix(name, "vmlinuz") {
			data = bz(t, "5.10.0")
		}
		writeFile(t, filepath.Join(root, "d", name), data)
	}
	writeFile(t, filepath.Join(root, "bad\ndistro", "5.10.0.tar.gz"), fullArchive(t, "5.10.0"))
	s := source(t, root, newCache(t))
	refs := list(t, s)
	if len(refs) != 10 {
		t.Errorf("%d kernels, want all 10: %q", len(refs), ids(refs))
	}
	var opened []string
	for _, r := range refs {
		if !safeID.MatchString(r.ID()) || len(r.Name) > maxName {
			t.Errorf("id %q is not safe", r.ID())
		}
		_, err := s.Open(context.Background(), r)
		if err == nil {
			opened = append(opened, r.ID())
			continue
		}
		var bad *BadKernelError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), "rename it") || strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("%s: error %q, want one clean line that says to rename it", r.ID(), err)
		}
	}
	// A colon is odd, but harmless once it is escaped.
	if d := cmp.Diff([]string{"d/_3a_3aerror_3a_3ax", "d/good"}, opened); d != "" {
		t.Errorf("opened (-want +got):\n%s", d)
	}
}

func TestSameNameTwice(t *testing.T) {
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "d", "a.tar"), fullArchive(t, "5.10.0"))
	writeFile(t, filepath.Join(root, "d", "a.tar.gz"), compressed(t, Gzip, fullArchive(t, "5.10.0")))
	writeFile(t, filepath.Join(root, "d", "a.tgz"), fullArchive(t, "5.10.0")) // the same bytes as a.tar
	refs := list(t, source(t, root, newCache(t)))
	if len(refs) != 2 || refs[0].Name != "a" || !regexp.MustCompile(`^a_[0-9a-f]{8}$`).MatchString(refs[1].Name) {
		t.Errorf("ids %q, want d/a and d/a_<digest>", ids(refs))
	}
}

func TestDirUsageErrors(t *testing.T) {
	empty, nested := t.TempDir(), t.TempDir()
	writeFile(t, filepath.Join(nested, "vmlinuz-6.1"), []byte("#!/bin/sh\n"))
	fifo := filepath.Join(t.TempDir(), "vmlinuz-fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ spec, want string }{
		{filepath.Join(empty, "nowhere"), "is not there: expected debian:<suite>"},
		{empty, "holds no kernels: expected <distro>/<release>__<ids>.tar.gz"},
		{nested, "vmlinuz-6.1\" is no kernel image"},
		{filepath.Join(nested, "vmlinuz-6.1"), "is no kernel image"},
		{filepath.Dir(fifo), "not a regular file"},
		{fifo, "not a regular file"},
		{"/dev/null", "not a regular file"},
	} {
		_, err := source(t, tc.spec, newCache(t)).List(context.Background())
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want a UsageError with %q", tc.spec, err, tc.want)
		}
	}
}

func TestOneBrokenArchiveDoesNotStopTheOthers(t *testing.T) {
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "d", "bad.tar.gz"), []byte("\x1f\x8b broken"))
	writeFile(t, filepath.Join(root, "d", "good.tar.gz"), fullArchive(t, "5.10.0"))
	if err := syscall.Mkfifo(filepath.Join(root, "d", "fifo.tar.gz"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := source(t, root, newCache(t))
	refs := list(t, s)
	if d := cmp.Diff([]string{"d/bad", "d/fifo", "d/good"}, ids(refs)); d != "" {
		t.Fatalf("ids (-want +got):\n%s", d)
	}
	for i, ok := range []bool{false, false, true} {
		_, err := s.Open(context.Background(), refs[i])
		var bad *BadKernelError
		if (err == nil) != ok || !ok && !errors.As(err, &bad) {
			t.Errorf("%s: error %v", refs[i].ID(), err)
		}
	}
}

func TestOpenRefusesOtherBytesAndOtherPlaces(t *testing.T) {
	root := t.TempDir()
	file := writeFile(t, filepath.Join(root, "d", "a.tar"), fullArchive(t, "5.10.0"))
	writeFile(t, filepath.Join(filepath.Dir(root), "outside.tar"), fullArchive(t, "5.10.0"))
	c := newCache(t)
	s := source(t, root, c)
	ref := list(t, s)[0]
	for _, locator := range []string{"../outside.tar", "/etc/passwd", "d/../../outside.tar", "", "d/a/b.tar"} {
		r := ref
		r.Locator = locator
		if _, err := s.Open(context.Background(), r); err == nil {
			t.Errorf("opened locator %q", locator)
		}
	}
	writeFile(t, file, fullArchive(t, "5.10.1"))
	_, err := s.Open(context.Background(), ref)
	var digest *DigestError
	if !errors.As(err, &digest) || digest.Want != ref.Digest {
		t.Errorf("error %v, want a DigestError", err)
	}
}

func TestListingRemembersDigests(t *testing.T) {
	root := t.TempDir()
	file := writeFile(t, filepath.Join(root, "d", "a.tar"), fullArchive(t, "5.10.0"))
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	c := newCache(t)
	s := source(t, root, c)
	list(t, s)
	// The change time cannot be set back, so a fresh file is not remembered.
	if got, _ := filepath.Glob(filepath.Join(c.dir, "hashes", "*.json")); len(got) != 0 {
		t.Errorf("a file just written was remembered: %v", got)
	}
	time.Sleep(settled + 100*time.Millisecond) // the file system's clock, which no test can set
	first := list(t, s)[0]
	got, _ := filepath.Glob(filepath.Join(c.dir, "hashes", "*.json"))
	if len(got) != 1 {
		t.Fatalf("remembered %v", got)
	}
	// Proof that it is used: a forged memory is believed, until the file changes.
	b, _ := os.ReadFile(got[0])
	forged := "sha256:" + strings.Repeat("0", 64)
	writeFile(t, got[0], []byte(strings.Replace(string(b), first.Digest, forged, 1)))
	if r := list(t, s)[0]; r.Digest != forged {
		t.Error("the second listing hashed the file again")
	}
	writeFile(t, file, fullArchive(t, "5.10.0")) // same size, same bytes, new times
	if r := list(t, s)[0]; r.Digest != first.Digest {
		t.Error("a changed file was not hashed again")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ spec, want string }{
		{"", "expected debian:<suite>"},
		{"a\x00b", "is not valid"},
		{"debain:bookworm", `did you mean "debian"?`},
		{"ftp:foo", "is not known"},
		{"debian:", "valid suites are bullseye"},
		{"debian:bookwurm", `did you mean "bookworm"?`},
		{"debian:bookworm:cloud-amd46", `did you mean "cloud-amd64"?`},
		{"debian:bookworm:", "valid flavours are amd64, cloud-amd64"},
		{"debian:bookworm:amd64:x", "valid flavours are"},
		{"debian:../../etc", "unknown Debian suite"},
		{"ubuntu:noble,ulr=http://x", `option ",ulr=" is not known, did you mean "url"?`},
		{"rpm:/repo,flavor=rt", `option ",flavor=" is not known, did you mean "flavour"?`},
		{"fedora:43,colour=red", `option ",colour=" is not known; valid are`},
	} {
		_, err := Parse(tc.spec, newCache(t))
		var usage *UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: error %v, want a UsageError with %q", tc.spec, err, tc.want)
		}
	}
	for _, spec := range []string{"debian:sid", "debian:unstable:rt-amd64", "debian:bookworm-backports:arm64-16k", "./debian:x"} {
		if _, err := Parse(spec, newCache(t)); err != nil {
			t.Errorf("%q: %v", spec, err)
		}
	}
}
