package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/thrift"
	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// pollHandover is how often init looks whether the VM was restored. The VM is
// saved as soon as the host reads that it may, so it is not seen for longer
// than that.
const pollHandover = 2 * time.Millisecond

// afterBoot is what the kernel gets for what it put off until after its start,
// the longest of which is a second: each restored VM would do it again, a fifth
// of its time with a short payload.
const afterBoot = 1200 * time.Millisecond

// takeOver says on results that this VM may be saved, and waits for what a
// restored one is handed. It returns when that is unpacked, and the guest has
// a random state and a clock of its own.
func takeOver(results io.Writer) (wire.Handover, error) {
	// The right to use the ports is the thread's. It is given back before there is
	// a payload, which would inherit it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	h, err := receive(results)
	return h, wrap("take over what the host hands a restored VM", err)
}

func receive(results io.Writer) (_ wire.Handover, err error) {
	cfg, err := openFwCfg()
	if err != nil {
		return wire.Handover{}, err
	}
	defer func() { err = errors.Join(err, cfg.close()) }()
	random, err := unix.Open("/dev/urandom", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return wire.Handover{}, fmt.Errorf("give the kernel entropy: %w", err)
	}
	defer unix.Close(random)
	time.Sleep(afterBoot)
	if _, err := io.WriteString(results, wire.ReadyLine+"\n"); err != nil {
		return wire.Handover{}, fmt.Errorf("tell the host: %w", err)
	}
	var files []file
	for before := uint32(0); ; {
		n, err := cfg.await(before)
		if err != nil {
			return wire.Handover{}, err
		}
		// A VM that is saved here goes on with another directory, so it counts
		// only when it has not changed while it was read.
		if files, err = cfg.directory(); err != nil {
			return wire.Handover{}, err
		}
		if cfg.count() != n {
			continue
		}
		if before = n; find(files, wire.HandoverName).size > 0 {
			break
		}
	}
	in := find(files, wire.HandoverName)
	if in.size > wire.MaxHandover {
		return wire.Handover{}, fmt.Errorf("it has %d bytes, more than %d", in.size, wire.MaxHandover)
	}
	b, err := cfg.read(int(in.key), int(in.size))
	if err != nil {
		return wire.Handover{}, err
	}
	h, err := wire.ParseHandover(b)
	if err != nil {
		return wire.Handover{}, err
	}
	if err := setClock(h.Now); err != nil {
		return wire.Handover{}, err
	}
	if err := stir(random, h.Entropy); err != nil {
		return wire.Handover{}, err
	}
	clear(b) // the entropy too
	for i, a := range h.Archives {
		f := find(files, wire.HandoverArchive+strconv.Itoa(i))
		if f.name == "" || f.size != a.Size {
			return wire.Handover{}, fmt.Errorf("archive %d has %d bytes, want %d", i, f.size, a.Size)
		}
		if err := unpack(&stream{cfg: cfg, key: int(f.key), left: f.size}, a, "/"); err != nil {
			return wire.Handover{}, fmt.Errorf("archive %d: %w", i, err)
		}
	}
	return h, nil
}

// pause sleeps without the runtime's doing, which would have more to run than
// the poll: nothing else waits for the processor.
func pause(d time.Duration) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

func find(files []file, name string) file {
	for _, f := range files {
		if f.name == name {
			return f
		}
	}
	return file{}
}

// setClock sets the time of day. The clocks that only go forward stood still
// while the VM was saved, and go on from there.
func setClock(now int64) error {
	ts := unix.NsecToTimespec(now)
	return wrap("set the clock", unix.ClockSettime(unix.CLOCK_REALTIME, &ts))
}

// stir gives the kernel's random state, whose device is open as random, what no
// other restored VM has, and has the kernel use it from now on.
func stir(random int, entropy []byte) error {
	// struct rand_pool_info
	info := make([]int32, 2+(len(entropy)+3)/4)
	info[0], info[1] = int32(8*len(entropy)), int32(len(entropy))
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&info[2])), 4*len(info[2:])), entropy)
	const addEntropy, reseed = 0x40085203, 0x5207 // RNDADDENTROPY, RNDRESEEDCRNG
	for _, call := range []struct{ req, arg uintptr }{{addEntropy, uintptr(unsafe.Pointer(&info[0]))}, {reseed, 0}} {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(random), call.req, call.arg); errno != 0 {
			return fmt.Errorf("give the kernel entropy: %w", errno)
		}
	}
	clear(info)
	return nil
}

// stream is a file of fw_cfg from its start to its end.
type stream struct {
	cfg  source
	key  int // -1 once it is selected
	left int64
	have []byte
	sum  uint32 // of what has been read
}

// source is what fwCfg does for a stream.
type source interface {
	read(key, n int) ([]byte, error)
}

// next returns at most n of the bytes that follow, valid until the next call.
func (s *stream) next(n int64) ([]byte, error) {
	if len(s.have) == 0 {
		if s.left == 0 {
			return nil, io.ErrUnexpectedEOF
		}
		b, err := s.cfg.read(s.key, int(min(s.left, 1<<30)))
		if err != nil {
			return nil, err
		}
		s.key, s.have, s.left = -1, b, s.left-int64(len(b))
		s.sum = wire.Checksum(s.sum, b)
	}
	b := s.have[:min(n, int64(len(s.have)))]
	s.have = s.have[len(b):]
	return b, nil
}

func (s *stream) skip(n int64) error {
	for n > 0 {
		b, err := s.next(n)
		if err != nil {
			return err
		}
		n -= int64(len(b))
	}
	return nil
}

// unpack writes an archive's files and directories below root, which ends with a
// slash, as the kernel and switchRoot do in a VM that was not saved.
func unpack(s *stream, a wire.HandoverPackage, root string) error {
	defer unix.Umask(unix.Umask(0)) // modes are as they are in the archive
	at := int64(0)
	for i := range a.Files {
		f := &a.Files[i]
		err := s.skip(f.Offset - at)
		if err == nil {
			dst, perm := root+f.Name, f.Mode&0o7777
			if f.Mode&wire.ModeType == wire.ModeDirectory {
				if err = unix.Mkdir(dst, perm); err == unix.EEXIST {
					err = unix.Chmod(dst, perm)
				}
				at = f.Offset
			} else {
				err = writeFile(dst, s, f.Size, perm)
				at = f.Offset + f.Size
			}
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", f.Name, err)
		}
	}
	if err := s.skip(a.Size - at); err != nil {
		return err
	}
	if s.sum != a.Sum {
		return errors.New("it came damaged")
	}
	return nil
}

func writeFile(dst string, src *stream, size int64, perm uint32) error {
	// Not by package os, which has the runtime watch the file.
	fd, err := unix.Open(dst, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, perm)
	if err == unix.EEXIST {
		if fd, err = unix.Open(dst, unix.O_TRUNC|unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			err = unix.Fchmod(fd, perm)
		}
	}
	if err != nil {
		return err
	}
	for size > 0 && err == nil {
		var b []byte
		if b, err = src.next(size); err == nil {
			err = thrift.Write(fd, b)
			size -= int64(len(b))
		}
	}
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	return err
}
