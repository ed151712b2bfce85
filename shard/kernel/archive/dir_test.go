package archive

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

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

func TestDirLists(t *testing.T) {
	root := filepath.Join(t.TempDir(), "my kernels")
	for name, data := range map[string][]byte{
		"amazonlinux2/5.10.102-99.473.amzn2.x86_64__0935484e__06f8afb1.tar.gz": imagetest.FullArchive(t, "5.10.102-99.473.amzn2.x86_64"),
		"fedora/5.11.12-300.fc34.x86_64__b52ee374.tar.xz":                      imagetest.FullArchive(t, "5.11.12"),
		"fedora/SHA256SUMS":                   []byte("not a kernel"),
		"fedora/deep/er/vmlinuz-1":            []byte("not looked at"),
		"mainline-kernels/bzImage-v5.13.4":    imagetest.Vmlinuz(t, "5.13.4"),
		"mainline-kernels/mainline-v5.14.tar": imagetest.FullArchive(t, "5.14.0"),
		"vmlinuz-6.1.0-custom":                imagetest.Vmlinuz(t, "6.1.0-custom"),
		"config-6.1.0-custom":                 []byte("CONFIG_BPF=y\n"),
		"README.md":                           []byte("not a kernel"),
		"6.1-btf.bzImage":                     []byte("not looked at"),
		"plain/bzImage":                       imagetest.Vmlinuz(t, "6.2.0"),
		"plain/Image.gz":                      imagetest.Compressed(t, image.Gzip, imagetest.Arm64Image("6.2.0")),
		".git/vmlinuz-1":                      []byte("not looked at"),
	} {
		imagetest.WriteFile(t, filepath.Join(root, name), data)
	}
	c := kerneltest.NewCache(t)
	s := source(t, root, c)
	refs := kerneltest.List(t, s)
	want := []string{
		"amazonlinux2/5.10.102-99.473.amzn2.x86_64__0935484e__06f8afb1",
		"fedora/5.11.12-300.fc34.x86_64__b52ee374",
		"mainline/mainline-v5.13.4",
		"mainline/mainline-v5.14",
		"my_20kernels/6.1.0-custom",
		"plain/Image.gz",
		"plain/bzImage",
	}
	if d := cmp.Diff(want, kerneltest.IDs(refs)); d != "" {
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
	var again kernel.Ref
	if err := json.Unmarshal(b, &again); err != nil || again != refs[4] {
		t.Errorf("JSON round trip: %+v, %v", again, err)
	}
	im, err := source(t, root, kerneltest.NewCache(t)).Open(context.Background(), again)
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
	a := imagetest.WriteFile(t, filepath.Join(root, "5.11.12__b5.tar.gz"), imagetest.FullArchive(t, "5.11.12"))
	b := imagetest.WriteFile(t, filepath.Join(root, "odd name"), imagetest.Vmlinuz(t, "6.6.6"))
	for spec, want := range map[string]string{root: "fedora/5.11.12__b5", a: "fedora/5.11.12__b5", b: "fedora/odd_20name"} {
		s := source(t, spec, kerneltest.NewCache(t))
		refs := kerneltest.List(t, s)
		if d := cmp.Diff([]string{want}, kerneltest.IDs(refs)); d != "" {
			t.Errorf("%s (-want +got):\n%s", spec, d)
		}
		if _, err := s.Open(context.Background(), refs[0]); err != nil {
			t.Error(err)
		}
	}
}

func TestHostileNamesAreListedAndNotOpened(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{
		"vmlinuz-a\nb", "-rf.tar.gz", ".hidden.tar.gz", "..tar.gz", "x\x1b[2J.tar", "\xff\xfe.tar.gz",
		strings.Repeat("n", 230) + ".tar.gz", "::error::x.tar.gz", "good.tar.gz",
	} {
		data := imagetest.FullArchive(t, "5.10.0")
		if strings.HasPrefix(name, "vmlinuz") {
			data = imagetest.Vmlinuz(t, "5.10.0")
		}
		imagetest.WriteFile(t, filepath.Join(root, "d", name), data)
	}
	imagetest.WriteFile(t, filepath.Join(root, "bad\ndistro", "5.10.0.tar.gz"), imagetest.FullArchive(t, "5.10.0"))
	s := source(t, root, kerneltest.NewCache(t))
	refs := kerneltest.List(t, s)
	if len(refs) != 10 {
		t.Errorf("%d kernels, want all 10: %q", len(refs), kerneltest.IDs(refs))
	}
	var opened []string
	for _, r := range refs {
		if !kerneltest.SafeID.MatchString(r.ID()) || len(r.Name) > kernel.MaxName {
			t.Errorf("id %q is not safe", r.ID())
		}
		_, err := s.Open(context.Background(), r)
		if err == nil {
			opened = append(opened, r.ID())
			continue
		}
		var bad *kernel.BadKernelError
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
	imagetest.WriteFile(t, filepath.Join(root, "d", "a.tar"), imagetest.FullArchive(t, "5.10.0"))
	imagetest.WriteFile(t, filepath.Join(root, "d", "a.tar.gz"), imagetest.Compressed(t, image.Gzip, imagetest.FullArchive(t, "5.10.0")))
	imagetest.WriteFile(t, filepath.Join(root, "d", "a.tgz"), imagetest.FullArchive(t, "5.10.0")) // the same bytes as a.tar
	refs := kerneltest.List(t, source(t, root, kerneltest.NewCache(t)))
	if len(refs) != 2 || refs[0].Name != "a" || !regexp.MustCompile(`^a_[0-9a-f]{8}$`).MatchString(refs[1].Name) {
		t.Errorf("ids %q, want d/a and d/a_<digest>", kerneltest.IDs(refs))
	}
}

func TestDirUsageErrors(t *testing.T) {
	empty, nested := t.TempDir(), t.TempDir()
	imagetest.WriteFile(t, filepath.Join(nested, "vmlinuz-6.1"), []byte("#!/bin/sh\n"))
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
		_, err := source(t, tc.spec, kerneltest.NewCache(t)).List(context.Background())
		var usage *kernel.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want a UsageError with %q", tc.spec, err, tc.want)
		}
	}
}

func TestOneBrokenArchiveDoesNotStopTheOthers(t *testing.T) {
	root := t.TempDir()
	imagetest.WriteFile(t, filepath.Join(root, "d", "bad.tar.gz"), []byte("\x1f\x8b broken"))
	imagetest.WriteFile(t, filepath.Join(root, "d", "good.tar.gz"), imagetest.FullArchive(t, "5.10.0"))
	if err := syscall.Mkfifo(filepath.Join(root, "d", "fifo.tar.gz"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := source(t, root, kerneltest.NewCache(t))
	refs := kerneltest.List(t, s)
	if d := cmp.Diff([]string{"d/bad", "d/fifo", "d/good"}, kerneltest.IDs(refs)); d != "" {
		t.Fatalf("ids (-want +got):\n%s", d)
	}
	for i, ok := range []bool{false, false, true} {
		_, err := s.Open(context.Background(), refs[i])
		var bad *kernel.BadKernelError
		if (err == nil) != ok || !ok && !errors.As(err, &bad) {
			t.Errorf("%s: error %v", refs[i].ID(), err)
		}
	}
}

func TestOpenRefusesOtherBytesAndOtherPlaces(t *testing.T) {
	root := t.TempDir()
	file := imagetest.WriteFile(t, filepath.Join(root, "d", "a.tar"), imagetest.FullArchive(t, "5.10.0"))
	imagetest.WriteFile(t, filepath.Join(filepath.Dir(root), "outside.tar"), imagetest.FullArchive(t, "5.10.0"))
	c := kerneltest.NewCache(t)
	s := source(t, root, c)
	ref := kerneltest.List(t, s)[0]
	for _, locator := range []string{"../outside.tar", "/etc/passwd", "d/../../outside.tar", "", "d/a/b.tar"} {
		r := ref
		r.Locator = locator
		if _, err := s.Open(context.Background(), r); err == nil {
			t.Errorf("opened locator %q", locator)
		}
	}
	imagetest.WriteFile(t, file, imagetest.FullArchive(t, "5.10.1"))
	_, err := s.Open(context.Background(), ref)
	var digest *kernel.DigestError
	if !errors.As(err, &digest) || digest.Want != ref.Digest {
		t.Errorf("error %v, want a DigestError", err)
	}
}

func TestListingRemembersDigests(t *testing.T) {
	root := t.TempDir()
	file := imagetest.WriteFile(t, filepath.Join(root, "d", "a.tar"), imagetest.FullArchive(t, "5.10.0"))
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	c := kerneltest.NewCache(t)
	s := source(t, root, c)
	kerneltest.List(t, s)
	// The change time cannot be set back, so a fresh file is not remembered.
	if got, _ := filepath.Glob(filepath.Join(c.Dir(), "hashes", "*.json")); len(got) != 0 {
		t.Errorf("a file just written was remembered: %v", got)
	}
	time.Sleep(2*time.Second + 100*time.Millisecond) // the file system's clock, which no test can set
	first := kerneltest.List(t, s)[0]
	got, _ := filepath.Glob(filepath.Join(c.Dir(), "hashes", "*.json"))
	if len(got) != 1 {
		t.Fatalf("remembered %v", got)
	}
	// Proof that it is used: a forged memory is believed, until the file changes.
	b, _ := os.ReadFile(got[0])
	forged := "sha256:" + strings.Repeat("0", 64)
	imagetest.WriteFile(t, got[0], []byte(strings.Replace(string(b), first.Digest, forged, 1)))
	if r := kerneltest.List(t, s)[0]; r.Digest != forged {
		t.Error("the second listing hashed the file again")
	}
	imagetest.WriteFile(t, file, imagetest.FullArchive(t, "5.10.0")) // same size, same bytes, new times
	if r := kerneltest.List(t, s)[0]; r.Digest != first.Digest {
		t.Error("a changed file was not hashed again")
	}
}
