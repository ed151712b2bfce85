package snapshot

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"testing"
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
		"the first page":              {0: some[:page]},
		"the last byte":               {size - 1: {1}},
		"a run that is longer":        {page: some[:maxRun+3*page]},
		"pages and zeros that remain": {5: {1}, 3 * page: make([]byte, page), 2<<20 + 7: some[:100_000], 5 << 20: {9}},
		"all of it":                   {0: bytes.Repeat([]byte{1}, size)},
	} {
		t.Run(name, func(t *testing.T) {
			f := memoryFile(t, size, at)
			var packed bytes.Buffer
			if err := packMemory(&packed, f); err != nil {
				t.Fatal(err)
			}
			got := memoryFile(t, 0, nil)
			if err := unpackMemory(got, bytes.NewReader(packed.Bytes()), size); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(all(t, f), all(t, got)) {
				t.Error("other memory came back")
			}
			if err := unpackMemory(memoryFile(t, 0, nil), bytes.NewReader(packed.Bytes()), size/2); err == nil {
				t.Error("it was unpacked into less memory")
			}
			if err := unpackMemory(memoryFile(t, 0, nil), bytes.NewReader(packed.Bytes()), 2*size); err == nil {
				t.Error("it was unpacked into more memory")
			}
			if err := unpackMemory(memoryFile(t, 0, nil), bytes.NewReader(packed.Bytes()[:packed.Len()-3]), size); err == nil {
				t.Error("what is cut short was unpacked")
			}
		})
	}
}

func FuzzUnpackMemory(f *testing.F) {
	pack := func(words ...uint64) []byte {
		var b bytes.Buffer
		z, err := compress(&b)
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
		err := unpackMemory(ram, bytes.NewReader(in), size)
		if info, serr := ram.Stat(); serr != nil || info.Size() != size {
			t.Fatalf("%v: the memory has %d bytes (%v)", err, info.Size(), serr)
		}
	})
}
