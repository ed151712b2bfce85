package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Ports and keys of fw_cfg (docs/specs/fw_cfg.rst of QEMU).
const (
	portSelect = 0x510
	portData   = 0x511
	portDMA    = 0x514 // the upper half of the address; the lower is four further

	keySignature = 0x00
	keyInterface = 0x01
	keyDirectory = 0x19

	interfaceDMA = 1 << 1

	dmaError  = 1 << 0
	dmaRead   = 1 << 1
	dmaSelect = 1 << 3
)

func outw(port, v uint16)
func outl(port uint16, v uint32)
func inb(port uint16) byte

// fwCfg reads the files that QEMU has for the guest. It needs no driver: init
// asks for the right to use the ports, which is one thread's, and so all of its
// methods are to be called from the thread that opened it.
type fwCfg struct {
	request []byte   // a page for the request
	buf     []byte   // what files are read into
	frames  []uint64 // physical addresses of buf's pages and, at the end, of request
	setting []byte   // what compaction was; nil: this kernel has no such setting
}

const (
	page    = 4 << 10
	bufSize = 16 * page

	compaction = "/proc/sys/vm/compact_unevictable_allowed"
)

// openFwCfg asks for the ports and makes the memory that QEMU writes to.
func openFwCfg() (*fwCfg, error) {
	if err := unix.Iopl(3); err != nil {
		return nil, fmt.Errorf("ask for the ports of fw_cfg: %w", err)
	}
	f := &fwCfg{}
	outw(portSelect, keySignature)
	if sig := readPort(4); string(sig) != "QEMU" {
		return nil, fmt.Errorf("fw_cfg has the signature %q, want QEMU", sig)
	}
	outw(portSelect, keyInterface)
	if binary.LittleEndian.Uint32(readPort(4))&interfaceDMA == 0 {
		return nil, errors.New("fw_cfg has no DMA")
	}
	// The kernel must not move the pages while QEMU writes to them: they are
	// locked, and locked pages are not to be compacted.
	if b, err := os.ReadFile(compaction); err == nil {
		f.setting = b
		if err := os.WriteFile(compaction, []byte("0"), 0); err != nil {
			return nil, fmt.Errorf("keep the memory for fw_cfg in its place: %w", err)
		}
	}
	mem, err := unix.Mmap(-1, 0, bufSize+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, fmt.Errorf("map memory for fw_cfg: %w", err)
	}
	if err := unix.Mlock(mem); err != nil {
		return nil, fmt.Errorf("lock memory for fw_cfg: %w", err)
	}
	clear(mem) // each page is there from now on
	f.buf, f.request = mem[:bufSize], mem[bufSize:]
	f.frames, err = physical(mem)
	return f, err
}

// close gives the ports and the setting back. The memory is not worth a call.
func (f *fwCfg) close() error {
	if f.setting != nil {
		_ = os.WriteFile(compaction, f.setting, 0)
	}
	return wrap("give the ports of fw_cfg back", unix.Iopl(0))
}

// physical returns the physical addresses of memory's pages.
func physical(mem []byte) ([]uint64, error) {
	const present, frame = 1 << 63, 1<<55 - 1
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, fmt.Errorf("look up physical addresses: %w", err)
	}
	defer pagemap.Close()
	entries := make([]byte, 8*len(mem)/page)
	at := int64(uintptr(unsafe.Pointer(&mem[0])) / page * 8)
	if _, err := pagemap.ReadAt(entries, at); err != nil {
		return nil, fmt.Errorf("look up physical addresses: %w", err)
	}
	out := make([]uint64, len(mem)/page)
	for i := range out {
		e := binary.LittleEndian.Uint64(entries[8*i:])
		if e&present == 0 || e&frame == 0 {
			return nil, errors.New("look up physical addresses: the kernel does not tell them")
		}
		out[i] = e & frame * page
	}
	return out, nil
}

// readPort reads from what is selected, byte by byte.
func readPort(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = inb(portData)
	}
	return b
}

// count is the number of files. It is cheap to ask for.
func (f *fwCfg) count() uint32 {
	outw(portSelect, keyDirectory)
	return binary.BigEndian.Uint32(readPort(4))
}

// file is an entry of the directory.
type file struct {
	name string
	key  uint16
	size int64
}

const maxFwCfgFiles = 1024

// directory returns all files.
func (f *fwCfg) directory() ([]file, error) {
	n := f.count()
	if n > maxFwCfgFiles {
		return nil, fmt.Errorf("fw_cfg has %d files, more than %d", n, maxFwCfgFiles)
	}
	const size = 64
	var files []file
	for b := readPort(size * int(n)); len(b) > 0; b = b[size:] {
		files = append(files, file{unix.ByteSliceToString(b[8:size]), binary.BigEndian.Uint16(b[4:]), int64(binary.BigEndian.Uint32(b))})
	}
	return files, nil
}

// read returns the next n bytes, at most len(f.buf); sel is the key of a file
// that has not been read from, or -1 to go on with the one before. The bytes are
// valid until the next call, and are those of the file unless the kernel moved a
// page in spite of everything, which their checksum shows.
func (f *fwCfg) read(sel int, n int) ([]byte, error) {
	n = min(n, len(f.buf))
	for done := 0; done < n; done += page {
		control := uint32(dmaRead)
		if done == 0 && sel >= 0 {
			control |= dmaSelect | uint32(sel)<<16
		}
		if err := f.transfer(control, f.frames[done/page], min(page, n-done)); err != nil {
			return nil, err
		}
	}
	return f.buf[:n], nil
}

// transfer makes one request, which QEMU has done when the write to the port
// returns.
func (f *fwCfg) transfer(control uint32, to uint64, n int) error {
	binary.BigEndian.PutUint32(f.request, control)
	binary.BigEndian.PutUint32(f.request[4:], uint32(n))
	binary.BigEndian.PutUint64(f.request[8:], to)
	at := f.frames[len(f.frames)-1]
	outl(portDMA, swap32(uint32(at>>32)))
	outl(portDMA+4, swap32(uint32(at)))
	// Read as another's writing, which the compiler does not know of.
	state := swap32(atomic.LoadUint32((*uint32)(unsafe.Pointer(&f.request[0]))))
	switch {
	case state&dmaError != 0:
		return errors.New("fw_cfg: QEMU refuses a DMA request")
	case state != 0:
		return fmt.Errorf("fw_cfg: a DMA request is not done: %#x", state)
	}
	return nil
}

func swap32(v uint32) uint32 { return v<<24 | v>>24 | v<<8&0xff0000 | v>>8&0xff00 }
