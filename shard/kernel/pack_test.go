package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
)

func TestSmallest(t *testing.T) {
	c := newCache(t)
	digest := func(i int) string { return DigestPrefix + strings.Repeat(fmt.Sprint(i), 64) }
	for i, size := range []int{300, 100, 200} {
		var builds atomic.Int32
		if _, err := c.entry(t.Context(), digest(i), builder(&builds, make([]byte, size))); err != nil {
			t.Fatal(err)
		}
	}
	imagetest.WriteFile(t, filepath.Join(c.Dir(), kernelsDir, "notes"), nil)
	for max, want := range map[int64][]string{
		99: {}, 100: {digest(1)}, 599: {digest(1), digest(2)}, 600: {digest(1), digest(2), digest(0)},
	} {
		got, err := c.Smallest(max)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%d bytes: %v %s", max, err, d)
		}
	}
}

// walkTar is a plain reader of tar archives: another package has the careful one.
func walkTar(b []byte) func(WalkFunc) error {
	return func(fn WalkFunc) error {
		for tr := tar.NewReader(bytes.NewReader(b)); ; {
			hdr, err := tr.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			if err := fn(hdr.Name, hdr.Size, tr); err != nil {
				return err
			}
		}
	}
}

func packedKernel(t testing.TB) (*Cache, []byte) {
	t.Helper()
	c := newCache(t)
	vmlinuz := imagetest.Vmlinuz(t, "6.1.0")
	e, err := c.entry(t.Context(), digestA, func(_ context.Context, dir string) (Contents, error) {
		return Contents{}, os.WriteFile(filepath.Join(dir, KernelFile), vmlinuz, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"derived-modules-1.cpio", "derived-modules-1.cpio.sum", "derived-vm-1", "derived-pass-1", vmlinuxFile, checkedFile} {
		imagetest.WriteFile(t, filepath.Join(e.dir, name), []byte(name))
	}
	var b bytes.Buffer
	if err := c.Pack(digestA, &b); err != nil {
		t.Fatal(err)
	}
	return c, b.Bytes()
}

// What a source delivered and archives of modules are packed; saved VMs, results
// and what nothing vouches for are not. An entry that was unpacked lasts.
func TestPack(t *testing.T) {
	_, b := packedKernel(t)
	c := newCache(t)
	c.Warn = func(s string) { t.Error(s) }
	for range 2 {
		if err := c.Unpack(t.Context(), digestA, walkTar(b)); err != nil {
			t.Fatal(err)
		}
	}
	e, err := loadEntry(filepath.Join(c.dir, kernelsDir, strings.TrimPrefix(digestA, DigestPrefix)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	list, err := os.ReadDir(e.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if f.Name() != checkedFile {
			names = append(names, f.Name())
		}
	}
	want := []string{"derived-modules-1.cpio", "derived-modules-1.cpio.sum", entryFile, KernelFile}
	if d := cmp.Diff(want, names); d != "" || len(e.Files) != 1 || e.Image.Version != "6.1.0" {
		t.Errorf("%+v %s", e, d)
	}
}

// Whatever an archive holds, the cache has afterwards what it had packed itself,
// or nothing.
func FuzzUnpack(f *testing.F) {
	_, good := packedKernel(f)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add(bytes.ReplaceAll(good, []byte(KernelFile), []byte("vmlinux")))
	f.Add(bytes.ReplaceAll(good, []byte(`"derived`), []byte(`"../../d`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newCache(t)
		err := c.Unpack(t.Context(), digestA, walkTar(b))
		dir := filepath.Join(c.dir, kernelsDir, strings.TrimPrefix(digestA, DigestPrefix))
		if _, loaded := loadEntry(dir); (err == nil) != (loaded == nil) {
			t.Fatalf("unpack: %v, load: %v", err, loaded)
		}
		tmp, readErr := os.ReadDir(filepath.Join(c.dir, "tmp"))
		top, topErr := os.ReadDir(c.dir)
		if readErr != nil || topErr != nil || len(tmp) > 0 || len(top) != 6 {
			t.Errorf("left %v, %v", tmp, top)
		}
		list, _ := os.ReadDir(dir)
		if slices.ContainsFunc(list, func(e os.DirEntry) bool { return e.Name() == vmlinuxFile || strings.HasPrefix(e.Name(), "derived-vm") }) {
			t.Errorf("unpacked %v", list)
		}
	})
}
