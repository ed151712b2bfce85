// Package snapshot keeps VMs that were saved when init was ready, so that a
// kernel that was booted before is restored and not booted again. It owns their
// format in the cache, how QEMU saves and restores them, and the handover of a
// run's payload to a restored guest. It does not know what came of a VM: its
// caller watches and judges.
package snapshot

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Unsupported says why VMs of such a kind cannot be restored from snapshots; ""
// if they can.
func Unsupported(a qemu.Arch, accel qemu.Accel, net, root bool) string {
	switch {
	case net:
		return "a network card is no part of a saved VM"
	case root:
		return "a root file system is no part of a saved VM"
	case a.Name != "amd64":
		return "VMs are saved for amd64 only, by what x86 has to hand files to a running guest"
	case accel != qemu.TCG:
		// A VM that is saved under KVM has the host's processor in it, and the
		// next host has another.
		return "VMs are saved under TCG only"
	}
	return ""
}

// NotSupportedError says why a kernel has no snapshot and will have none, or why a
// payload does not fit in a restored VM. Its text is one line.
type NotSupportedError struct{ Reason string }

func (e *NotSupportedError) Error() string { return e.Reason }

// Config is what a store's snapshots are made of.
type Config struct {
	QEMU       string // path
	QEMUDigest string // of its version and program
	Machine    func(*kernel.Image) qemu.Machine
	Firmware   string // of machines whose kernel has a PVH entry; "" for QEMU's default
	BootLimit  time.Duration
	Init       []byte
	Payload    guest.Payload
	Cache      *kernel.Cache
	Scratch    string // directory for the archives
	Now        func() time.Time
	Random     io.Reader
}

// Store restores VMs from snapshots and makes those that are missing.
type Store struct {
	Config
	base, noInitrd, stub, payload string // paths in Scratch

	baseDigest func() string
	writeBase  func() error
	handover   wire.HandoverPackage // of payload
}

// New writes what all VMs of a run share.
func New(c Config) (*Store, error) {
	in := func(name string) string { return filepath.Join(c.Scratch, name) }
	s := &Store{Config: c, base: in("base.cpio"), noInitrd: in("none.cpio"), stub: in("stub"), payload: in("payload.cpio")}
	// Of the archive without init, and init: hashing the archive itself takes
	// ten times as long. A hash takes whatever it is given.
	s.baseDigest = sync.OnceValue(func() string {
		sum := sha256.New()
		_ = guest.WriteBase(sum, nil)
		sum.Write(c.Init)
		return hex.EncodeToString(sum.Sum(nil))
	})
	s.writeBase = sync.OnceValue(func() error {
		if err := kernel.WriteAtomic(s.base, 0o600, func(w io.Writer) error { return guest.WriteBase(w, c.Init) }); err != nil {
			return fmt.Errorf("write the archive with init: %w", err)
		}
		return nil
	})
	err := errors.Join(
		os.WriteFile(s.noInitrd, make([]byte, 512), 0o600),
		kernel.WriteAtomic(s.stub, 0o600, writeStub),
		kernel.WriteAtomic(s.payload, 0o600, func(w io.Writer) error { return guest.WritePayload(w, c.Payload) }),
	)
	if err == nil {
		s.handover, err = packageOf(s.payload)
	}
	if err != nil {
		return nil, fmt.Errorf("prepare restored VMs: %w", err)
	}
	return s, nil
}

// packageOf is guest.HandOver of an archive in a file.
func packageOf(path string) (p wire.HandoverPackage, err error) {
	f, err := os.Open(path)
	if err != nil {
		return p, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return p, err
	}
	return guest.HandOver(f, info.Size())
}

// machine is the VM that is saved and restored. boot is what QEMU starts of the
// kernel; pvh says that it has a PVH entry.
func (s *Store) machine(im *kernel.Image, boot string, pvh bool) qemu.Machine {
	m := s.Machine(im)
	m.Kernel, m.Initrd, m.Snapshot = boot, s.base, true
	if pvh {
		m.Firmware = s.Firmware
	}
	return m
}

// Key names all that a snapshot was made from except the host's clock rate, which
// is never quite the same twice.
func (s *Store) Key(im *kernel.Image) string {
	m := s.machine(im, "kernel", true)
	m.TSC, m.Initrd = 0, "initrd"
	b, err := json.Marshal([]any{schema, im.KernelDigest(), s.baseDigest(), s.QEMUDigest, m.Args()})
	if err != nil { // strings always encode
		panic(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Names of what is kept beside a kernel in the cache, each followed by the start
// of the key: the snapshot; a note that the kernel was booted once, so that the
// next time is worth a snapshot; and the reason why there can be none, so that
// not every run tries to make it.
const (
	savedPrefix   = "vm-"
	seenPrefix    = "seen-vm-"
	refusedPrefix = "refused-vm-"

	keptSnapshots = 2 // of one kernel, such as for two versions of QEMU
)

func keptName(prefix, key string) string { return prefix + key[:16] }

// Has says whether there seems to be a snapshot, so that nothing else of the
// kernel needs to be unpacked.
func (s *Store) Has(im *kernel.Image) bool {
	_, ok := im.FindDerived(keptName(savedPrefix, s.Key(im)))
	return ok
}

// Wants says whether a kernel is to be restored: it has a snapshot, or is worth
// one. Making it costs a fifth of a run with the tracer, so it waits until a
// kernel comes for the second time.
func (s *Store) Wants(im *kernel.Image) bool {
	key := s.Key(im)
	for _, prefix := range []string{savedPrefix, seenPrefix, refusedPrefix} {
		if _, ok := im.FindDerived(keptName(prefix, key)); ok {
			return true
		}
	}
	return false
}

// NoteBooted notes that a kernel has booted, for Wants.
func (s *Store) NoteBooted(ctx context.Context, im *kernel.Image) {
	// Without the note the snapshot is made a run later.
	_, _ = im.Derived(ctx, s.Cache, keptName(seenPrefix, s.Key(im)), func(io.Writer) error { return nil })
}

// Get returns a kernel's snapshot. If there is none, it is made: unpack returns
// what QEMU starts of the kernel. The error is a *NotSupportedError if the kernel
// cannot have one.
func (s *Store) Get(ctx context.Context, im *kernel.Image, unpack func() (boot string, err error)) (*Snapshot, error) {
	start := time.Now()
	key := s.Key(im)
	if path, ok := im.FindDerived(keptName(refusedPrefix, key)); ok {
		why, _ := os.ReadFile(path)
		return nil, &NotSupportedError{report.OneLine(string(why), 300)}
	}
	if path, ok := im.FindDerived(keptName(savedPrefix, key)); ok {
		v, err := openVM(path, key)
		if err == nil && sameClock(v.head.TSC, s.Machine(im).TSC) {
			return &Snapshot{vmFile: v, store: s, image: im}, nil
		}
		if err == nil {
			v.Close()
		}
		if err := im.DropDerived(keptName(savedPrefix, key)); err != nil {
			return nil, fmt.Errorf("remove a snapshot that is of no use: %w", err)
		}
	}
	boot, err := unpack()
	if err != nil {
		return nil, err
	}
	var took time.Duration
	path, err := im.Derived(ctx, s.Cache, keptName(savedPrefix, key), func(f io.Writer) error {
		err := s.take(ctx, im, boot, key, f)
		took = time.Since(start)
		return err
	})
	if err != nil {
		var no *NotSupportedError
		if errors.As(err, &no) && ctx.Err() == nil {
			_, _ = im.Derived(ctx, s.Cache, keptName(refusedPrefix, key), func(f io.Writer) error {
				_, err := io.WriteString(f, no.Reason)
				return err
			})
		}
		return nil, err
	}
	im.KeepNewestDerived(savedPrefix, keptSnapshots)
	v, err := openVM(path, key)
	return &Snapshot{vmFile: v, store: s, image: im, Took: took}, err
}

// sameClock says whether a kernel that was told one rate of the time stamp
// counter can go on under another: the lockup watchdog goes by it, and does not
// mind a hundredth.
func sameClock(a, b int) bool { return a == b || max(a, b)-min(a, b) <= min(a, b)/100 }

// take boots a kernel to init's ready point and writes the VM.
func (s *Store) take(ctx context.Context, im *kernel.Image, boot, key string, w io.Writer) error {
	if err := s.writeBase(); err != nil {
		return err
	}
	saveCtx, cancel := context.WithTimeout(ctx, s.BootLimit)
	defer cancel()
	m := s.machine(im, boot, boot != im.Kernel)
	ram, err := newMemory(m.RAMSize(), s.Scratch)
	if err != nil {
		return err
	}
	defer ram.Close()
	var state, packed, con bytes.Buffer
	z, err := compress(&state)
	if err != nil {
		return err
	}
	err = save(saveCtx, s.QEMU, m, wire.ReadyLine, &capped{w: &con, left: maxConsole}, z, ram)
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	var seen console.Scanner
	_, _ = seen.Write(con.Bytes())
	for _, f := range seen.Findings() {
		if f.Kind.Crash() {
			return &NotSupportedError{"the kernel crashes before init is ready: " + report.OneLine(f.Title, 200)}
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case saveCtx.Err() != nil:
		return &NotSupportedError{fmt.Sprintf("init was not ready within %v", s.BootLimit)}
	case errors.Is(err, errNotReady):
		last := strings.TrimSpace(con.String())
		last = cmp.Or(console.InitsWords(last), last[strings.LastIndexByte(last, '\n')+1:])
		return &NotSupportedError{"init did not get ready: " + report.OneLine(last, 200)}
	case err != nil:
		return err
	}
	if err := packMemory(&packed, ram); err != nil {
		return err
	}
	return writeVM(w, header{Key: key, TSC: m.TSC, PVH: boot != im.Kernel}, con.Bytes(), state.Bytes(), packed.Bytes())
}

// capped passes on what there is room for.
type capped struct {
	w    io.Writer
	left int
}

func (c *capped) Write(p []byte) (int, error) {
	n := min(len(p), c.left)
	c.left -= n
	if _, err := c.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Snapshot is a kernel's saved VM.
type Snapshot struct {
	*vmFile
	store *Store
	image *kernel.Image

	Took time.Duration // to make it; 0 if there was one
}

// Console returns what the guest had printed when it was saved.
func (s *Snapshot) Console() []byte { return s.console }

// Drop removes a snapshot that cannot be restored. The next run makes it anew.
func (s *Snapshot) Drop() {
	_ = s.image.DropDerived(keptName(savedPrefix, s.head.Key))
}

// Restore goes on with the VM, hands it the payload, the archive of the kernel's
// modules ("" for none) and a job of its own (nil: the payload's), and waits until
// it is over, as qemu.Run does. input is as qemu.Machine's. It can be done once.
func (s *Snapshot) Restore(ctx context.Context, nonce, modules string, job json.RawMessage, input *os.File, console, results io.Writer) (qemu.Exit, error) {
	defer s.Close()
	st := s.store
	dir, err := os.MkdirTemp(st.Scratch, "handover-")
	if err != nil {
		return qemu.Exit{}, fmt.Errorf("make a directory for the handover: %w", err)
	}
	defer os.RemoveAll(dir)
	m := st.machine(s.image, st.stub, s.head.PVH)
	if !s.head.PVH {
		m.Kernel = s.image.Kernel
	}
	m.Initrd, m.TSC, m.Input = st.noInitrd, s.head.TSC, input
	if m.Files, err = st.handOver(dir, nonce, modules, job); err != nil {
		return qemu.Exit{}, err
	}
	state, err := decompress(s.state)
	if err != nil {
		return qemu.Exit{}, err
	}
	defer state.Close()
	ram, err := newMemory(m.RAMSize(), st.Scratch)
	if err != nil {
		return qemu.Exit{}, err
	}
	defer ram.Close()
	// The memory is unpacked while QEMU starts, which does not look at it before
	// the state has come.
	unpacked := make(chan error, 1)
	go func() { unpacked <- unpackMemory(ram, s.memory, m.RAMSize()) }()
	wait := sync.OnceValue(func() error { return <-unpacked })
	defer func() { _ = wait() }() // before its file is closed
	return restore(ctx, st.QEMU, m, &waitingReader{wait, state}, ram, console, results)
}

// waitingReader reads when wait has returned.
type waitingReader struct {
	wait func() error
	io.Reader
}

func (r *waitingReader) Read(p []byte) (int, error) {
	if err := r.wait(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

// handOver writes the handover to dir and returns the files that QEMU has to give
// the guest.
func (s *Store) handOver(dir, nonce, modules string, job json.RawMessage) ([]qemu.File, error) {
	h := wire.Handover{Nonce: nonce, Job: job, Now: s.Now().UnixNano(), Entropy: make([]byte, 2*wire.MinEntropy)}
	if _, err := io.ReadFull(s.Random, h.Entropy); err != nil {
		return nil, fmt.Errorf("make entropy for the guest: %w", err)
	}
	var files []qemu.File
	archive := func(path string, p wire.HandoverPackage) {
		files = append(files, qemu.File{Name: fmt.Sprintf("%s%d", wire.HandoverArchive, len(h.Archives)), Path: path})
		h.Archives = append(h.Archives, p)
	}
	archive(s.payload, s.handover)
	if modules != "" {
		p, err := packageOf(modules)
		if err != nil {
			return nil, fmt.Errorf("read the archive of modules: %w", err)
		}
		archive(modules, p)
	}
	b := wire.PackHandover(h)
	if len(b) > wire.MaxHandover {
		return nil, &NotSupportedError{Reason: fmt.Sprintf("the payload has too many files, or a job too long, for a restored VM: what it is told has %d bytes, more than %d", len(b), wire.MaxHandover)}
	}
	path := filepath.Join(dir, "handover")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return nil, fmt.Errorf("write the handover: %w", err)
	}
	return append(files, qemu.File{Name: wire.HandoverName, Path: path}), nil
}

// Path returns the file of a kernel's snapshot, and whether there is one.
func (s *Store) Path(im *kernel.Image) (string, bool) {
	return im.FindDerived(keptName(savedPrefix, s.Key(im)))
}

// Forget removes a kernel's snapshot and what is noted about it.
func (s *Store) Forget(im *kernel.Image) error {
	key := s.Key(im)
	var err error
	for _, prefix := range []string{savedPrefix, seenPrefix, refusedPrefix} {
		err = errors.Join(err, im.DropDerived(keptName(prefix, key)))
	}
	return err
}
