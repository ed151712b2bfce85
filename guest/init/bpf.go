package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// bpfWatch lists the BPF programs that come while a payload runs. It looks for new ones
// again and again, since most are gone when the payload has ended: one that is gone
// before the next look is missed.
type bpfWatch struct {
	last   uint32 // id of the last program that was seen: ids ascend
	all    []wire.BPFProgram
	known  map[bpfKey]int   // place in all
	memory map[uint32]int64 // of maps, by id
	btf    programBTF       // of the last program
	next   [12]byte         // start, next, flags
	info   bpfInfo
}

// bpfKey says which programs are one to those who read a report: the others are
// copies of it, or it was loaded again.
type bpfKey struct {
	name string
	kind uint32
	tag  [8]byte
}

// How often the kernel is asked. Waking init up to ask takes an emulated processor up to
// 0.8 ms, so it is asked less and less while nothing comes; where a program came others
// follow, and tests load and close them one by one.
const (
	bpfSoon   = 40 * time.Millisecond
	bpfPeriod = 250 * time.Millisecond
	bpfShare  = 20                    // one part of this many is what looking may take of the time,
	bpfAtOnce = 20 * time.Millisecond // and this at once
	bpfGrace  = 10 * time.Second      // for the last look: a kernel that does not answer must not keep what else is to be said
)

// watchBPF lists the programs that come from now on, until end is called, which returns
// them. They are told of when the payload has ended: it has the processor until then.
func watchBPF() (end func() []wire.BPFProgram) {
	w := &bpfWatch{known: map[bpfKey]int{}, memory: map[uint32]int64{}}
	for _, id := range bpfPrograms() {
		w.last = id
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for pause := bpfSoon; ; {
			select {
			case <-stop:
				w.look(bpfGrace / 2)
				return
			case <-time.After(pause):
			}
			began, n := time.Now(), w.last
			w.look(bpfAtOnce)
			if pause = min(2*pause, bpfPeriod); w.last != n {
				pause = max(bpfSoon, bpfShare*time.Since(began))
			}
		}
	}()
	return func() []wire.BPFProgram {
		close(stop)
		select {
		case <-done:
			return w.all
		case <-time.After(bpfGrace): // the kernel holds a lock of its own
			return nil
		}
	}
}

// look lists the programs that are new, for as long as limit. A kernel that does not
// tell has none.
func (w *bpfWatch) look(limit time.Duration) {
	for began := time.Now(); len(w.all) < wire.MaxBPF && time.Since(began) < limit; {
		binary.NativeEndian.PutUint32(w.next[:], w.last)
		if _, err := bpf(unix.BPF_PROG_GET_NEXT_ID, w.next[:]); err != nil {
			return
		}
		w.last = binary.NativeEndian.Uint32(w.next[4:])
		w.add(w.last)
	}
}

// add lists one program. It holds the program and its maps no longer than it takes to
// ask: what an open descriptor keeps alive does not end with the payload.
func (w *bpfWatch) add(id uint32) {
	fd, err := bpfOpen(unix.BPF_PROG_GET_FD_BY_ID, id)
	if err != nil {
		return // it is gone
	}
	defer unix.Close(fd)
	info := &w.info
	err = info.ask(fd, false)
	name, btf := info.name(), info.u32(128)
	cut := len(name) == maxProgramName && btf != 0
	if cut {
		err = info.ask(fd, true)
	}
	if err != nil {
		return
	}
	if cut {
		name = w.btf.function(btf, info, name)
	}
	key := bpfKey{name: name, kind: info.u32(0), tag: [8]byte(info.raw[8:16])}
	insns := int(info.u32(216))
	if i, ok := w.known[key]; ok { // its constants may differ, which a tag does not tell
		w.all[i].Insns = max(w.all[i].Insns, insns)
		return
	}
	w.known[key] = len(w.all)
	p := wire.BPFProgram{
		Name: name, Type: wire.BPFType(key.kind), Tag: hex.EncodeToString(key.tag[:]),
		Jited: int(info.u32(16)), Insns: insns,
	}
	for _, id := range info.maps[:min(info.u32(52), maxProgramMaps)] {
		if _, ok := w.memory[id]; !ok {
			w.memory[id] = mapMemory(id)
		}
		p.MapMemory += w.memory[id]
	}
	w.all = append(w.all, p)
}

// bpfInfo is the kernel's struct bpf_prog_info, and what it points to.
type bpfInfo struct {
	raw      [228]byte // up to verified_insns and what the program is attached to; older kernels leave the end 0
	maps     [maxProgramMaps]uint32
	function [8]byte // of the first function: instruction, type
}

const (
	maxProgramMaps = 64 // that a program can use
	maxProgramName = 15 // bytes of a name that the kernel keeps
)

func (i *bpfInfo) u32(at int) uint32 { return binary.NativeEndian.Uint32(i.raw[at:]) }

func (i *bpfInfo) name() string {
	name, _, _ := bytes.Cut(i.raw[64:64+maxProgramName], []byte{0})
	return string(name)
}

// ask asks for all but what is the code's. Older kernels refuse to be asked for the
// function.
func (i *bpfInfo) ask(fd int, function bool) error {
	*i = bpfInfo{}
	var pin runtime.Pinner // its address is in the structure
	defer pin.Unpin()
	pin.Pin(i)
	binary.NativeEndian.PutUint32(i.raw[52:], maxProgramMaps)
	binary.NativeEndian.PutUint64(i.raw[56:], uint64(uintptr(unsafe.Pointer(&i.maps[0]))))
	if function {
		binary.NativeEndian.PutUint32(i.raw[132:], uint32(len(i.function)))
		binary.NativeEndian.PutUint64(i.raw[136:], uint64(uintptr(unsafe.Pointer(&i.function[0]))))
		binary.NativeEndian.PutUint32(i.raw[144:], 1)
	}
	return bpfObjectInfo(fd, i.raw[:])
}

// bpfOpen opens a program, map or BTF by its id.
func bpfOpen(cmd uintptr, id uint32) (fd int, err error) {
	attr := make([]byte, 12) // id, next, flags
	binary.NativeEndian.PutUint32(attr, id)
	return bpf(cmd, attr)
}

// bpfObjectInfo fills in the structure that tells of an object.
func bpfObjectInfo(fd int, info []byte) error {
	var pin runtime.Pinner // its address is in attr
	defer pin.Unpin()
	pin.Pin(&info[0])
	attr := make([]byte, 16) // descriptor, length, address
	binary.NativeEndian.PutUint32(attr, uint32(fd))
	binary.NativeEndian.PutUint32(attr[4:], uint32(len(info)))
	binary.NativeEndian.PutUint64(attr[8:], uint64(uintptr(unsafe.Pointer(&info[0]))))
	_, err := bpf(unix.BPF_OBJ_GET_INFO_BY_FD, attr)
	return err
}

// mapMemory is what the kernel says that a map takes, in bytes.
func mapMemory(id uint32) int64 {
	fd, err := bpfOpen(unix.BPF_MAP_GET_FD_BY_ID, id)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	b, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "memlock:"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return max(0, n)
		}
	}
	return 0
}

// programBTF is the BTF that was read last: the programs of one object share it.
type programBTF struct {
	id  uint32
	raw []byte
}

// function is the name of a program's function, which is short where the kernel's
// BTF does not tell it.
func (b *programBTF) function(id uint32, info *bpfInfo, short string) string {
	if b.id != id {
		b.id, b.raw = id, readBTF(id)
	}
	if name := btfName(b.raw, binary.NativeEndian.Uint32(info.function[4:])); strings.HasPrefix(name, short) {
		return wire.Truncate(name, wire.MaxName)
	}
	return short
}

// readBTF reads what a program was loaded with; nil if it cannot.
func readBTF(id uint32) []byte {
	const most = 16 << 20
	fd, err := bpfOpen(unix.BPF_BTF_GET_FD_BY_ID, id)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	info := make([]byte, 16) // address, size, id
	if bpfObjectInfo(fd, info) != nil {
		return nil
	}
	size := binary.NativeEndian.Uint32(info[8:])
	if size == 0 || size > most {
		return nil
	}
	raw := make([]byte, size)
	var pin runtime.Pinner // its address is in info
	defer pin.Unpin()
	pin.Pin(&raw[0])
	binary.NativeEndian.PutUint64(info, uint64(uintptr(unsafe.Pointer(&raw[0]))))
	if bpfObjectInfo(fd, info) != nil {
		return nil
	}
	return raw
}

// btfName is the name of a type in BTF, "" where there is none.
// https://docs.kernel.org/bpf/btf.html has the format.
func btfName(raw []byte, want uint32) string {
	const header, magic = 24, 0xeb9f
	if len(raw) < header || binary.NativeEndian.Uint16(raw) != magic {
		return ""
	}
	part := func(at int) []byte { // offset and length
		u := func(i int) uint64 { return uint64(binary.NativeEndian.Uint32(raw[i:])) }
		from := u(4) + u(at)
		to := from + u(at+4)
		if to > uint64(len(raw)) {
			return nil
		}
		return raw[from:to]
	}
	types, text := part(8), part(16)
	for id := uint32(1); len(types) >= 12; id++ { // name, kind, size or type
		name, info := binary.NativeEndian.Uint32(types), binary.NativeEndian.Uint32(types[4:])
		if id == want {
			if uint64(name) >= uint64(len(text)) {
				return ""
			}
			s, _, _ := bytes.Cut(text[name:], []byte{0})
			return string(s)
		}
		kind, n := info>>24&0x1f, int(info&0xffff)
		size, ok := btfSizes[kind]
		if !ok {
			return "" // newer than this
		}
		if size.each {
			size.bytes *= n
		}
		types = types[min(12+size.bytes, len(types)):]
	}
	return ""
}

// btfSizes are the bytes behind a type of a kind, or behind it for each of its members.
var btfSizes = map[uint32]struct {
	bytes int
	each  bool
}{
	1: {4, false}, 2: {}, 3: {12, false}, 4: {12, true}, 5: {12, true}, 6: {8, true}, 7: {}, 8: {}, 9: {}, 10: {}, 11: {},
	12: {}, 13: {8, true}, 14: {4, false}, 15: {12, true}, 16: {}, 17: {4, false}, 18: {}, 19: {12, true},
}
