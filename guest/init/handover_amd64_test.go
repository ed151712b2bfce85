package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// pieces hands a file out as fw_cfg does, most bytes at a time.
type pieces struct {
	left []byte
	most int
	err  error // in place of the last piece
	keys []int
	buf  []byte
}

func (p *pieces) read(key, n int) ([]byte, error) {
	p.keys = append(p.keys, key)
	n = min(n, p.most, len(p.left))
	if p.err != nil && n == len(p.left) {
		return nil, p.err
	}
	p.buf = append(p.buf[:0], p.left[:n]...) // what was handed out before is gone
	p.left = p.left[n:]
	return p.buf, nil
}

func TestUnpack(t *testing.T) {
	files := []guest.File{
		{Path: "/a/b/empty", Mode: 0o600},
		{Path: "/a/b/program", Mode: 0o755, Data: bytes.Repeat([]byte("#!abc"), 1000)},
		{Path: "/z", Mode: 0o444, Data: []byte("z")},
	}
	var packed bytes.Buffer
	if err := guest.WritePayload(&packed, guest.Payload{Job: wire.Job{Name: "n"}, Files: files}); err != nil {
		t.Fatal(err)
	}
	handed, err := guest.HandOver(bytes.NewReader(packed.Bytes()), int64(packed.Len()))
	if err != nil {
		t.Fatal(err)
	}
	for _, most := range []int{1, 7, 512, 1 << 20} {
		root := t.TempDir() + "/"
		// One that is there is written over.
		if err := os.WriteFile(root+"z", []byte("of another kind"), 0o600); err != nil {
			t.Fatal(err)
		}
		// So is a link, and not what it leads to.
		if err := errors.Join(os.MkdirAll(root+"a/b", 0o755), os.Symlink("/proc/self/mounts", root+"a/b/empty")); err != nil {
			t.Fatal(err)
		}
		p := &pieces{left: packed.Bytes(), most: most}
		if err := unpack(newStream(p, file{key: 5, size: handed.Size}), handed, root); err != nil {
			t.Fatalf("%d at a time: %v", most, err)
		}
		for _, f := range files {
			got, err := os.ReadFile(filepath.Join(root, f.Path))
			info, serr := os.Stat(filepath.Join(root, f.Path))
			if err != nil || serr != nil || !bytes.Equal(got, f.Data) || info.Mode() != f.Mode {
				t.Errorf("%d at a time: %s has %d bytes and mode %v, %v", most, f.Path, len(got), info.Mode(), err)
			}
		}
		if info, err := os.Stat(root + "a/b"); err != nil || info.Mode() != fs.ModeDir|0o755 {
			t.Errorf("%d at a time: a directory is %v, %v", most, info, err)
		}
		if job, err := os.ReadFile(root + wire.JobPath); err != nil || !strings.Contains(string(job), `"n"`) {
			t.Errorf("%d at a time: the job is %q, %v", most, job, err)
		}
		if p.keys[0] != 5 || slices.ContainsFunc(p.keys[1:], func(k int) bool { return k >= 0 }) {
			t.Errorf("%d at a time: selected %v, want 5 once", most, p.keys)
		}
	}

	damaged := bytes.Clone(packed.Bytes())
	damaged[len(damaged)-1]++ // behind all files
	for _, tt := range []struct {
		what string
		src  pieces
		left int64
		want string
	}{
		{"damaged", pieces{left: damaged, most: 512}, handed.Size, "came damaged"},
		{"cut", pieces{left: packed.Bytes(), most: 512}, handed.Size - 1, "unexpected EOF"},
		{"cut in a file", pieces{left: packed.Bytes(), most: 512}, 600, "unpack a/b/program: unexpected EOF"},
		{"refused", pieces{left: packed.Bytes(), most: 512, err: errors.New("QEMU refuses")}, handed.Size, "QEMU refuses"},
	} {
		if err := unpack(newStream(&tt.src, file{size: tt.left}), handed, t.TempDir()+"/"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.what, err, tt.want)
		}
	}
}

// What a restored VM brings later is whole, or not there.
func TestBring(t *testing.T) {
	data := []byte("headPK zip trailer")
	from := wire.OnDemandSource{Offset: 4, Size: 6, Sum: xxhash.Sum64(data[:10])}
	for _, most := range []int{1, 7, 100} {
		dst := filepath.Join(t.TempDir(), "zip")
		if err := bring(&pieces{left: data, most: most}, file{size: int64(len(data))}, from, dst); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(dst); err != nil || string(b) != "PK zip" {
			t.Errorf("%q, %v", b, err)
		}
		damaged := bytes.Replace(data, []byte("zip"), []byte("zap"), 1)
		dst = filepath.Join(t.TempDir(), "zip")
		if err := bring(&pieces{left: damaged, most: most}, file{size: int64(len(data))}, from, dst); !errors.Is(err, errDamaged) {
			t.Errorf("%v, want %v", err, errDamaged)
		}
		if left, err := os.ReadDir(filepath.Dir(dst)); len(left) > 0 || err != nil {
			t.Errorf("left %v, %v", left, err)
		}
	}
}
