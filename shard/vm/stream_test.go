package vm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// inputText is an Input.
type inputText string

func (s inputText) ReadAt(_ context.Context, b []byte, off int64) (int, error) {
	n, err := strings.NewReader(string(s)).ReadAt(b, off)
	if n > 0 {
		err = nil
	}
	return n, err
}

// waitingInput has nothing, and no end.
type waitingInput struct{}

func (waitingInput) ReadAt(ctx context.Context, _ []byte, _ int64) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

// streamed plays a guest that streams, and returns what was observed.
func streamed(t *testing.T, s *Stream, play func(records *wire.Writer, chunks func(wire.Chunk), in <-chan wire.Chunk)) Observation {
	t.Helper()
	w := Watch{Nonce: "n", Console: io.Discard, Stream: s, Limits: Limits{Boot: time.Minute, Payload: time.Minute, Off: time.Minute}, Case: Case{Payload: true}}
	o, err := w.Observe(t.Context(), func(ctx context.Context, console, results io.Writer) (qemu.Exit, error) {
		f, err := s.Open("n")
		if err != nil {
			return qemu.Exit{}, err
		}
		defer s.Close()
		in := make(chan wire.Chunk, 1000)
		frames := wire.NewCollector("n", nil)
		frames.OnChunk(true, func(c wire.Chunk) { in <- c })
		var reading sync.WaitGroup
		reading.Go(func() { _, _ = io.Copy(frames.Stream(), f) })
		defer func() { s.Close(); reading.Wait() }()
		out := wire.NewStreamWriter(results, "n", false)
		play(wire.NewWriter(results, "n"), func(c wire.Chunk) { _ = out.WriteChunk(c) }, in)
		return qemu.Exit{}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// finish sends what a guest says whose payload passed and sent a number of chunks.
func finish(w *wire.Writer, chunks uint64) {
	for _, r := range []wire.Record{
		{Type: wire.TypeHello, Hello: &wire.Hello{}},
		{Type: wire.TypeTest, Test: &wire.Test{Name: "p", Verdict: wire.TestPass}},
		{Type: wire.TypeExit, Exit: &wire.Exit{Chunks: chunks}},
		{Type: wire.TypeEnd, End: &wire.End{Nonce: "n", Tests: 1, Passed: 1, Complete: true}},
	} {
		_ = w.Write(r)
	}
}

func TestStream(t *testing.T) {
	var out, errs bytes.Buffer
	input := strings.Repeat("input\x00\n", wire.InputWindow)
	s := &Stream{Stdout: &out, Stderr: &errs, Stdin: inputText(input)}
	s.Signal(syscall.SIGUSR1) // before there is anything
	var got strings.Builder
	var signals []int
	o := streamed(t, s, func(w *wire.Writer, send func(wire.Chunk), in <-chan wire.Chunk) {
		select {
		case c := <-in:
			t.Errorf("%+v before the start", c)
		case <-time.After(10 * time.Millisecond):
		}
		send(wire.Chunk{Kind: wire.ChunkStart, N: 1})
		pending := 0
		for c := range in {
			if c.Kind == wire.ChunkSignal {
				signals = append(signals, c.N)
				continue
			}
			if len(c.Data) == 0 {
				break
			}
			got.Write(c.Data)
			if pending += len(c.Data); pending > wire.InputWindow {
				t.Errorf("%d bytes wait in the guest", pending)
			}
			if pending >= wire.InputWindow/2 {
				send(wire.Chunk{Kind: wire.ChunkTook, N: pending})
				pending = 0
			}
		}
		s.Signal(syscall.SIGTERM)
		c := <-in
		signals = append(signals, c.N)
		send(wire.Chunk{Kind: wire.ChunkOut, Data: []byte("one\x00")})
		send(wire.Chunk{Kind: wire.ChunkErr, Data: []byte("two")})
		send(wire.Chunk{Kind: wire.ChunkOut, Data: []byte("three")})
		send(wire.Chunk{Kind: "strange", N: -1})
		send(wire.Chunk{Kind: wire.ChunkTook, N: -1 << 40})
		finish(w, 6)
	})
	if v := o.Judge(); v.Verdict != report.Pass {
		t.Errorf("%v: %+v", v.Verdict, v.Cause)
	}
	if out.String() != "one\x00three" || errs.String() != "two" || got.String() != input {
		t.Errorf("stdout %q, stderr %q, %d bytes of input", out.String(), errs.String(), got.Len())
	}
	if len(signals) != 2 || signals[0] != int(syscall.SIGUSR1) || signals[1] != int(syscall.SIGTERM) {
		t.Errorf("signals %v", signals)
	}
	if _, err := s.Open("n"); !errors.Is(err, ErrRanAlready) {
		t.Errorf("it runs again: %v", err)
	}
}

// Output that did not come is no pass.
func TestStreamThatLosesOutput(t *testing.T) {
	for _, tt := range []struct {
		name  string
		total uint64
		want  report.Verdict
	}{{"all", 2, report.Pass}, {"one is missing", 3, report.Fail}} {
		s := &Stream{Stdout: io.Discard, Stderr: io.Discard}
		o := streamed(t, s, func(w *wire.Writer, send func(wire.Chunk), in <-chan wire.Chunk) {
			send(wire.Chunk{Kind: wire.ChunkStart})
			send(wire.Chunk{Kind: wire.ChunkOut, Data: []byte("x")})
			finish(w, tt.total)
		})
		v := o.Judge()
		if v.Verdict != tt.want || tt.want == report.Fail && !strings.Contains(v.Cause.Title, "output was lost") {
			t.Errorf("%s: %v, %+v", tt.name, v.Verdict, v.Cause)
		}
	}
}

// A payload ends though its input does not.
func TestStreamWithInputThatDoesNotEnd(t *testing.T) {
	s := &Stream{Stdout: io.Discard, Stderr: io.Discard, Stdin: waitingInput{}}
	streamed(t, s, func(w *wire.Writer, send func(wire.Chunk), _ <-chan wire.Chunk) {
		send(wire.Chunk{Kind: wire.ChunkStart, N: 1})
		finish(w, 1)
	})
}

// A guest that is silent because nobody takes its output does not hang.
func TestStreamThatIsHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, out := io.Pipe()
		s := &Stream{Stdout: out, Stderr: io.Discard}
		go func() {
			time.Sleep(10 * time.Minute)
			_, _ = io.Copy(io.Discard, r)
		}()
		w := Watch{Nonce: "n", Console: io.Discard, Stream: s, Limits: Limits{Boot: time.Minute, Payload: time.Hour, Silence: 30 * time.Second, Off: time.Minute}, Case: Case{Payload: true}}
		o, err := w.Observe(t.Context(), func(_ context.Context, _, results io.Writer) (qemu.Exit, error) {
			records, chunks := wire.NewWriter(results, "n"), wire.NewStreamWriter(results, "n", false)
			_ = records.Write(wire.Record{Type: wire.TypeHello, Hello: &wire.Hello{}})
			_ = chunks.WriteChunk(wire.Chunk{Kind: wire.ChunkStart})
			_ = chunks.WriteChunk(wire.Chunk{Kind: wire.ChunkOut, Data: []byte("x")})
			finish(records, 2)
			return qemu.Exit{}, nil
		})
		out.Close()
		if err != nil || o.stopped != notStopped {
			t.Errorf("stopped %v, %v", o.stopped, err)
		}
	})
}
