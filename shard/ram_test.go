package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// memoryFile makes a file with some pages of a VM's memory.
func memoryFile(tb testing.TB, size int64, at map[int64][]byte) *os.File {
	tb.Helper()
	f, err := os.CreateTemp(tb.TempDir(), "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		tb.Fatal(err)
	}
	for off, b := range at {
		if _, err := f.WriteAt(b, off); err != nil {
			tb.Fatal(err)
		}
	}
	return f
}

func all(tb testing.TB, f *os.File) []byte {
	tb.Helper()
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestPackedMemory(t *testing.T) {
	const size = 8 << 20
	some := bytes.Repeat([]byte("memory of a guest "), 1<<16)
	for name, at := range map[string]map[int64][]byte{
		"nothing":                     nil,
		"the first page":              {0: some[:ramPage]},
		"the last byte":               {size - 1: {1}},
		"a run that is longer":        {ramPage: some[:ramRun+3*ramPage]},
		"pages and zeros that remain": {5: {1}, 3 * ramPage: make([]byte, ramPage), 2<<20 + 7: some[:100_000], 5 << 20: {9}},
		"all of it":                   {0: bytes.Repeat([]byte{1}, size)},
	} {
		t.Run(name, func(t *testing.T) {
			f := memoryFile(t, size, at)
			var packed bytes.Buffer
			if err := packRAM(&packed, f); err != nil {
				t.Fatal(err)
			}
			got := memoryFile(t, 0, nil)
			if err := unpackRAM(got, bytes.NewReader(packed.Bytes()), size); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(all(t, f), all(t, got)) {
				t.Error("other memory came back")
			}
			if err := unpackRAM(memoryFile(t, 0, nil), bytes.NewReader(packed.Bytes()), size/2); err == nil {
				t.Error("it was unpacked into less memory")
			}
			if err := unpackRAM(memoryFile(t, 0, nil), bytes.NewReader(packed.Bytes()), 2*size); err == nil {
				t.Error("it was unpacked into more memory")
			}
			if err := unpackRAM(memoryFile(t, 0, nil), bytes.NewReader(packed.Bytes()[:packed.Len()-3]), size); err == nil {
				t.Error("what is cut short was unpacked")
			}
		})
	}
}

func FuzzUnpackRAM(f *testing.F) {
	pack := func(words ...uint64) []byte {
		var b bytes.Buffer
		z, err := compressState(&b)
		if err != nil {
			f.Fatal(err)
		}
		for _, w := range words {
			if err := binary.Write(z, binary.LittleEndian, w); err != nil {
				f.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	const size = 1 << 16
	f.Add(pack(size, 0))
	f.Add(pack(8, 8, 1, size, 0))
	f.Add(pack(1<<63, 1<<63))
	f.Add(pack(size-8, 16, 1, 2))
	f.Add(pack(8, 8, 1, 0, 8, 1))
	f.Fuzz(func(t *testing.T, in []byte) {
		ram := memoryFile(t, 0, nil)
		err := unpackRAM(ram, bytes.NewReader(in), size)
		if info, serr := ram.Stat(); serr != nil || info.Size() != size {
			t.Fatalf("%v: the memory has %d bytes (%v)", err, info.Size(), serr)
		}
	})
}

// Memory is kept where there is room, known again on the same boot of the
// machine, and not taken for another's.
func TestKeptRAM(t *testing.T) {
	cache, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &warmBoots{r: &Runner{KeepRAM: true, Cache: cache, Scratch: t.TempDir()}}
	m := qemu.Machine{Memory: 1}
	var packed bytes.Buffer
	if err := packRAM(&packed, memoryFile(t, m.RAMSize(), map[int64][]byte{7: []byte("seven")})); err != nil {
		t.Fatal(err)
	}
	vm := &savedVM{head: savedHead{Key: "0123456789abcdef0123456789abcdef01", RAMSum: sha256Of(packed.Bytes())}, packed: packed.Bytes()}
	get := func() {
		t.Helper()
		f, unpack, err := w.memory(vm, m)
		if err == nil {
			err = unpack()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if b := all(t, f); int64(len(b)) != m.RAMSize() || string(b[7:12]) != "seven" {
			t.Errorf("%d bytes, %q", len(b), b[7:12])
		}
	}
	kept := func() bool {
		f := w.keptRAM(vm)
		if f != nil {
			f.Close()
		}
		return f != nil
	}
	if kept() {
		t.Error("there was memory before any was kept")
	}
	get()
	if !kept() {
		t.Error("the memory was not kept")
	}
	dir, name := w.ramPath(vm)
	path := filepath.Join(dir, name)
	other := *vm
	other.head.RAMSum = "sha256:other"
	if f := w.keptRAM(&other); f != nil {
		f.Close()
		t.Error("another VM's memory was taken")
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, later, later); err != nil {
		t.Fatal(err)
	}
	if kept() {
		t.Error("memory that was changed is taken")
	}
	get()
	if !kept() {
		t.Error("it was not made anew")
	}

	// What is full stays so until something was not used for long.
	if err := makeRoom(dir, 64<<20); !errors.Is(err, errNoRoom) {
		t.Errorf("64 MiB have room for one more: %v", err)
	}
	if err := makeRoom(dir, maxRAM); err != nil || !kept() {
		t.Errorf("1 GiB has no room for one more (%v), or what is used was removed", err)
	}
	if err := os.Chtimes(path, time.Now().Add(-2*usedRAM), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := makeRoom(dir, maxRAM); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was not used for long is still there: %v", err)
	}

	w.r.KeepRAM = false
	get()
	if kept() {
		t.Error("memory is kept unasked")
	}
}
