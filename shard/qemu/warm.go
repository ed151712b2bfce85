package qemu

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// File is a file that QEMU hands to the guest.
type File struct {
	Name string // as the guest knows it
	Path string
}

// Descriptors of QEMU's that follow the serial lines'.
const (
	firstMoreFD = 5
	ramFD       = 6
	controlFD   = 7
)

// ignoreShared has a migration leave memory alone that is a shared file.
const ignoreShared = "x-ignore-shared"

func capabilities(names ...string) map[string]any {
	var list []any
	for _, n := range names {
		list = append(list, map[string]any{"capability": n, "state": true})
	}
	return map[string]any{"capabilities": list}
}

// control returns the arguments that make a descriptor QEMU's monitor.
func control(fd int) []string {
	return []string{"-chardev", "socket,id=control,fd=" + strconv.Itoa(fd), "-mon", "chardev=control,mode=control"}
}

// ErrNotReady is returned by Save when the guest came to its end before it said
// that it is ready.
var ErrNotReady = errors.New("the guest did not come to the point where it can be saved")

// Save boots m until the guest prints ready as a line of the results, writes
// the VM's state to state, as QEMU migrates it, and ends the VM. Its memory is
// not part of the state but in ram, a file that NewRAM made. The VM goes on
// meanwhile, so that a restored one runs at once. What the guest has printed
// until the moment of its state is on console when Save returns.
func Save(ctx context.Context, qemu string, m Machine, ready string, console, state io.Writer, ram *os.File) error {
	if !m.Saves {
		return errors.New("the machine is not one that is saved")
	}
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
	args := append(append(m.Args(), m.ram(ramFD, true)...), control(firstMoreFD)...)

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
			saved <- ErrNotReady
		}
		ours.Close() // ends a wait for QEMU's answers as well
	}()
	var closeOnce sync.Once
	end := func() { closeOnce.Do(func() { close(over) }) }
	exit, err := run(ctx, qemu, args, console, line, []*os.File{theirs, ram}, nil)
	end()
	saveErr := <-saved
	switch {
	case err != nil:
		return err
	case saveErr != nil && !errors.Is(saveErr, ErrNotReady):
		return fmt.Errorf("save the VM: %w", saveErr)
	case saveErr != nil && exit.Killed, saveErr != nil && exit.Clean():
		return saveErr
	case !exit.Clean():
		return fmt.Errorf("save the VM: QEMU: %v", exit)
	}
	return nil
}

// duplicate returns a file of its own: run closes those that it gets.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hand QEMU a VM's memory: %w", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Restore goes on with a VM whose state and memory Save wrote. What the VM
// writes to its memory is not in ram. m has to be the same but
// for the files, and but for kernel and initrd, which only have to be of the
// same kind: a restored VM has its own in memory. Otherwise it is as Run.
func Restore(ctx context.Context, qemu string, m Machine, state io.Reader, ram *os.File, console, results io.Writer) (Exit, error) {
	if !m.Saves {
		return Exit{}, errors.New("the machine is not one that was saved")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return Exit{}, fmt.Errorf("make a pipe for the VM's state: %w", err)
	}
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 1<<20) // fewer switches; smaller does as well
	if ram, err = duplicate(ram); err != nil {
		r.Close()
		w.Close()
		return Exit{}, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		r.Close()
		w.Close()
		ram.Close()
		return Exit{}, fmt.Errorf("make QEMU's control socket: %w", err)
	}
	defer ours.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	args := append(append(m.Args(), m.ram(ramFD, false)...), "-incoming", "defer")
	args = append(args, control(controlFD)...)
	var feed sync.WaitGroup
	var feedErr, takeErr error
	exit, err := run(ctx, qemu, args, console, results, []*os.File{r, ram, theirs}, func() {
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
	w.Close()
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

// Digest names a QEMU by its version and the bytes of its program: another
// may not understand a VM that it has saved.
func Digest(path, version string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read QEMU: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read QEMU: %w", err)
	}
	return version + " sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// untilLine closes seen when line has come, as a line of its own.
type untilLine struct {
	line []byte
	seen chan struct{}

	have []byte
	done bool
}

func (u *untilLine) Write(p []byte) (int, error) {
	const most = 4 << 10 // nothing else is on this line before
	if u.done || len(u.have) > most {
		return len(p), nil
	}
	u.have = append(u.have, p...)
	for l := range bytes.Lines(u.have) {
		if bytes.HasSuffix(l, []byte("\n")) && bytes.Equal(bytes.TrimSpace(l), u.line) {
			u.done = true
			close(u.seen)
			break
		}
	}
	return len(p), nil
}

// socketPair returns both ends of a socket.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return c.(*net.UnixConn), theirs, nil
}

// takeIn has QEMU take in the state that comes on its descriptor.
func takeIn(control *net.UnixConn) error {
	_, err := converse(control,
		step{command: "migrate-set-capabilities", args: capabilities(ignoreShared)},
		step{command: "migrate-incoming", args: map[string]any{"uri": "fd:" + strconv.Itoa(firstMoreFD)}})
	return err
}

// step is a command, and a file that goes with it.
type step struct {
	command string
	args    any
	fd      *os.File
}

// converse begins to speak QMP, and runs commands one after the other.
func converse(control *net.UnixConn, steps ...step) (*monitor, error) {
	q := &monitor{conn: control, dec: json.NewDecoder(control)}
	if _, err := q.next(func(a answer) bool { return a.QMP != nil }); err != nil {
		return nil, err
	}
	for _, s := range append([]step{{command: "qmp_capabilities"}}, steps...) {
		if err := q.run(s.command, s.args, s.fd); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// migrate has QEMU write the VM's state and quit.
func migrate(control *net.UnixConn, state io.Writer) error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe for the VM's state: %w", err)
	}
	defer r.Close()
	defer w.Close()
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 1<<20)
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
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(state, r)
		copied <- err
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
	return <-copied
}

// errQMP is wrapped by the error of a command that QEMU refuses.
var errQMP = errors.New("QMP")

// monitor speaks QMP.
type monitor struct {
	conn *net.UnixConn
	dec  *json.Decoder
	done string // how the migration ended, when an event said so
}

type answer struct {
	QMP    json.RawMessage
	Return json.RawMessage
	Event  string
	Data   struct{ Status string }
	Error  *struct{ Desc string }
}

// next returns the next answer that fits.
func (q *monitor) next(fits func(answer) bool) (answer, error) {
	for {
		var a answer
		if err := q.dec.Decode(&a); err != nil {
			return answer{}, fmt.Errorf("read QEMU's answer: %w", err)
		}
		if a.Event == "MIGRATION" && (a.Data.Status == "completed" || a.Data.Status == "failed" || a.Data.Status == "cancelled") {
			q.done = a.Data.Status
		}
		if fits(a) {
			return a, nil
		}
	}
}

// run runs a command, and passes a file along with it.
func (q *monitor) run(command string, args any, file *os.File) error {
	msg := map[string]any{"execute": command}
	if args != nil {
		msg["arguments"] = args
	}
	b, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	if _, _, err := q.conn.WriteMsgUnix(b, rights, nil); err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	a, err := q.next(func(a answer) bool { return a.Return != nil || a.Error != nil })
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	if a.Error != nil {
		return fmt.Errorf("%w: %s: %s", errQMP, command, a.Error.Desc)
	}
	return nil
}

// migrated waits until the migration is over and returns how it ended.
func (q *monitor) migrated() (string, error) {
	if q.done == "" {
		if _, err := q.next(func(answer) bool { return q.done != "" }); err != nil {
			return "", fmt.Errorf("QMP migrate: %w", err)
		}
	}
	return q.done, nil
}
