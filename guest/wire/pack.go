package wire

import "encoding/binary"

// What one process of this program tells another at a restored VM's start is
// packed, since under emulation reading JSON for the first time takes as long as
// starting a process: numbers are varints, and what is long has its length before
// it.

func packString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func packStrings(b []byte, all []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, s := range all {
		b = packString(b, s)
	}
	return b
}

// unpacker reads what was packed. After what is damaged, everything is empty.
type unpacker struct {
	b   []byte
	bad bool
}

func (u *unpacker) fail() {
	u.b, u.bad = nil, true
}

// uint reads a number of at most most.
func (u *unpacker) uint(most uint64) uint64 {
	v, n := binary.Uvarint(u.b)
	if n <= 0 || v > most {
		u.fail()
		return 0
	}
	u.b = u.b[n:]
	return v
}

// bytes are a part of what is read from.
func (u *unpacker) bytes() []byte {
	n := u.uint(uint64(len(u.b)))
	if n > uint64(len(u.b)) {
		u.fail()
		return nil
	}
	b := u.b[:n:n]
	u.b = u.b[n:]
	return b
}

// count reads the number of things that follow, each of at least a byte.
func (u *unpacker) count() int { return int(u.uint(uint64(len(u.b)))) }

func (u *unpacker) strings() []string {
	n := u.count()
	if n == 0 {
		return nil
	}
	all := make([]string, n)
	for i := range all {
		all[i] = string(u.bytes())
	}
	return all
}

// done says whether all was read, and well.
func (u *unpacker) done() bool { return !u.bad && len(u.b) == 0 }
