package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// programIO carries what a payload reads and writes to the host and back, while it
// runs.
type programIO struct {
	w     *wire.Writer
	nonce string
	from  string // device that the host writes to; "" for none
	con   *serialConsole

	mu   sync.Mutex
	sent uint64
	err  error // the first of sending
}

// newProgramIO returns that of a guest whose results go to w, by a device of
// that name or, if there is none, by the console.
func newProgramIO(w io.Writer, repeat int, nonce, device string, con *serialConsole) *programIO {
	s := &programIO{w: wire.NewStreamWriter(w, nonce, false), nonce: nonce, con: con, from: "/dev/console"}
	s.w.Repeat = repeat
	switch {
	case device != "" && repeat == 0:
		s.from = "/dev/" + device
	case device != "": // the host does not write to the console instead
		s.from = ""
	}
	return s
}

func (s *programIO) send(c wire.Chunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.w.WriteChunk(c); err != nil {
		if s.err == nil {
			s.err = err
			s.con.logf("%v", err)
		}
		return
	}
	s.sent++
}

// total is how many chunks were sent.
func (s *programIO) total() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent, s.err
}

// writer returns one for a kind of chunks. It never fails: the program shall not
// end for it, and the host sees that chunks are missing.
func (s *programIO) writer(kind string) io.Writer { return chunkWriter{s, kind} }

type chunkWriter struct {
	*programIO
	kind string
}

func (w chunkWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		k := min(len(b), wire.MaxChunk)
		w.send(wire.Chunk{Kind: w.kind, Data: b[:k]})
		b = b[k:]
	}
	return n, nil
}

// serve tells the host that the payload of process pid starts and passes on what
// the host sends: to in, which it closes at the end, and as signals. It goes on
// until the guest ends.
func (s *programIO) serve(in *os.File, pid int) {
	tty, err := s.open()
	if err != nil {
		s.con.logf("%v: the payload has no input and gets no signals", err)
		in.Close()
		s.send(wire.Chunk{Kind: wire.ChunkStart})
		return
	}
	data, signals := make(chan []byte, wire.InputWindow+1), make(chan int, 16)
	frames := wire.NewCollector(s.nonce, nil)
	frames.OnChunk(true, func(c wire.Chunk) {
		switch c.Kind {
		case wire.ChunkIn:
			select {
			case data <- c.Data:
			default: // more than there is room for: none of this host's
			}
		case wire.ChunkSignal:
			select {
			case signals <- c.N:
			default:
			}
		}
	})
	go func() { _, _ = io.Copy(frames.Stream(), tty) }()
	go s.feed(in, data)
	go func() {
		for n := range signals {
			if err := signalProgram(pid, syscall.Signal(n)); err != nil {
				s.con.logf("%v", err)
			}
		}
	}()
	s.send(wire.Chunk{Kind: wire.ChunkStart, N: 1})
}

func (s *programIO) open() (*os.File, error) {
	if s.from == "" {
		return nil, errors.New("the results share the console")
	}
	fd, err := unix.Open(s.from, unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s.from, err)
	}
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err == nil {
		// Without echo, and no byte that means anything. Its output stays as it is.
		t.Iflag, t.Lflag = 0, 0
		t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
		t.Cflag |= unix.CREAD
		err = unix.IoctlSetTermios(fd, unix.TCSETS, t)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up %s: %w", s.from, err)
	}
	return os.NewFile(uintptr(fd), s.from), nil
}

// feed writes data to the payload, and closes in where a piece has none. What
// nobody reads any more is dropped.
func (s *programIO) feed(in *os.File, data <-chan []byte) {
	defer in.Close()
	for b := range data {
		if len(b) == 0 {
			return
		}
		_, _ = in.Write(b) // waits for the program
		s.send(wire.Chunk{Kind: wire.ChunkTook, N: len(b)})
	}
}

// signalLimit is how long a signal waits for the program to be started.
const signalLimit = 10 * time.Second

// signalProgram sends a signal to the program that testrunner, the process of
// that id, has started.
func signalProgram(testrunner int, sig syscall.Signal) error {
	for end := time.Now().Add(signalLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, dir := range payloadProcesses() {
			stat, err := os.ReadFile(dir + "/stat")
			// PID (NAME) STATE PPID: the name can have anything in it.
			fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
			if err != nil || len(fields) < 2 || fields[1] != strconv.Itoa(testrunner) {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(dir))
			if err == nil {
				err = unix.Kill(pid, sig)
			}
			return wrap(fmt.Sprintf("send the program %v", sig), err)
		}
	}
	return fmt.Errorf("send the program %v: it does not run", sig)
}

// bindHere shows the files of wire.HereDir at a directory, which may be in a file
// system that was mounted over what the archive had there.
func bindHere(dir string) error {
	if !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" {
		return fmt.Errorf("%q is no directory for the payload's files", dir)
	}
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = unix.Mount(wire.HereDir, dir, "", unix.MS_BIND, "")
	}
	return wrap("show the working directory's files at "+dir, err)
}
