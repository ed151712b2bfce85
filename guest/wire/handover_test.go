package wire

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
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
	for _, tt := range []struct {
		spoil func(*Handover)
		want  string
	}{
		{func(h *Handover) { h.Nonce = "" }, "no nonce"},
		{func(h *Handover) { h.Now = 0 }, "no time"},
		{func(h *Handover) { h.Entropy = h.Entropy[1:] }, "31 bytes of entropy"},
		{func(h *Handover) { h.Archives = slices.Repeat(h.Archives, MaxHandoverArchives) }, "more than 8"},
		{func(h *Handover) { h.Archives[0].Files[1].Name = []byte("/tmp/a") }, "does not lie below the root"},
		{func(h *Handover) { h.Archives[0].Files[1].Name = []byte("tmp/../../a") }, "does not lie below the root"},
		{func(h *Handover) { h.Archives[0].Files[1].Mode = 0o120777 }, "neither a file nor a directory"},
		{func(h *Handover) { h.Archives[0].Files[1].Mode = 0o755 }, "neither a file nor a directory"},
		{func(h *Handover) { h.Archives[0].Files[2].Offset = 3 }, "does not lie in its archive"},
		{func(h *Handover) { h.Archives[0].Files[2].Size = 5 }, "does not lie in its archive"},
		{func(h *Handover) { h.Archives[0].Files[2].Size = 1<<63 - 1 }, "does not lie in its archive"},
		{func(h *Handover) { h.Archives[0].Size = 0 }, "does not lie in its archive"},
	} {
		h := goodHandover()
		tt.spoil(&h)
		if got, err := ParseHandover(PackHandover(h)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v, %v, want %q", got, err, tt.want)
		}
	}
}

// Nothing but what was packed is a handover: neither a byte less nor one more,
// nor one that is another.
func TestDamagedHandover(t *testing.T) {
	good := PackHandover(goodHandover())
	for i := range good {
		other := bytes.Clone(good)
		other[i] ^= 0x10
		for _, bad := range [][]byte{good[:i], other, resum(good[:max(0, i-8)]), resum(append(bytes.Clone(good[:len(good)-8]), make([]byte, i+1)...))} {
			if h, err := ParseHandover(bad); err == nil {
				t.Fatalf("at %d: %+v", i, h)
			}
		}
	}
}

// resum gives what a handover was before its checksum another.
func resum(b []byte) []byte {
	return binary.LittleEndian.AppendUint64(bytes.Clone(b), xxhash.Sum64(b))
}

func FuzzParseHandover(f *testing.F) {
	good := PackHandover(goodHandover())
	f.Add(good[:len(good)-8])
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := ParseHandover(resum(in))
		if err != nil {
			return
		}
		if h.Nonce == "" || h.Now <= 0 || len(h.Entropy) < MinEntropy || len(h.Archives) > MaxHandoverArchives {
			t.Fatalf("%+v", h)
		}
		for _, a := range h.Archives {
			at := int64(0)
			for _, f := range a.Files {
				if f.Offset < at || f.Size < 0 || f.Offset+f.Size > a.Size || bytes.HasPrefix(f.Name, []byte("/")) {
					t.Fatalf("%+v", a)
				}
				at = f.Offset + f.Size
			}
		}
		if again, err := ParseHandover(PackHandover(h)); err != nil || !reflect.DeepEqual(again, h) {
			t.Fatalf("%+v, %v, want %+v", again, err, h)
		}
	})
}
