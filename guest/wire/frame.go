package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
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
	w.mu.Lock()
	defer w.mu.Unlock()
	frame := fmt.Appendf(nil, "%s%d %08x %s\n", marker, w.seq, checksum(w.nonce, w.seq, body), body)
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

// Stats says what a Reader met besides good frames.
type Stats struct {
	Frames int // good frames, repeats not counted
	Bad    int // lines that carry the marker and no good frame
	Lost   int // sequence numbers that were passed over
}

// ErrTooMany is returned when a guest sends more than MaxRecords records.
var ErrTooMany = errors.New("more records than a run can have")

// Reader takes the records out of a byte stream, passing over everything else.
type Reader struct {
	src   io.Reader
	nonce string
	next  uint64
	stats Stats
	buf   []byte // unread bytes
	skip  bool   // inside an over-long line
	err   error
}

// NewReader reads frames made with nonce from r.
func NewReader(r io.Reader, nonce string) *Reader { return &Reader{src: r, nonce: nonce} }

// Stats returns the counts so far.
func (r *Reader) Stats() Stats { return r.stats }

// Next returns the next good record in order. It ends with io.EOF or with the
// source's error; damaged frames are counted, not returned.
func (r *Reader) Next() (Record, error) {
	for {
		line, err := r.line()
		if err != nil {
			return Record{}, err
		}
		rec, seq, ok := r.parse(line)
		if !ok || seq < r.next {
			continue // noise, or the repeat of a frame already had
		}
		r.stats.Lost += int(min(seq-r.next, MaxRecords))
		r.next = seq + 1
		r.stats.Frames++
		if r.stats.Frames > MaxRecords {
			return Record{}, ErrTooMany
		}
		return rec, nil
	}
}

func (r *Reader) parse(line []byte) (rec Record, seq uint64, ok bool) {
	// The last marker counts: a frame cut short by a kernel message may stand
	// before a whole one on the same line.
	i := bytes.LastIndex(line, []byte(marker))
	if i < 0 {
		return rec, 0, false
	}
	defer func() {
		if !ok {
			r.stats.Bad++
		}
	}()
	number, rest, ok1 := bytes.Cut(line[i+len(marker):], []byte(" "))
	sum, body, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || len(sum) != 8 {
		return rec, 0, false
	}
	seq, err := strconv.ParseUint(string(number), 10, 64)
	if err != nil {
		return rec, 0, false
	}
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if err != nil {
		return rec, 0, false
	}
	body = bytes.TrimRight(body, "\r")
	if checksum(r.nonce, seq, body) != uint32(want) || json.Unmarshal(body, &rec) != nil {
		return rec, 0, false
	}
	return rec, seq, true
}

// line returns the next line without its newline. What is longer than MaxLine
// is drained and counted as bad.
func (r *Reader) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(r.buf, '\n'); i >= 0 {
			line := r.buf[:i]
			r.buf = r.buf[i+1:]
			if r.skip {
				r.skip = false
				continue
			}
			return line, nil
		}
		if len(r.buf) > MaxLine {
			r.buf, r.skip = r.buf[:0], true
			r.stats.Bad++
		}
		if r.err != nil {
			return nil, r.err
		}
		chunk := make([]byte, 32<<10)
		n, err := r.src.Read(chunk)
		r.buf, r.err = append(r.buf, chunk[:n]...), err
	}
}
