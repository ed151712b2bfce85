package main

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"github.com/u-root/u-root/pkg/cpio"
	"golang.org/x/sys/unix"

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
	for before := uint32(0); ; pause(pollHandover) {
		n := cfg.count()
		if n == before {
			continue
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
	b, err := io.ReadAll(&fwCfgFile{cfg: cfg, key: int(in.key), left: in.size})
	if err != nil {
		return wire.Handover{}, err
	}
	h, err := wire.ParseHandover(b)
	if err != nil {
		return wire.Handover{}, err
	}
	clear(b)
	if err := setClock(h.Now); err != nil {
		return wire.Handover{}, err
	}
	if err := stir(random, h.Entropy); err != nil {
		return wire.Handover{}, err
	}
	for i, a := range h.Archives {
		f := find(files, wire.HandoverArchive+strconv.Itoa(i))
		if f.name == "" || f.size != a.Size {
			return wire.Handover{}, fmt.Errorf("archive %d has %d bytes, want %d", i, f.size, a.Size)
		}
		sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
		src := io.TeeReader(&fwCfgFile{cfg: cfg, key: int(f.key), left: f.size}, sum)
		if err := unpack(src, "/"); err != nil {
			return wire.Handover{}, fmt.Errorf("archive %d: %w", i, err)
		}
		if _, err := io.Copy(io.Discard, src); err != nil {
			return wire.Handover{}, fmt.Errorf("archive %d: %w", i, err)
		}
		if sum.Sum32() != a.Sum {
			return wire.Handover{}, fmt.Errorf("archive %d came damaged", i)
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

// fwCfgFile reads a file from its start to its end.
type fwCfgFile struct {
	cfg  *fwCfg
	key  int // -1 once it is selected
	left int64
	have []byte
}

func (f *fwCfgFile) Read(p []byte) (int, error) {
	if len(f.have) == 0 {
		if f.left == 0 {
			return 0, io.EOF
		}
		b, err := f.cfg.read(f.key, int(min(f.left, 1<<30)))
		if err != nil {
			return 0, err
		}
		f.key, f.have, f.left = -1, b, f.left-int64(len(b))
	}
	n := copy(p, f.have)
	f.have = f.have[n:]
	return n, nil
}

// forward lets a reader of records, which asks for places, read a stream: the
// places come in order.
type forward struct {
	r  io.Reader
	at int64
}

func (f *forward) ReadAt(p []byte, off int64) (int, error) {
	if off < f.at {
		return 0, errors.New("the archive is read backwards")
	}
	skipped, err := io.CopyN(io.Discard, f.r, off-f.at)
	f.at += skipped
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(f.r, p)
	f.at += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// unpack writes an archive's files and directories below root, as the kernel
// and switchRoot do in a VM that was not saved.
func unpack(archive io.Reader, root string) error {
	defer unix.Umask(unix.Umask(0)) // modes are as they are in the archive
	records := cpio.Newc.Reader(&forward{r: archive})
	for {
		rec, err := records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the archive: %w", err)
		}
		if !filepath.IsLocal(rec.Name) {
			return fmt.Errorf("the archive has a file %q", rec.Name)
		}
		dst := filepath.Join(root, rec.Name)
		perm := uint32(rec.Mode & 0o777)
		switch rec.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			if err = unix.Mkdir(dst, perm); errors.Is(err, unix.EEXIST) {
				err = unix.Chmod(dst, perm)
			}
		case unix.S_IFREG:
			err = writeFile(dst, io.NewSectionReader(rec.ReaderAt, 0, int64(rec.FileSize)), int64(rec.FileSize), perm)
		default:
			err = fmt.Errorf("mode %#o is neither a file nor a directory", rec.Mode)
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", dst, err)
		}
	}
}

func writeFile(dst string, src io.Reader, size int64, perm uint32) error {
	// Not by package os, which has the runtime watch the file.
	fd, err := unix.Open(dst, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, perm)
	if errors.Is(err, unix.EEXIST) {
		if fd, err = unix.Open(dst, unix.O_TRUNC|unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
			err = unix.Fchmod(fd, perm)
		}
	}
	if err != nil {
		return err
	}
	// Large pieces: each is a call into the kernel for tmpfs's pages.
	_, err = io.CopyBuffer(rawFile(fd), struct{ io.Reader }{src}, make([]byte, max(1, min(size, 256<<10))))
	return errors.Join(err, unix.Close(fd))
}

// rawFile is a file that the runtime knows nothing of.
type rawFile int

func (f rawFile) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		m, err := unix.Write(int(f), p[n:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return n, err
		case m == 0:
			return n, io.ErrShortWrite
		}
		n += max(0, m)
	}
	return len(p), nil
}
