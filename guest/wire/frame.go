package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
)

// A frame is one line, so that it can share a console with other text:
//
//	@bkc:<sequence number> <crc32c, 8 hex digits> <record as JSON>\n
//
// The checksum covers nonce, sequence number and JSON. Numbers start at 0 and
// have no gaps.
const marker = "@bkc:"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(nonce string, seq uint64, body []byte) uint32 {
	c := crc32.Checksum([]byte(nonce+" "+strconv.FormatUint(seq, 10)+" "), castagnoli)
	return crc32.Update(c, castagnoli, body)
}

// Writer sends records as frames. Its methods may be called from several
// goroutines.
type Writer struct {
	mu    sync.Mutex
	w     io.Writer
	nonce string
	seq   uint64
	// Repeat is how often each frame is sent besides the first time. A console
	// that the kernel prints to as well needs one: a kernel message can land
	// in the middle of a frame.
	Repeat int
	// Escape, unless nil, rewrites a record's JSON before it is sent: to other
	// JSON that means the same.
	Escape func(body []byte) []byte
}

// NewWriter frames records for a host that knows nonce.
func NewWriter(w io.Writer, nonce string) *Writer { return &Writer{w: w, nonce: nonce} }

// Write sends one record. A record larger than MaxLine is refused, and its
// number is not used up.
func (w *Writer) Write(rec Record) error {
	body, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encode %s record: %w", rec.Type, err)
	}
	if w.Escape != nil {
		body = w.Escape(body)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	frame := make([]byte, 0, len(marker)+len(body)+64)
	frame = strconv.AppendUint(append(frame, marker...), w.seq, 10)
	frame = hex.AppendEncode(append(frame, ' '), binary.BigEndian.AppendUint32(nil, checksum(w.nonce, w.seq, body)))
	frame = append(append(append(frame, ' '), body...), '\n')
	if len(frame) > MaxLine {
		return fmt.Errorf("%s record has %d bytes, more than %d", rec.Type, len(frame), MaxLine)
	}
	w.seq++
	for range 1 + w.Repeat {
		if _, err := w.w.Write(frame); err != nil {
			return fmt.Errorf("send %s record: %w", rec.Type, err)
		}
	}
	return nil
}

// Stats says what a Collector met besides good frames.
type Stats struct {
	Frames int // good frames, repeats not counted
	Bad    int // lines that carry the marker and no good frame
	Lost   int // numbers below the highest that no good frame has
	Forged int // good frames whose number another frame has with other contents
}

// ErrTooMany is what Err returns when a guest sends more than MaxRecords
// records.
var ErrTooMany = errors.New("more records than a run can have")

// Collector takes the records out of the lines that come from one guest. A
// guest may send some of its frames on one line and some on another, such as
// when a payload has taken away the line that was meant for them.
type Collector struct {
	nonce string
	each  func(Record)

	mu     sync.Mutex
	frames map[uint64]frame
	next   uint64 // one more than the highest number
	stats  Stats
	err    error
	stream *streamed // nil: there are no chunks
}

type frame struct {
	sum uint32
	rec Record
}

// NewCollector collects frames made with nonce. each, unless nil, is called
// with every record when it first comes, in the order of arrival.
func NewCollector(nonce string, each func(Record)) *Collector {
	return &Collector{nonce: nonce, each: each, frames: map[uint64]frame{}}
}

// Records returns what has come so far, in the order it was sent.
func (c *Collector) Records() ([]Record, Stats, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	recs := make([]Record, 0, len(c.frames))
	for _, seq := range slices.Sorted(maps.Keys(c.frames)) {
		recs = append(recs, c.frames[seq].rec)
	}
	s := c.stats
	s.Lost = int(c.next) - len(c.frames)
	return recs, s, c.err
}

func (c *Collector) line(b []byte) {
	if !bytes.Contains(b, []byte(marker)) {
		return
	}
	if f, seq, at := find(b, c.nonce); at >= 0 {
		c.add(f, seq)
		return
	}
	if c.chunk(b) {
		return
	}
	c.mu.Lock()
	c.stats.Bad++
	c.mu.Unlock()
}

// find returns the good frame that a line ends with and where it starts, -1
// when there is none.
func find(b []byte, nonce string) (f frame, seq uint64, at int) {
	// More than one marker can stand in a line: a frame that a kernel message
	// cut short before a whole one, or one in the text that a frame carries.
	const maxTries = 16
	at = 0
	for range maxTries {
		next := bytes.Index(b[at:], []byte(marker))
		if next < 0 {
			break
		}
		at += next
		if f, seq, ok := parse(b[at:], nonce); ok {
			return f, seq, at
		}
		at += len(marker)
	}
	return frame{}, 0, -1
}

func (c *Collector) add(f frame, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, known := c.frames[seq]
	switch {
	case seq >= MaxRecords:
		c.err = ErrTooMany
	case known && old.sum != f.sum:
		// Someone else knows the nonce: neither can be believed.
		c.stats.Forged++
	case !known:
		c.frames[seq] = f
		c.next = max(c.next, seq+1)
		c.stats.Frames++
		if c.each != nil {
			c.each(f.rec)
		}
	}
}

// parse reads the frame that b starts with.
func parse(b []byte, nonce string) (f frame, seq uint64, ok bool) {
	number, rest, ok1 := bytes.Cut(b[len(marker):], []byte(" "))
	sum, body, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || len(sum) != 8 {
		return f, 0, false
	}
	seq, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return f, 0, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil {
		return f, 0, false
	}
	body = bytes.TrimRight(body, "\r")
	f.sum = uint32(want)
	if checksum(nonce, seq, body) != f.sum || json.Unmarshal(body, &f.rec) != nil {
		return f, 0, false
	}
	return f, seq, true
}

// Stream returns a writer for the bytes of one serial line. What stands on it
// besides frames is passed over. Writing never fails.
func (c *Collector) Stream() io.Writer {
	return &lineWriter{each: func(line []byte, long bool) {
		if !long {
			c.line(bytes.TrimSuffix(line, []byte("\n")))
		}
	}}
}
