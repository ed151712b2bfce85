package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// pollHandover is how often init looks whether the VM was restored. The host
// saves the VM as soon as it reads that it may.
const pollHandover = 2 * time.Millisecond

// afterBoot is what the kernel gets for the work that it puts off until after its
// start, for up to a second: else each restored VM does it again.
const afterBoot = 1200 * time.Millisecond

// receiveJob says on results that this VM may be saved, and waits for what a
// restored one is handed. It returns when that is unpacked, and the guest has
// a random state and a clock of its own.
func receiveJob(results io.Writer) (wire.Handover, error) {
	// The right to use the ports is the thread's. It is given back before there is
	// a payload, which would inherit it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	h, err := receive(results)
	return h, wrap("receive what the host hands a restored VM", err)
}

func receive(results io.Writer) (_ wire.Handover, err error) {
	cfg, err := openFwCfg()
	if err != nil {
		return wire.Handover{}, err
	}
	defer func() { err = errors.Join(err, cfg.close()) }()
	time.Sleep(afterBoot)
	if _, err := io.WriteString(results, wire.ReadyLine+"\n"); err != nil {
		return wire.Handover{}, fmt.Errorf("tell the host: %w", err)
	}
	files, err := awaitHandover(cfg)
	if err != nil {
		return wire.Handover{}, err
	}
	in := find(files, wire.HandoverName)
	if in.size > wire.MaxHandover {
		return wire.Handover{}, fmt.Errorf("it has %d bytes, more than %d", in.size, wire.MaxHandover)
	}
	var b bytes.Buffer
	if err := newStream(cfg, in).copyTo(&b, in.size); err != nil {
		return wire.Handover{}, err
	}
	h, err := wire.ParseHandover(b.Bytes())
	clear(b.Bytes()) // the entropy too
	if err != nil {
		return wire.Handover{}, err
	}
	// The clocks that only go forward stood still while the VM was saved, and go
	// on from there.
	now := unix.NsecToTimespec(h.Now)
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		return wire.Handover{}, fmt.Errorf("set the clock: %w", err)
	}
	if err := reseedRNG(h.Entropy, true); err != nil {
		return wire.Handover{}, fmt.Errorf("give the kernel entropy: %w", err)
	}
	for i, a := range h.Archives {
		f := find(files, wire.HandoverArchive+strconv.Itoa(i))
		if f.name == "" || f.size != a.Size {
			return wire.Handover{}, fmt.Errorf("archive %d has %d bytes, want %d", i, f.size, a.Size)
		}
		f.size = a.End()
		if err := unpack(newStream(cfg, f), a, "/"); err != nil {
			return wire.Handover{}, fmt.Errorf("archive %d: %w", i, err)
		}
		for _, f := range a.Files {
			placed = append(placed, path.Clean("/"+string(f.Name)))
		}
		if len(a.Later.Name) > 0 {
			if err := leaveOnDemand(wire.OnDemandSource{Archive: i, Offset: a.Later.Offset, Size: a.Later.Size, Sum: a.LaterSum}); err != nil {
				return wire.Handover{}, err
			}
		}
	}
	if len(h.Job) > 0 {
		if err := os.WriteFile(wire.JobPath, h.Job, 0o644); err != nil {
			return wire.Handover{}, fmt.Errorf("write the job: %w", err)
		}
	}
	return h, nil
}

// leaveOnDemand notes where the modules on demand are: most payloads want none of
// them, and to bring them takes an emulated processor 10 ms for each megabyte.
func leaveOnDemand(s wire.OnDemandSource) error {
	b, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(wire.OnDemandLater, b, 0o600)
	}
	return wrap("note where the modules on demand are", err)
}

// fetchOnDemand brings them, once for all who ask at the same time.
func fetchOnDemand() error {
	if _, err := os.Stat(wire.OnDemandPath); err == nil {
		return nil
	}
	later, err := os.Open(wire.OnDemandLater)
	if err != nil {
		return err
	}
	defer later.Close()
	if err := unix.Flock(int(later.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("wait for others that want modules: %w", err)
	}
	if _, err := os.Stat(wire.OnDemandPath); err == nil {
		return nil
	}
	var from wire.OnDemandSource
	if err := json.NewDecoder(later).Decode(&from); err != nil {
		return fmt.Errorf("read %s: %w", wire.OnDemandLater, err)
	}
	runtime.LockOSThread() // the right to use the ports is the thread's
	defer runtime.UnlockOSThread()
	cfg, err := openFwCfg()
	if err != nil {
		return err
	}
	files, err := cfg.directory()
	if err == nil {
		f := find(files, wire.HandoverArchive+strconv.Itoa(from.Archive))
		if err = bring(cfg, f, from, wire.OnDemandPath); errors.Is(err, errDamaged) {
			err = bring(cfg, f, from, wire.OnDemandPath)
		}
	}
	return wrap("bring the modules from the host", errors.Join(err, cfg.close()))
}

var errDamaged = errors.New("it came damaged")

// bring writes a file of an archive in fw_cfg to dst, whole or not at all.
func bring(cfg source, f file, from wire.OnDemandSource, dst string) error {
	f.size = min(f.size, from.Offset+from.Size)
	s := newStream(cfg, f)
	err := s.copyTo(io.Discard, from.Offset)
	if err == nil {
		err = writeFile(dst+".new", s, from.Size, 0o644)
	}
	if err == nil && s.sum.Sum64() != from.Sum {
		err = errDamaged
	}
	if err == nil {
		err = os.Rename(dst+".new", dst)
	}
	if err != nil {
		os.Remove(dst + ".new")
	}
	return err
}

// awaitHandover returns the directory of a restored VM, once the host's handover
// is in it.
func awaitHandover(cfg *fwCfg) ([]file, error) {
	for before := uint32(0); ; {
		n := cfg.count()
		if n == before {
			time.Sleep(pollHandover)
			continue
		}
		files, err := cfg.directory()
		if err != nil {
			return nil, err
		}
		// A VM that was saved here goes on with another directory, so it counts
		// only when it did not change while it was read.
		if cfg.count() != n {
			continue
		}
		if before = n; find(files, wire.HandoverName).size > 0 {
			return files, nil
		}
	}
}

func find(files []file, name string) file {
	for _, f := range files {
		if f.name == name {
			return f
		}
	}
	return file{}
}

// stream reads a file of fw_cfg from its start to its end.
type stream struct {
	cfg  source
	key  int // -1 once it is selected
	left int64
	have []byte
	sum  *xxhash.Digest // of what has come
}

func newStream(cfg source, f file) *stream {
	return &stream{cfg: cfg, key: int(f.key), left: f.size, sum: xxhash.New()}
}

// source is what fwCfg does for a stream.
type source interface {
	read(key, n int) ([]byte, error)
}

// copyTo writes the next n bytes to dst. A Reader would copy them once more,
// which an emulated processor takes its time for.
func (s *stream) copyTo(dst io.Writer, n int64) error {
	for n > 0 {
		if len(s.have) == 0 {
			if s.left == 0 {
				return io.ErrUnexpectedEOF
			}
			b, err := s.cfg.read(s.key, int(min(s.left, 1<<30)))
			if err != nil {
				return err
			}
			s.key, s.have, s.left = -1, b, s.left-int64(len(b))
			_, _ = s.sum.Write(b)
		}
		b := s.have[:min(n, int64(len(s.have)))]
		if _, err := dst.Write(b); err != nil {
			return err
		}
		s.have, n = s.have[len(b):], n-int64(len(b))
	}
	return nil
}

// unpack writes an archive's files and directories below root, which ends with a
// slash, as the kernel and switchRoot do in a VM that was not saved.
func unpack(s *stream, a wire.HandoverPackage, root string) error {
	defer unix.Umask(unix.Umask(0)) // modes are as they are in the archive
	at := int64(0)
	for _, f := range a.Files {
		err := s.copyTo(io.Discard, f.Offset-at)
		dst, perm := root+string(f.Name), f.Mode&0o7777
		switch {
		case err != nil:
		case f.Mode&wire.ModeType == wire.ModeDirectory:
			if err = unix.Mkdir(dst, perm); err == unix.EEXIST {
				err = unix.Chmod(dst, perm)
			}
			at = f.Offset
		default:
			err = writeFile(dst, s, f.Size, perm)
			at = f.Offset + f.Size
		}
		if err != nil {
			return fmt.Errorf("unpack %s: %w", f.Name, err)
		}
	}
	if err := s.copyTo(io.Discard, a.End()-at); err != nil {
		return err
	}
	if s.sum.Sum64() != a.Sum {
		return errDamaged
	}
	return nil
}

func writeFile(dst string, src *stream, size int64, perm uint32) error {
	const flags = os.O_CREATE | os.O_TRUNC | os.O_WRONLY | unix.O_NOFOLLOW
	f, err := os.OpenFile(dst, flags, 0)
	if errors.Is(err, unix.ELOOP) { // a link that populate made
		if err = os.Remove(dst); err == nil {
			f, err = os.OpenFile(dst, flags, 0)
		}
	}
	if err != nil {
		return err
	}
	err = src.copyTo(f, size)
	return errors.Join(err, unix.Fchmod(int(f.Fd()), perm), f.Close())
}
