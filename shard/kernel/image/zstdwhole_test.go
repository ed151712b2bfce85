package image

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestOpenZstdWhole(t *testing.T) {
	want := bytes.Repeat([]byte("a kernel "), 300_000)
	var packed bytes.Buffer
	// Without its size in the frame's header, as a pipe is compressed.
	w, err := zstd.NewWriter(&packed, zstd.WithWindowSize(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	n := int64(packed.Len())
	image := func(size uint32) []byte {
		b := append(make([]byte, 100), packed.Bytes()...)
		return append(binary.LittleEndian.AppendUint32(b, size), "trailer"...)
	}
	for name, size := range map[string]int{"its size": len(want), "less": len(want) / 2, "more": 2 * len(want)} {
		z, err := openZstdWhole(bytes.NewReader(image(uint32(size))), 100, n)
		if err != nil || z == nil {
			t.Errorf("%s: %v, %v", name, z, err)
			continue
		}
		got, err := io.ReadAll(z)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if err := z.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"no size": image(uint32(len(want)))[:100+n], "a size below the payload's": image(3), "a size above all": image(1<<32 - 1),
	} {
		if z, err := openZstdWhole(bytes.NewReader(b), 100, n); z != nil || err != nil {
			t.Errorf("%s: %v, %v", name, z, err)
		}
	}
	broken := image(uint32(len(want)))
	broken[100+n/2] ^= 0xff
	broken[100+n/2+1] ^= 0xff
	if z, err := openZstdWhole(bytes.NewReader(broken), 100, n); err == nil {
		t.Errorf("broken: %v", z)
	}
}
