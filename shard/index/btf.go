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

// ownNumber marks a number that is not the other BTF's.
const ownNumber = 1 << 31

// btfKeys tell which types and strings of two kernels are the same.
type btfKeys struct {
	defined []uint64 // by the number of a type
	named   []uint64 // 0: it has no name
	strs    []byte
}

func readKeys(raw []byte) (k btfKeys) {
	t := image.ReadBTFTypes(raw, nil)
	k.defined, k.named = make([]uint64, t.End()), make([]uint64, t.End())
	for id := 1; id < t.End(); id++ {
		k.defined[id] = t.Definition(uint32(id))
		if t.HasName(uint32(id)) {
			k.named[id] = t.Reference(uint32(id))
		}
	}
	_, k.strs = image.BTFParts(raw)
	return k
}

// alignTypes finds the types that are the same, or at least have the same name.
// Types mostly stand in the same order: the next is looked at first.
func (k btfKeys) alignTypes(ref btfKeys) []run {
	match := make([]int, len(k.defined)) // by number; 0: none
	used := make([]bool, len(ref.defined))
	for _, keys := range [][2][]uint64{{k.defined, ref.defined}, {k.named, ref.named}} {
		places := map[uint64][]int{}
		for i, key := range keys[1] {
			if key != 0 && !used[i] {
				places[key] = append(places[key], i)
			}
		}
		next := 0
		for i, key := range keys[0] {
			if match[i] == 0 && key != 0 {
				if next < len(used) && keys[1][next] == key && !used[next] {
					match[i] = next
				} else {
					list := places[key]
					for len(list) > 0 && used[list[0]] {
						list = list[1:]
					}
					if places[key] = list; len(list) > 0 {
						match[i] = list[0]
					}
				}
				used[match[i]] = true
			}
			next = match[i] + 1
		}
	}
	var runs []run
	for i, m := range match {
		if m != 0 || i == 0 { // void is void
			runs = add(runs, run{i, m, 1})
		}
	}
	return runs
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
	if !change(out[len(out)-len(raw):], table(types, len(raw), false), table(strs, len(raw), false)) {
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
	if !ok || !ok2 || !change(b, table(types, refLen, true), table(strs, refLen, true)) {
		return nil, errors.New("its BTF is damaged")
	}
	return b, nil
}

// table makes a list of numbers by number out of runs, from own to ref or back.
// Numbers are below limit.
func table(runs []run, limit int, back bool) []uint32 {
	end := 0
	for _, r := range runs {
		if back {
			r.own, r.ref = r.ref, r.own
		}
		end = max(end, min(r.own+r.n, limit))
	}
	list := make([]uint32, end)
	for i := range list {
		list[i] = ownNumber
	}
	for _, r := range runs {
		if back {
			r.own, r.ref = r.ref, r.own
		}
		for i := range min(r.n, end-r.own) {
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
	if err != nil || count > uint64(len(b)) {
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
