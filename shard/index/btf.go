package index

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// The BTF of two kernels of a series differs nearly everywhere: a type or a
// string that one has more shifts the numbers of all that follow, and each is
// named in many places. So BTF is stored with the numbers of another kernel's,
// where that has the same type or string, behind a list of what got which number.

// run says that n numbers from own on are the n from ref on in the other BTF.
type run struct{ own, ref, n int }

const (
	ownNumber = 1 << 31 // marks a number that is not the other BTF's
	maxRuns   = 1 << 20
)

// btfKeys tell which types and strings of two kernels are the same.
type btfKeys struct {
	defined []uint64 // by the number of a type
	strs    []byte
}

func readKeys(raw []byte) (k btfKeys) {
	t := image.ReadBTFTypes(raw, nil)
	k.defined = make([]uint64, t.End())
	for id := 1; id < t.End(); id++ {
		k.defined[id] = t.Definition(uint32(id))
	}
	_, k.strs = image.BTFParts(raw)
	return k
}

// alignTypes finds the types that are the same: of several that are, the first of
// one for the first of the other. It says, too, how many are not or
// stand elsewhere.
func (k btfKeys) alignTypes(ref btfKeys) (runs []run, off int) {
	first, next := make(map[uint64]int, len(ref.defined)), make([]int, len(ref.defined))
	for i := len(ref.defined) - 1; i > 0; i-- {
		key := ref.defined[i]
		next[i], first[key] = first[key], i
	}
	runs = []run{{0, 0, 1}} // void is void
	for i, key := range k.defined[1:] {
		if r := first[key]; r != 0 {
			first[key] = next[r]
			runs = add(runs, run{i + 1, r, 1})
		} else {
			off++
		}
	}
	return runs, off + len(runs)
}

// alignStrings finds the strings that are the same.
func (k btfKeys) alignStrings(ref btfKeys) (runs []run) {
	at := map[string]int{}
	eachString(ref.strs, func(off int, s []byte) { at[string(s)] = off })
	eachString(k.strs, func(off int, s []byte) {
		if r, ok := at[string(s)]; ok {
			runs = add(runs, run{off, r, len(s)})
		}
	})
	return runs
}

// eachString calls fn for strings, each with the zero behind it.
func eachString(b []byte, fn func(off int, s []byte)) {
	for off := 0; off < len(b); {
		n := bytes.IndexByte(b[off:], 0) + 1
		if n == 0 {
			n = len(b) - off
		}
		fn(off, b[off:off+n])
		off += n
	}
}

// add adds a run, to the last one where it goes on.
func add(runs []run, r run) []run {
	if n := len(runs) - 1; n >= 0 && runs[n].own+runs[n].n == r.own && runs[n].ref+runs[n].n == r.ref {
		runs[n].n += r.n
		return runs
	}
	return append(runs, r)
}

// renumber returns BTF with the numbers of another, behind the runs. It returns
// nil where unnumber would not give the same bytes.
func renumber(raw []byte, types, strs []run, refLen int) []byte {
	out := append(appendRuns(appendRuns(nil, types), strs), raw...)
	if !change(out[len(out)-len(raw):], table(types), table(strs)) {
		return nil
	}
	if back, err := unnumber(bytes.Clone(out), refLen); err != nil || !bytes.Equal(back, raw) {
		return nil
	}
	return out
}

// unnumber undoes renumber, and changes b. b is hostile; refLen is the length of
// the other BTF.
func unnumber(b []byte, refLen int) ([]byte, error) {
	types, b, ok := readRuns(b, refLen)
	strs, b, ok2 := readRuns(b, refLen)
	if !ok || !ok2 || !change(b, table(back(types)), table(back(strs))) {
		return nil, errors.New("its BTF is damaged")
	}
	return b, nil
}

func back(runs []run) (list []run) {
	for _, r := range runs {
		list = append(list, run{r.ref, r.own, r.n})
	}
	return list
}

// table lists the numbers in the other BTF by the own ones.
func table(runs []run) (list []uint32) {
	for _, r := range runs {
		for len(list) < r.own+r.n {
			list = append(list, ownNumber)
		}
		for i := range r.n {
			list[r.own+i] = uint32(r.ref + i)
		}
	}
	return list
}

// change gives the types and strings that BTF names other numbers.
func change(raw []byte, types, strs []uint32) bool {
	part, text := image.BTFParts(raw)
	return text != nil && image.EachBTFWord(part, func(class byte, word []byte) {
		list := types
		switch class {
		case 's':
			list = strs
		case 't':
		default:
			return
		}
		n := binary.LittleEndian.Uint32(word)
		if n < uint32(len(list)) && list[n] != ownNumber {
			n = list[n]
		} else {
			n ^= ownNumber
		}
		binary.LittleEndian.PutUint32(word, n)
	})
}

// appendRuns writes runs, each by what it is off the end of the one before.
func appendRuns(b []byte, runs []run) []byte {
	b = binary.AppendUvarint(b, uint64(len(runs)))
	own, ref := 0, 0
	for _, r := range runs {
		b = binary.AppendUvarint(b, uint64(r.own-own))
		b = binary.AppendVarint(b, int64(r.ref-ref))
		b = binary.AppendUvarint(b, uint64(r.n))
		own, ref = r.own+r.n, r.ref+r.n
	}
	return b
}

// readRuns reads runs, of a BTF that the rest of b is large enough for and of
// another of refLen bytes.
func readRuns(b []byte, refLen int) (runs []run, rest []byte, ok bool) {
	r := bytes.NewReader(b)
	count, err := binary.ReadUvarint(r)
	if err != nil || count > maxRuns {
		return nil, nil, false
	}
	own, ref := 0, 0
	for range count {
		skip, err := binary.ReadUvarint(r)
		off, err2 := binary.ReadVarint(r)
		n, err3 := binary.ReadUvarint(r)
		if err := errors.Join(err, err2, err3); err != nil || skip > uint64(len(b)) || n > uint64(min(len(b), refLen)) || off < -int64(ref) || off > int64(refLen) {
			return nil, nil, false
		}
		own, ref = own+int(skip), ref+int(off)
		if own+int(n) > len(b) || ref+int(n) > refLen {
			return nil, nil, false
		}
		runs = append(runs, run{own, ref, int(n)})
		own, ref = own+int(n), ref+int(n)
	}
	return runs, b[len(b)-r.Len():], true
}
