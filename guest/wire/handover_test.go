package wire

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
)

func goodHandover() Handover {
	return Handover{
		Nonce: "n", Now: 1795568400000000000, Entropy: bytes.Repeat([]byte{7}, MinEntropy),
		Archives: []HandoverPackage{{Size: 9, Sum: 2, Files: []HandoverFile{
			{Name: []byte("tmp"), Mode: ModeDirectory | 0o755},
			{Name: []byte("tmp/a"), Mode: ModeRegular | 0o644, Offset: 1, Size: 3},
			{Name: []byte("tmp/b"), Mode: ModeRegular | 0o4755, Offset: 5, Size: 4},
		}}, {}},
	}
}

func TestParseHandover(t *testing.T) {
	want := goodHandover()
	h, err := ParseHandover(PackHandover(want))
	if err != nil || !reflect.DeepEqual(h, want) {
		t.Fatalf("%+v, %v, want %+v", h, err, want)
	}
}

// Nothing but what was packed is a handover: neither a byte less nor one more,
// nor one that is another.
func TestDamagedHandover(t *testing.T) {
	good := PackHandover(goodHandover())
	for i := range good {
		other := bytes.Clone(good)
		other[i] ^= 0x10
		for _, bad := range [][]byte{good[:i], other, resum(good[:max(0, i-4)]), resum(append(bytes.Clone(good[:len(good)-4]), make([]byte, i+1)...))} {
			if h, err := ParseHandover(bad); err == nil {
				t.Fatalf("at %d: %+v", i, h)
			}
		}
	}
}

// resum gives what a handover was before its checksum another.
func resum(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(b), Checksum(0, b))
}

func FuzzParseHandover(f *testing.F) {
	good := PackHandover(goodHandover())
	f.Add(good[:len(good)-4])
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := ParseHandover(resum(in))
		if err != nil {
			return
		}
		if again, err := ParseHandover(PackHandover(h)); err != nil || !reflect.DeepEqual(again, h) {
			t.Fatalf("%+v, %v, want %+v", again, err, h)
		}
	})
}
