package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
)

// btfHead begins BTF of version 1 with the header that every kernel writes, in
// little-endian order (Documentation/bpf/btf.rst).
var btfHead = []byte{0x9f, 0xeb, 1, 0, 24, 0, 0, 0}

// rawBTF finds the BTF in an image without sections, such as an arm64 Image:
// the largest that is whole, since a kernel carries that of small programs of
// its own as well.
func rawBTF(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	image, err := io.ReadAll(io.LimitReader(f, maxVmlinux))
	if err != nil {
		return nil, fmt.Errorf("read %q: %w", path, err)
	}
	var best []byte
	for rest := image; ; {
		i := bytes.Index(rest, btfHead)
		if i < 0 {
			break
		}
		rest = rest[i:]
		if b := wholeBTF(rest); len(b) > len(best) {
			best = b
		}
		rest = rest[len(btfHead):]
	}
	if best == nil {
		return nil, ErrNoBTF
	}
	return best, nil
}

// wholeBTF returns the BTF that b starts with, nil when it is none: types, then
// strings, of which the first is empty and the last ends.
func wholeBTF(b []byte) []byte {
	const head = 24
	if len(b) < head {
		return nil
	}
	le := binary.LittleEndian
	typeOff, typeLen := uint64(le.Uint32(b[8:])), uint64(le.Uint32(b[12:]))
	strOff, strLen := uint64(le.Uint32(b[16:])), uint64(le.Uint32(b[20:]))
	end := head + strOff + strLen
	if typeOff != 0 || strOff < typeLen || strLen == 0 || end > uint64(len(b)) || end > maxBTF {
		return nil
	}
	if b[head+strOff] != 0 || b[end-1] != 0 {
		return nil
	}
	return b[:end]
}
