package wire

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// chunkFrames are the frames of chunks that hold their numbers.
func chunkFrames(t testing.TB, nonce string, toGuest bool, n int) [][]byte {
	t.Helper()
	var frames [][]byte
	var b bytes.Buffer
	w := NewStreamWriter(&b, nonce, toGuest)
	for i := range n {
		if err := w.WriteChunk(Chunk{Kind: ChunkOut, Data: fmt.Appendf(nil, "%d\x00\n@bkc:", i)}); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, bytes.Clone(b.Bytes()))
		b.Reset()
	}
	return frames
}

func TestChunks(t *testing.T) {
	const nonce = "n"
	f := chunkFrames(t, nonce, false, 100)
	other := NewStreamWriter(&bytes.Buffer{}, nonce, false)
	var forged bytes.Buffer
	other.w = &forged
	if err := other.WriteChunk(Chunk{Kind: ChunkOut, Data: []byte("another")}); err != nil {
		t.Fatal(err)
	}
	pick := func(at ...int) (all [][]byte) {
		for _, i := range at {
			all = append(all, f[i])
		}
		return all
	}
	for _, tt := range []struct {
		name   string
		frames [][]byte
		want   int // chunks, from the first on
		lost   bool
		forged int
		bad    int
	}{
		{name: "in order", frames: f, want: 100},
		{name: "each twice", frames: pick(0, 0, 1, 1, 2, 2), want: 3},
		{name: "by two lines", frames: pick(1, 0, 3, 2), want: 4},
		{name: "one missing", frames: pick(0, 2, 3), want: 1, lost: true},
		{name: "the last missing", frames: pick(0, 1), want: 2},
		{name: "too many behind a missing one", frames: f[1:], want: 0, lost: true},
		{name: "of the other direction", frames: chunkFrames(t, nonce, true, 2), bad: 2},
		{name: "of another VM", frames: chunkFrames(t, "m", false, 2), bad: 2},
		{name: "forged", frames: [][]byte{f[0], forged.Bytes()}, want: 1, forged: 1},
		{name: "behind a kernel message", frames: [][]byte{append([]byte("[    1.0] x @bkc:1 "), f[0]...)}, want: 1},
		{name: "damaged", frames: [][]byte{f[0][:len(f[0])-9], []byte("\n")}, bad: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := 0
			c := NewCollector(nonce, func(r Record) { t.Errorf("record %+v", r) })
			c.OnChunk(false, func(ch Chunk) {
				if want := fmt.Sprintf("%d\x00\n@bkc:", got); string(ch.Data) != want {
					t.Errorf("chunk %d holds %q", got, ch.Data)
				}
				got++
			})
			line := c.Stream()
			for _, frame := range tt.frames {
				_, _ = line.Write(frame)
			}
			n, lost := c.Chunks()
			records, stats, err := c.Records()
			if got != tt.want || n != uint64(tt.want) || lost != tt.lost || err != nil || len(records) != 0 || stats.Lost != 0 || stats.Forged != tt.forged || stats.Bad != tt.bad {
				t.Errorf("%d chunks, lost %v, stats %+v, %v", n, lost, stats, err)
			}
		})
	}
}

// The number of chunks is no matter of MaxRecords, and records go on beside them.
func TestChunksAreNoRecords(t *testing.T) {
	const nonce = "n"
	c := NewCollector(nonce, nil)
	bytesSeen := 0
	c.OnChunk(false, func(ch Chunk) { bytesSeen += len(ch.Data) })
	line := c.Stream()
	chunks, records := NewStreamWriter(line, nonce, false), NewWriter(line, nonce)
	for range MaxRecords + 10 {
		if err := chunks.WriteChunk(Chunk{Kind: ChunkOut, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := records.Write(Record{Type: TypeEnd, End: &End{}}); err != nil {
		t.Fatal(err)
	}
	got, stats, err := c.Records()
	if n, lost := c.Chunks(); n != MaxRecords+10 || lost || bytesSeen != MaxRecords+10 || err != nil || len(got) != 1 || stats.Lost > 0 {
		t.Errorf("%d chunks, %d bytes, lost %v, %d records, %+v, %v", n, bytesSeen, lost, len(got), stats, err)
	}
	if len(c.stream.ahead) != 0 {
		t.Error("chunks are kept")
	}
}

func TestStripTakesChunksOut(t *testing.T) {
	f := chunkFrames(t, "n", false, 2)
	var b bytes.Buffer
	s := Strip(&b, "n")
	fmt.Fprintf(s, "before\n%s%safter\n", f[0], f[1])
	if err := s.Close(); err != nil || b.String() != "before\nafter\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// Whatever stands on the line, chunks come in order, and each once.
func FuzzChunks(f *testing.F) {
	frames := chunkFrames(f, "n", false, 8)
	f.Add([]byte{0, 1, 2}, "text\n")
	f.Add([]byte{2, 1, 0, 0, 7}, "@bkc:1 00000000 {}\n")
	f.Add([]byte{0, 9, 1}, "no end")
	f.Fuzz(func(t *testing.T, order []byte, text string) {
		var got []string
		c := NewCollector("n", nil)
		c.OnChunk(false, func(ch Chunk) { got = append(got, string(ch.Data)) })
		line := c.Stream()
		sent := map[int]bool{}
		for _, i := range order {
			if int(i) < len(frames) {
				_, _ = line.Write(append([]byte("\n"), frames[i]...))
				sent[int(i)] = true
			} else {
				_, _ = line.Write([]byte(text))
			}
		}
		want := 0
		for sent[want] {
			want++
		}
		if len(got) != want || !slices.IsSortedFunc(got, strings.Compare) {
			t.Fatalf("got %q, want %d", got, want)
		}
	})
}
