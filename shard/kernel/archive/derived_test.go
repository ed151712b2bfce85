package archive

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/kerneltest"
)

func TestDerivedIsMadeOnce(t *testing.T) {
	c := kerneltest.NewCache(t)
	im := open(t, c, imagetest.WriteFile(t, filepath.Join(t.TempDir(), "vmlinuz-6.1.0"), imagetest.Vmlinuz(t, "6.1.0")))
	count := 0
	for range 2 {
		path, err := im.Derived(context.Background(), c, "modules.cpio", func(w io.Writer) error {
			count++
			_, err := io.WriteString(w, "cpio")
			return err
		})
		if b, _ := os.ReadFile(path); err != nil || string(b) != "cpio" {
			t.Errorf("%q, %v", b, err)
		}
	}
	if count != 1 {
		t.Errorf("made %d times", count)
	}
	if _, err := im.Derived(context.Background(), c, "other", func(io.Writer) error { return errors.New("no") }); err == nil {
		t.Error("no error")
	}
}

func TestDamagedDerivedFileIsMadeAgain(t *testing.T) {
	c := kerneltest.NewCache(t)
	var warned []string
	c.Warn = func(s string) { warned = append(warned, s) }
	im := open(t, c, imagetest.WriteFile(t, filepath.Join(t.TempDir(), "vmlinuz-6.1.0"), imagetest.Vmlinuz(t, "6.1.0")))
	count := 0
	made := func() string {
		path, err := im.DerivedChecked(context.Background(), c, "modules.cpio", func(w io.Writer) error {
			count++
			_, err := io.WriteString(w, "cpio")
			return err
		})
		if b, _ := os.ReadFile(path); err != nil || string(b) != "cpio" {
			t.Errorf("%q, %v", b, err)
		}
		return path
	}
	made()
	path := made()
	if count != 1 || len(warned) != 0 {
		t.Errorf("made %d times, warned %q", count, warned)
	}
	for _, damaged := range []string{path, path + ".sum"} {
		count, warned = 0, nil
		imagetest.WriteFile(t, damaged, []byte("cpi0"))
		made()
		made()
		if count != 1 || len(warned) != 1 || !strings.Contains(warned[0], "damaged") {
			t.Errorf("%s: made %d times, warned %q", filepath.Base(damaged), count, warned)
		}
	}
	// What was made before there were sums is taken as it is.
	if err := os.Remove(path + ".sum"); err != nil {
		t.Fatal(err)
	}
	if count = 0; made() != path || count != 0 {
		t.Errorf("made %d times", count)
	}
}
