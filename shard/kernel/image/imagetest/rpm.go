package imagetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Cpio writes the format of cpio(5) as the test means it, not as a tool
// would allow.
func Cpio(entries ...CpioMember) []byte {
	var b bytes.Buffer
	pad := func() {
		for b.Len()%4 != 0 {
			b.WriteByte(0)
		}
	}
	for _, e := range append(entries, CpioMember{Name: "TRAILER!!!"}) {
		if e.Size == 0 {
			e.Size = len(e.Data)
		}
		if e.Length == 0 {
			e.Length = len(e.Name) + 1
		}
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, e.Mode, 0, 0, max(e.Links, 1), 0, e.Size, 0, 0, 0, 0, e.Length, 0)
		b.WriteString(e.Name + "\x00")
		pad()
		b.WriteString(e.Data)
		pad()
	}
	return b.Bytes()
}

// CpioMember is a file of such an archive.
type CpioMember struct {
	Name, Data   string
	Mode         int
	Links        int
	Size, Length int // when they are not those of data and name
}

// RPMFile wraps a payload in a lead and headers with just a name, and a
// signature of header and payload where there is one.
func RPMFile(sig, payload []byte) []byte {
	b := append([]byte{0xed, 0xab, 0xee, 0xdb}, make([]byte, 92)...)
	type tag struct {
		tag, kind uint32
		data      []byte
	}
	header := func(tags ...tag) {
		var index, store []byte
		for _, t := range tags {
			count := uint32(len(t.data))
			if t.kind == 6 {
				t.data, count = append(t.data, 0), 1
			}
			for _, n := range []uint32{t.tag, t.kind, uint32(len(store)), count} {
				index = binary.BigEndian.AppendUint32(index, n)
			}
			store = append(store, t.data...)
		}
		b = append(b, 0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0)
		b = binary.BigEndian.AppendUint32(b, uint32(len(tags)))
		b = binary.BigEndian.AppendUint32(b, uint32(len(store)))
		b = append(append(b, index...), store...)
	}
	if sig == nil {
		header()
	} else {
		header(tag{1002, 7, sig})
		b = append(b, make([]byte, -len(sig)&7)...)
	}
	text := func(n uint32, s string) tag { return tag{n, 6, []byte(s)} }
	header(text(1000, "kernel"), text(1001, "1"), text(1002, "2"), text(1022, "x86_64"))
	return append(b, payload...)
}
