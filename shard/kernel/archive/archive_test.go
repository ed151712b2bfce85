package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

func openArchive(t testing.TB, data []byte) (*kernel.Image, error) {
	t.Helper()
	s, err := New(imagetest.WriteFile(t, filepath.Join(t.TempDir(), "distro", "5.10.0__ab.tar.gz"), data), kerneltest.NewCache(t))
	if err != nil {
		t.Fatal(err)
	}
	refs, err := s.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s.Open(context.Background(), refs[0])
}

func TestArchiveLayouts(t *testing.T) {
	const v = "5.10.0-8-amd64"
	kernel := string(imagetest.Vmlinuz(t, v))
	all := map[string]string{"kernel/a.ko": "A", "modules.dep": "kernel/a.ko:\n"}
	for _, tc := range []struct {
		name    string
		members []imagetest.Member
		config  string
		modules map[string]string
	}{
		{"vmlinuz at the top", []imagetest.Member{{Name: "vmlinuz", Data: kernel}}, "", nil},
		{"modules before the kernel", []imagetest.Member{
			{Name: "config", Data: "C"},
			{Name: "lib/modules/" + v + "/kernel/a.ko", Data: "A"},
			{Name: "lib/modules/" + v + "/modules.dep", Data: "kernel/a.ko:\n"},
			{Name: "vmlinuz", Data: kernel},
		}, "C", all},
		{"boot and usr/lib/modules", []imagetest.Member{
			{Name: "./boot/System.map-" + v, Data: "map"},
			{Name: "./boot/config-" + v, Data: "C"},
			{Name: "./boot/vmlinuz-" + v, Data: kernel},
			{Name: "./usr/lib/modules/" + v + "/kernel/a.ko", Data: "A"},
			{Name: "./usr/lib/modules/" + v + "/modules.dep", Data: "kernel/a.ko:\n"},
		}, "C", all},
		{"all below usr/lib/modules", []imagetest.Member{
			{Name: "usr/lib/modules/" + v + "/config", Data: "C"},
			{Name: "usr/lib/modules/" + v + "/kernel/a.ko", Data: "A"},
			{Name: "usr/lib/modules/" + v + "/vmlinuz", Data: kernel},
		}, "C", map[string]string{"kernel/a.ko": "A", "config": "C", "vmlinuz": kernel}},
		{"modules of another kernel", []imagetest.Member{
			{Name: "lib/modules/4.4.0/kernel/a.ko", Data: "old"},
			{Name: "lib/modules/" + v + "/kernel/a.ko", Data: "A"},
			{Name: "lib/modules/" + v + "/modules.dep", Data: "kernel/a.ko:\n"},
			{Name: "vmlinuz", Data: kernel},
		}, "", all},
		{"hostile members are passed over", []imagetest.Member{
			{Name: "../../boot/vmlinuz-evil", Data: kernel + "evil"},
			{Name: "/boot/vmlinuz-evil", Data: kernel + "evil"},
			{Name: "boot/../vmlinuz", Data: kernel + "evil"},
			{Name: "boot/vmlinuz-link", Header: &tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}},
			{Name: "vmlinuz-hard", Header: &tar.Header{Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
			{Name: "vmlinuz-dev", Header: &tar.Header{Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
			{Name: "vmlinuz-fifo", Header: &tar.Header{Typeflag: tar.TypeFifo}},
			{Name: "lib/modules/" + v + "/kernel/../../../../../x.ko", Data: "evil"},
			{Name: "lib/modules/" + v + "/kernel/\x1b[2J.ko", Data: "evil"},
			{Name: "vmlinuz", Data: kernel},
			{Name: "lib/modules/" + v + "/kernel/a.ko", Data: "A"},
			{Name: "lib/modules/" + v + "/modules.dep", Data: "kernel/a.ko:\n"},
		}, "", all},
	} {
		t.Run(tc.name, func(t *testing.T) {
			im, err := openArchive(t, imagetest.Compressed(t, image.Gzip, imagetest.Tarball(t, tc.members...)))
			if err != nil {
				t.Fatal(err)
			}
			if b, _ := os.ReadFile(im.Kernel); string(b) != kernel {
				t.Error("another kernel was taken")
			}
			if im.Release != v || im.Arch != "amd64" {
				t.Errorf("release %q, arch %q", im.Release, im.Arch)
			}
			config := ""
			if im.Config != "" {
				b, _ := os.ReadFile(im.Config)
				config = string(b)
			}
			if config != tc.config {
				t.Errorf("config %q, want %q", config, tc.config)
			}
			if im.HasModules() != (tc.modules != nil) {
				t.Errorf("HasModules %v", im.HasModules())
			}
			got := kerneltest.Modules(t, im)
			if len(tc.modules) == 0 {
				tc.modules = map[string]string{}
			}
			if d := cmp.Diff(tc.modules, got); d != "" {
				t.Errorf("modules (-want +got):\n%s", d)
			}
			list, _ := os.ReadDir(filepath.Dir(im.Kernel))
			for _, e := range list {
				if n := e.Name(); n != "vmlinuz" && n != "config" && n != "entry.json" {
					t.Errorf("the archive wrote %q", n)
				}
			}
		})
	}
}

func TestArchiveCompressions(t *testing.T) {
	for _, c := range []image.Compression{image.NoCompression, image.Gzip, image.XZ, image.Zstd, image.LZMA, image.LZ4} {
		im, err := openArchive(t, imagetest.Compressed(t, c, imagetest.FullArchive(t, "5.10.0")))
		if err != nil {
			t.Errorf("%q: %v", c, err)
			continue
		}
		if got := kerneltest.Modules(t, im)["kernel/fs/overlayfs/overlay.ko"]; got != "overlay of 5.10.0" {
			t.Errorf("%q: module %q", c, got)
		}
	}
}

func TestBadArchives(t *testing.T) {
	whole := imagetest.Compressed(t, image.Gzip, imagetest.FullArchive(t, "5.10.0"))
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "archive is empty"},
		{"text", bytes.Repeat([]byte("hello\n"), 200), "not a tar archive"},
		{"cut short", whole[:len(whole)/4], "unexpected EOF"},
		{"without a kernel", imagetest.Compressed(t, image.Gzip, imagetest.Tarball(t, imagetest.Member{Name: "README", Data: "x"})), "holds no kernel"},
		{"with a text for a kernel", imagetest.Compressed(t, image.Gzip, imagetest.Tarball(t, imagetest.Member{Name: "vmlinuz", Data: "x"})), `"vmlinuz" is no kernel image`},
		{"with a huge config", imagetest.Compressed(t, image.Gzip, imagetest.Tarball(t, imagetest.Member{Name: "config", Data: strings.Repeat("x", unpack.MaxConfig+1)})), "exceeds the limit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openArchive(t, tc.data)
			var bad *kernel.BadKernelError
			if !errors.As(err, &bad) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), bad.ID) {
				t.Errorf("error %v, want a BadKernelError with %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error has more than one line: %q", err)
			}
		})
	}
}

// A header may claim any size; nothing is written before it is checked.
func TestHugeMemberIsRefusedUnread(t *testing.T) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: "vmlinuz", Typeflag: tar.TypeReg, Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	_, err := openArchive(t, b.Bytes())
	var limit *bounded.LimitError
	if !errors.As(err, &limit) {
		t.Errorf("error %v, want a LimitError", err)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestWalkTarCapsTotal(t *testing.T) {
	if testing.Short() {
		t.Skip("reads 8 GiB of zeros; -short was given")
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	err := unpack.WalkTar(context.Background(), io.MultiReader(&b, zeros{}), func(string, int64, io.Reader) error { return nil })
	var limit *bounded.LimitError
	if !errors.As(err, &limit) {
		t.Errorf("error %v, want a LimitError", err)
	}
}

func TestReadModulesStopsEarly(t *testing.T) {
	im, err := openArchive(t, imagetest.FullArchive(t, "5.10.0"))
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	err = im.ReadModules(context.Background(), image.IsModule, func(name string, _ int64, _ io.Reader) error {
		seen = append(seen, name)
		return fs.SkipAll
	})
	if err != nil || len(seen) != 1 {
		t.Errorf("saw %q, error %v; want one module and none", seen, err)
	}
	want := errors.New("disk full")
	if err := im.ReadModules(context.Background(), image.IsModule, func(string, int64, io.Reader) error { return want }); !errors.Is(err, want) {
		t.Errorf("error %v, want the callback's own", err)
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(imagetest.FullArchive(f, "5.10.0"))
	f.Add(imagetest.Compressed(f, image.Gzip, imagetest.FullArchive(f, "5.10.0")))
	f.Add(imagetest.Compressed(f, image.XZ, imagetest.Tarball(f, imagetest.Member{Name: "vmlinuz", Data: "x"})))
	f.Add(imagetest.Compressed(f, image.Zstd, imagetest.Tarball(f, imagetest.Member{Name: "../vmlinuz", Data: "x"})))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path := imagetest.WriteFile(t, filepath.Join(dir, "in", "a.tar"), data)
		out := filepath.Join(dir, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		e, err := unpack.Tar(path).Unpack(context.Background(), out, "")
		if err == nil && e.Modules != "" && e.Modules != kernel.SafeName(e.Modules) {
			t.Fatalf("module release %q", e.Modules)
		}
		for sub, allowed := range map[string]string{".": "in out", "in": "a.tar", "out": "vmlinuz config"} {
			list, _ := os.ReadDir(filepath.Join(dir, sub))
			for _, f := range list {
				if !strings.Contains(" "+allowed+" ", " "+f.Name()+" ") {
					t.Fatalf("the archive wrote %q", f.Name())
				}
			}
		}
		if err != nil {
			return
		}
		_ = unpack.Tar(path).Walk(context.Background(), func(name string, _ int64, r io.Reader) error {
			if !fs.ValidPath(name) || strings.ContainsAny(name, "\n\x1b\\") {
				t.Fatalf("module name %q", name)
			}
			_, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20))
			return err
		})
	})
}
