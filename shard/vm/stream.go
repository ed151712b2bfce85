package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Stream is the host's end of what a kernel's payload reads and writes while it
// runs, for a job with wire.Job.Stream. A payload that has started is not run
// again: what it read and wrote cannot be taken back.
type Stream struct {
	// Stdout and Stderr get what the payload writes, each from one goroutine at a
	// time. Their delays hold the payload up, and their errors are of no account.
	Stdout, Stderr io.Writer
	Stdin          Input // nil: the payload reads nothing

	mu       sync.Mutex
	started  bool
	reads    bool // the guest reads what it is sent
	taking   bool // Stdout or Stderr takes something
	took     bool // one of them has, since waiting was last asked
	to       *wire.Writer
	pipe     *os.File
	signals  []syscall.Signal // that wait for the start
	room     chan int         // bytes of input that the guest has room for
	stopFeed context.CancelFunc
	status   int
}

// Input is what several payloads read, each from its start.
type Input interface {
	// ReadAt is as io.ReaderAt's, and waits for at least one byte, the end or ctx's.
	ReadAt(ctx context.Context, b []byte, off int64) (int, error)
}

// ErrRanAlready is returned by Open for a payload that has started in another VM.
var ErrRanAlready = errors.New("the program ran in an earlier VM, which was lost: it is not run again, since its output was passed on")

// Open returns what the next VM reads on its results' line.
func (s *Stream) Open(nonce string) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return nil, ErrRanAlready
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe for the guest's input: %w", err)
	}
	s.pipe, s.to = w, wire.NewStreamWriter(w, nonce, true)
	return r, nil
}

// Close ends what Open has begun, when the VM is gone.
func (s *Stream) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopFeed != nil {
		s.stopFeed()
	}
	s.reads = false
	s.pipe.Close()
}

// Started says whether the payload was started in any VM.
func (s *Stream) Started() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// Status is the payload's exit status as the guest told it, 0 if it did not.
func (s *Stream) Status() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// ended takes the end of the payload.
func (s *Stream) ended(e wire.Exit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = e.Code
}

// Signal sends the payload a signal, when it runs.
func (s *Stream) Signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.reads:
		s.write(wire.Chunk{Kind: wire.ChunkSignal, N: int(sig)})
	case !s.started:
		s.signals = append(s.signals, sig)
	}
}

// write sends a chunk to the guest, without waiting: a guest that does not take
// it is late or gone.
func (s *Stream) write(c wire.Chunk) {
	_ = s.pipe.SetWriteDeadline(time.Now().Add(writeLimit))
	_ = s.to.WriteChunk(c)
}

// writeLimit bounds the wait for a guest that has a pipe full of input to read.
const writeLimit = 10 * time.Second

// waiting says whether who takes the guest's output may have held it up since
// waiting was last asked.
func (s *Stream) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	waited := s.taking || s.took
	s.took = false
	return waited
}

// take takes a chunk from the guest. Hostile ones do no harm.
func (s *Stream) take(c wire.Chunk) {
	out := s.Stdout
	switch c.Kind {
	case wire.ChunkErr:
		out = s.Stderr
	case wire.ChunkOut:
	case wire.ChunkStart:
		s.start(c.N == 1)
		return
	case wire.ChunkTook:
		if n := c.N; n > 0 && n <= wire.InputWindow {
			select {
			case s.room <- n:
			default: // more often than it was sent something
			}
		}
		return
	default:
		return
	}
	s.setTaking(true)
	_, _ = out.Write(c.Data)
	s.setTaking(false)
}

func (s *Stream) setTaking(is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taking, s.took = is, true
}

func (s *Stream) start(reads bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return
	}
	s.started, s.reads = true, reads
	if !reads {
		return
	}
	for _, sig := range s.signals {
		s.write(wire.Chunk{Kind: wire.ChunkSignal, N: int(sig)})
	}
	s.signals = nil
	ctx, cancel := context.WithCancel(context.Background())
	s.stopFeed, s.room = cancel, make(chan int, wire.InputWindow)
	go s.feed(ctx, s.room)
}

// feed sends the payload's input as far as the guest has room for it.
func (s *Stream) feed(ctx context.Context, more <-chan int) {
	buf := make([]byte, wire.InputWindow/4)
	room, off := wire.InputWindow, int64(0)
	for ctx.Err() == nil {
		for room == 0 {
			select {
			case <-ctx.Done():
				return
			case n := <-more:
				room += n
			}
		}
		n, err := 0, io.EOF
		if s.Stdin != nil {
			n, err = s.Stdin.ReadAt(ctx, buf[:min(room, len(buf))], off)
		}
		room, off = room-n, off+int64(n)
		s.mu.Lock()
		if n > 0 && s.reads {
			s.write(wire.Chunk{Kind: wire.ChunkIn, Data: buf[:n]})
		}
		if err != nil && s.reads {
			s.write(wire.Chunk{Kind: wire.ChunkIn})
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}
