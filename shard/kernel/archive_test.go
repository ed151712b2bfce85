package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func openArchive(t testing.TB, data []byte) (*Image, error) {
	t.Helper()
	s, err := Parse(writeFile(t, filepath.Join(t.TempDir(), "distro", "5.10.0__ab.tar.gz"), data), newCache(t))
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
	kernel := string(bz(t, v))
	all := map[string]string{"kernel/a.ko": "A", "modules.dep": "kernel/a.ko:\n"}
	for _, tc := range []struct {
		name    string
		members []member
		config  string
		modules map[string]string
	}{
		{"vmlinuz at the top", []member{{name: "vmlinuz", data: kernel}}, "", nil},
		{"modules before the kernel", []member{
			{name: "config", data: "C"},
			{name: "lib/modules/" + v + "/kernel/a.ko", data: "A"},
			{name: "lib/modules/" + v + "/modules.dep", data: "kernel/a.ko:\n"},
			{name: "vmlinuz", data: kernel},
		}, "C", all},
		{"boot and usr/lib/modules", []member{
			{name: "./boot/System.map-" + v, data: "map"},
			{name: "./boot/config-" + v, data: "C"},
			{name: "./boot/vmlinuz-" + v, data: kernel},
			{name: "./usr/lib/modules/" + v + "/kernel/a.ko", data: "A"},
			{name: "./usr/lib/modules/" + v + "/modules.dep", data: "kernel/a.ko:\n"},
		}, "C", all},
		{"all below usr/lib/modules", []member{
			{name: "usr/lib/modules/" + v + "/config", data: "C"},
			{name: "usr/lib/modules/" + v + "/kernel/a.ko", data: "A"},
			{name: "usr/lib/modules/" + v + "/vmlinuz", data: kernel},
		}, "C", map[string]string{"kernel/a.ko": "A", "config": "C", "vmlinuz": kernel}},
		{"modules of another kernel", []member{
			{name: "lib/modules/4.4.0/kernel/a.ko", data: "old"},
			{name: "lib/modules/" + v + "/kernel/a.ko", data: "A"},
			{name: "lib/modules/" + v + "/modules.dep", data: "kernel/a.ko:\n"},
			{name: "vmlinuz", data: kernel},
		}, "", all},
		{"hostile members are passed over", []member{
			{name: "../../boot/vmlinuz-evil", data: kernel + "evil"},
			{name: "/boot/vmlinuz-evil", data: kernel + "evil"},
			{name: "boot/../vmlinuz", data: kernel + "evil"},
			{name: "boot/vmlinuz-link", hdr: &tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}},
			{name: "vmlinuz-hard", hdr: &tar.Header{Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}},
			{name: "vmlinuz-dev", hdr: &tar.Header{Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}},
			{name: "vmlinuz-fifo", hdr: &tar.Header{Typeflag: tar.TypeFifo}},
			{name: "lib/modules/" + v + "/kernel/../../../../../x.ko", data: "evil"},
			{name: "lib/modules/" + v + "/kernel/\x1b[2J.ko", data: "evil"},
			{name: "vmlinuz", data: kernel},
			{name: "lib/modules/" + v + "/kernel/a.ko", data: "A"},
			{name: "lib/modules/" + v + "/modules.dep", data: "kernel/a.ko:\n"},
		}, "", all},
	} {
		t.Run(tc.name, func(t *testing.T) {
			im, err := openArchive(t, compressed(t, Gzip, tarball(t, tc.members...)))
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
			got := modules(t, im)
			if len(tc.modules) == 0 {
				tc.modules = map[string]string{}
			}
			if d := cmp.Diff(tc.modules, got); d != "" {
				t.Errorf("modules (-want +got):\n%s", d)
			}
			list, _ := os.ReadDir(im.entry.dir)
			for _, e := range list {
				if n := e.Name(); n != kernelFile && n != configFile && n != entryFile {
					t.Errorf("the archive wrote %q", n)
				}
			}
		})
	}
}

func TestArchiveCompressions(t *testing.T) {
	for _, c := range []Compression{NoCompression, Gzip, XZ, Zstd, LZMA, LZ4} {
		im, err := openArchive(t, compressed(t, c, fullArchive(t, "5.10.0")))
		if err != nil {
			t.Errorf("%q: %v", c, err)
			continue
		}
		if got := modules(t, im)["kernel/fs/overlayfs/overlay.ko"]; got != "overlay of 5.10.0" {
			t.Errorf("%q: module %q", c, got)
		}
	}
}

func TestBadArchives(t *testing.T) {
	whole := compressed(t, Gzip, fullArchive(t, "5.10.0"))
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "archive is empty"},
		{"text", bytes.Repeat([]byte("hello\n"), 200), "not a tar archive"},
		{"cut short", whole[:len(whole)/4], "unexpected EOF"},
		{"without a kernel", compressed(t, Gzip, tarball(t, member{name: "README", data: "x"})), "holds no kernel"},
		{"with a text for a kernel", compressed(t, Gzip, tarball(t, member{name: "vmlinuz", data: "x"})), `"vmlinuz" is no kernel image`},
		{"with a huge config", compressed(t, Gzip, tarball(t, member{name: "config", data: strings.Repeat("x", maxConfig+1)})), "exceeds the limit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := openArchive(t, tc.data)
			var bad *BadKernelError
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
	var limit *LimitError
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
	err := walkTar(context.Background(), io.MultiReader(&b, zeros{}), func(string, int64, io.Reader) error { return nil })
	var limit *LimitError
	if !errors.As(err, &limit) {
		t.Errorf("error %v, want a LimitError", err)
	}
}

func TestReadModulesStopsEarly(t *testing.T) {
	im, err := openArchive(t, fullArchive(t, "5.10.0"))
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	err = im.ReadModules(context.Background(), isModule, func(name string, _ int64, _ io.Reader) error {
		seen = append(seen, name)
		return fs.SkipAll
	})
	if err != nil || len(seen) != 1 {
		t.Errorf("saw %q, error %v; want one module and none", seen, err)
	}
	want := errors.New("disk full")
	if err := im.ReadModules(context.Background(), isModule, func(string, int64, io.Reader) error { return want }); !errors.Is(err, want) {
		t.Errorf("error %v, want the callback's own", err)
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(fullArchive(f, "5.10.0"))
	f.Add(compressed(f, Gzip, fullArchive(f, "5.10.0")))
	f.Add(compressed(f, XZ, tarball(f, member{name: "vmlinuz", data: "x"})))
	f.Add(compressed(f, Zstd, tarball(f, member{name: "../vmlinuz", data: "x"})))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		path := writeFile(t, filepath.Join(dir, "in", "a.tar"), data)
		out := filepath.Join(dir, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		e, err := unpack(context.Background(), out, archive{path: path})
		if err == nil && e.Modules != "" && e.Modules != SafeName(e.Modules) {
			t.Fatalf("module release %q", e.Modules)
		}
		for sub, allowed := range map[string]string{".": "in out", "in": "a.tar", "out": "vmlinuz config"} {
			list, _ := os.ReadDir(filepath.Join(dir, sub))
			for _, f := range list {
				if !strings.Contains(" "+allowed+" ", " "+f.Name()+" ") {
					t.Fatal(fmt.Sprintf("the archive wrote %q", f.Name()))
				}
			}
		}
		if err != nil {
			return
		}
		im := &Image{entry: e, archives: []archive{{path: path}}}
		_ = im.ReadModules(context.Background(), func(string) bool { return true }, func(name string, _ int64, r io.Reader) error {
			if !fs.ValidPath(name) || strings.ContainsAny(name, "\n\x1b\\") {
				t.Fatalf("module name %q", name)
			}
			_, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20))
			return err
		})
	})
}
