package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Descriptors of QEMU's, in the order of the files that it gets.
const (
	controlFD = qemu.FirstFile + iota // its monitor
	memoryFD
	stateFD
)

// control returns the arguments that make controlFD QEMU's monitor.
func control() []string {
	return []string{"-chardev", fmt.Sprintf("socket,id=control,fd=%d", controlFD), "-mon", "chardev=control,mode=control"}
}

// memory returns the arguments that make the file memoryFD the machine's memory:
// shared, so that it has the memory in the end, or private, so that it stays as
// it is.
func memory(m qemu.Machine, shared bool) []string {
	share := "off"
	if shared {
		share = "on"
	}
	return []string{"-object", fmt.Sprintf("memory-backend-file,id=ram,size=%d,mem-path=/proc/self/fd/%d,share=%s", m.RAMSize(), memoryFD, share)}
}

// ignoreShared has a migration leave memory alone that is a shared file.
const ignoreShared = "x-ignore-shared"

// errNotReady is returned by Save when the guest came to its end before it said
// that it is ready.
var errNotReady = errors.New("the guest did not come to the point where it can be saved")

// save boots m until the guest prints ready as a line of the results, writes
// the VM's state to state, as QEMU migrates it, and ends the VM. Its memory is
// not part of the state but in ram, a file that newMemory made. The VM goes on
// meanwhile, so that a restored one runs at once. What the guest has printed
// until the moment of its state is on console when save returns.
func save(ctx context.Context, bin string, m qemu.Machine, ready string, console, state io.Writer, ram *os.File) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ours, theirs, err := socketPair()
	if err != nil {
		return fmt.Errorf("make QEMU's control socket: %w", err)
	}
	defer ours.Close()
	ram, err = duplicate(ram)
	if err != nil {
		theirs.Close()
		return err
	}
	args := slices.Concat(memory(m, true), control())

	line := &untilLine{line: []byte(ready), seen: make(chan struct{})}
	over := make(chan struct{})
	saved := make(chan error, 1)
	go func() {
		select {
		case <-line.seen:
			err := migrate(ours, state)
			if err != nil {
				cancel()
			}
			saved <- err
		case <-over:
			saved <- errNotReady
		}
		ours.Close() // ends a wait for QEMU's answers as well
	}()
	exit, err := qemu.RunWith(ctx, bin, m, args, console, line, []*os.File{theirs, ram}, nil)
	close(over)
	saveErr := <-saved
	_, _ = console.Write(line.have)
	switch {
	case err != nil:
		return err
	case saveErr != nil && !errors.Is(saveErr, errNotReady):
		return fmt.Errorf("save the VM: %w", saveErr)
	case saveErr != nil && exit.Killed, saveErr != nil && exit.Clean():
		return saveErr
	case !exit.Clean():
		return fmt.Errorf("save the VM: QEMU: %v", exit)
	}
	return nil
}

// duplicate returns a file of its own: qemu.RunWith closes those that it gets.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hand QEMU a VM's memory: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// restore goes on with a VM whose state and memory save wrote. What the VM writes
// to its memory does not reach ram. m is the machine that was saved, except for
// Files and except for kernel and initrd, which only have to be of the same kind:
// a restored VM has its own in memory. Otherwise it is as qemu.Run.
func restore(ctx context.Context, bin string, m qemu.Machine, state io.Reader, ram *os.File, console, results io.Writer) (qemu.Exit, error) {
	ram, err := duplicate(ram)
	if err != nil {
		return qemu.Exit{}, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		ram.Close()
		return qemu.Exit{}, fmt.Errorf("make QEMU's control socket: %w", err)
	}
	defer ours.Close()
	r, w, err := os.Pipe()
	if err != nil {
		ram.Close()
		theirs.Close()
		return qemu.Exit{}, fmt.Errorf("make a pipe for the VM's state: %w", err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := slices.Concat(memory(m, false), control(), []string{"-incoming", "defer"})
	var feed sync.WaitGroup
	var feedErr, takeErr error
	exit, err := qemu.RunWith(ctx, bin, m, args, console, results, []*os.File{theirs, ram, r}, func() {
		r.Close() // so that writing fails when QEMU is gone
		feed.Go(func() {
			// A QEMU that is gone says why by itself.
			if takeErr = takeIn(ours); errors.Is(takeErr, errQMP) {
				cancel()
			}
		})
		feed.Go(func() {
			defer w.Close()
			_, feedErr = io.Copy(w, state)
		})
	})
	w.Close() // ends the feed when QEMU was not even started
	ours.Close()
	feed.Wait()
	if err == nil && errors.Is(takeErr, errQMP) {
		err = fmt.Errorf("restore the VM: %w", takeErr)
	}
	if err == nil && !exit.Clean() && feedErr != nil && !errors.Is(feedErr, unix.EPIPE) && !errors.Is(feedErr, os.ErrClosed) {
		err = fmt.Errorf("read the saved VM: %w", feedErr)
	}
	return exit, err
}

// untilLine closes seen when line has come, as a line of its own.
type untilLine struct {
	line []byte
	seen chan struct{}

	have []byte // what came before; the console's, of a kernel that has this line alone
	done bool
}

func (u *untilLine) Write(p []byte) (int, error) {
	const most = 4 << 10 // little else is on this line before
	if u.done || len(u.have) > most {
		return len(p), nil
	}
	u.have = append(u.have, p...)
	before := 0
	for l := range bytes.Lines(u.have) {
		if bytes.HasSuffix(l, []byte("\n")) && bytes.Equal(bytes.TrimSpace(l), u.line) {
			u.done, u.have = true, u.have[:before]
			close(u.seen)
			break
		}
		before += len(l)
	}
	return len(p), nil
}

// takeIn has QEMU take in the state that comes on its descriptor.
func takeIn(control *net.UnixConn) error {
	_, err := converse(control,
		step{command: "migrate-set-capabilities", args: capabilities(ignoreShared)},
		step{command: "migrate-incoming", args: map[string]any{"uri": "fd:" + strconv.Itoa(stateFD)}})
	return err
}

// migrate has QEMU write the VM's state and quit.
func migrate(control *net.UnixConn, state io.Writer) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for the VM's state: %w", err)
	}
	defer r.Close()
	defer w.Close()
	q, err := converse(control,
		step{command: "migrate-set-capabilities", args: capabilities("events", ignoreShared)},
		// The default is made for a network.
		step{command: "migrate-set-parameters", args: map[string]any{"max-bandwidth": 8 << 30}},
		step{command: "getfd", args: map[string]any{"fdname": "state"}, fd: w},
		step{command: "migrate", args: map[string]any{"uri": "fd:state"}})
	if err != nil {
		return err
	}
	w.Close() // QEMU has its own
	var copyErr error
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, copyErr = io.Copy(state, r)
	}()
	status, err := q.migrated()
	if err == nil && status != "completed" {
		err = fmt.Errorf("QEMU ends the migration as %s", status)
	}
	if err != nil {
		r.Close()
		<-copied
		return err
	}
	if err := q.run("quit", nil, nil); err != nil {
		return err
	}
	<-copied
	return copyErr
}
