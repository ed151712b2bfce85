package wire

import "io"

// TypeStream is the type of the records that carry what a program of a job with
// Stream reads and writes while it runs. They are frames like the others, on the
// same line, in both directions, and each direction numbers its own: there can be
// any number of them, and they are no part of the report.
const TypeStream = "stream"

// Kinds of a Chunk. The last two are the host's.
const (
	ChunkStart  = "start" // the program starts; always the guest's first. N is 1 where the guest reads what the host sends
	ChunkOut    = "out"   // Data of the program's standard output
	ChunkErr    = "err"   // and of its standard error
	ChunkTook   = "took"  // N bytes of standard input have been taken: there is room for as many more
	ChunkIn     = "in"    // Data of its standard input; without any, that is at its end
	ChunkSignal = "sig"   // send the program signal N
)

// Chunk is what a record of TypeStream holds.
type Chunk struct {
	Kind string `json:"kind"`
	N    int    `json:"n,omitempty"`
	Data []byte `json:"data,omitempty"` // at most MaxChunk bytes
}

// Limits of chunks.
const (
	MaxChunk    = 32 << 10 // bytes of a Chunk's Data
	InputWindow = 32 << 10 // bytes of standard input that the host sends before it hears that some were taken
	maxAhead    = 64       // chunks that are kept while one before them is missing
)

// HereDir is where a payload's archive holds the files of Job.Here.
const HereDir = "/.here"

// streamNonce seeds the checksums of one direction.
func streamNonce(nonce string, toGuest bool) string {
	if toGuest {
		return nonce + " to the guest"
	}
	return nonce + " to the host"
}

// NewStreamWriter is NewWriter for chunks. w has to keep the frames of several
// writers apart.
func NewStreamWriter(w io.Writer, nonce string, toGuest bool) *Writer {
	return NewWriter(w, streamNonce(nonce, toGuest))
}

// WriteChunk sends a chunk.
func (w *Writer) WriteChunk(c Chunk) error {
	return w.Write(Record{Type: TypeStream, Chunk: &c})
}

// streamed puts the chunks of one direction into order.
type streamed struct {
	nonce string
	each  func(Chunk)
	next  uint64
	ahead map[uint64]frame
	sum   uint32 // of the one before next
	lost  bool
}

// OnChunk has each called with every chunk of one direction, in order. It has to
// come before the first line does. A chunk that does not come holds up all that
// follow it.
func (c *Collector) OnChunk(toGuest bool, each func(Chunk)) {
	c.stream = &streamed{nonce: streamNonce(c.nonce, toGuest), each: each, ahead: map[uint64]frame{}}
}

// Chunks returns how many chunks came, in order, and whether any is known to be
// missing.
func (c *Collector) Chunks() (n uint64, lost bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stream == nil {
		return 0, false
	}
	return c.stream.next, c.stream.lost || len(c.stream.ahead) > 0
}

// chunk takes a line's chunk, if it has one.
func (c *Collector) chunk(line []byte) bool {
	if c.stream == nil {
		return false
	}
	f, seq, at := find(line, c.stream.nonce)
	if at < 0 || f.rec.Chunk == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stream
	switch _, have := s.ahead[seq]; {
	case seq+1 == s.next && f.sum != s.sum:
		c.stats.Forged++
	case seq < s.next || have: // sent twice
	case len(s.ahead) >= maxAhead:
		s.lost = true
	default:
		s.ahead[seq] = f
	}
	for !s.lost {
		f, ok := s.ahead[s.next]
		if !ok {
			break
		}
		delete(s.ahead, s.next)
		s.next, s.sum = s.next+1, f.sum
		s.each(*f.rec.Chunk)
	}
	return true
}
