package report

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"time"
)

// Schema is the version of the shard file's format. A member that changes what
// the others mean is a new version; others may be added, and readers ignore
// those that they do not know.
const Schema = 1

// Plan is a shard file's first record: what this shard was to do.
type Plan struct {
	Schema    int      `json:"schema"`
	Tool      string   `json:"tool" limit:"word"`        // version of this program
	List      string   `json:"list_digest" limit:"word"` // of the whole list, over all shards
	Algorithm string   `json:"algorithm" limit:"word"`   // how the list was cut
	Shard     int      `json:"shard"`                    // from 1
	Shards    int      `json:"shards"`
	RunID     string   `json:"run_id,omitempty" limit:"word"`
	Attempt   int      `json:"attempt"` // from 1
	HeadSHA   string   `json:"head_sha,omitempty" limit:"word"`
	Payload   string   `json:"payload,omitempty" limit:"word"` // digest of what was run in the guests
	Arch      string   `json:"arch" limit:"word"`
	Kernels   []string `json:"kernels" limit:"100000"` // ids this shard must boot

	// Program is the name of the one program of this shard file where several
	// calls, each with another program, are joined; "" where they are not.
	Program string `json:"program,omitempty" limit:"word"`

	Gone    []string `json:"gone,omitempty" limit:"100000"`     // ids that are in no shard: their servers have lost them
	LeftOut []string `json:"left_out,omitempty" limit:"100000"` // as in PlanFile
	Known   []string `json:"known,omitempty" limit:"100000"`    // as in PlanFile

	// Represented are not booted, each since a kernel of its kind is. They are those
	// of all shards.
	Represented []Represented `json:"represented,omitempty" limit:"100000"`

	Allow []AllowEntry `json:"allow_splats,omitempty" limit:"1000"` // splats that are no crash

	Content string `json:"payload_content,omitempty" limit:"word"` // digest of the payload's files; jobs that each build it differ in it

	Expect string `json:"expected_failures,omitempty" limit:"word"` // digest of the failures that are expected
	Repeat int    `json:"repeat,omitempty" limit:"1000"`            // how often each kernel is run; 0: once

	Rerun   int  `json:"rerun_failed_tests,omitempty" limit:"10"` // how often the failed tests run again
	FlakyOK bool `json:"flaky_ok,omitempty"`                      // a test that passes then is no failure

	// Reuse is how old a pass of an earlier run may be that stands for a VM of
	// the same bytes; 0: every kernel is booted.
	Reuse time.Duration `json:"reuse_ns,omitempty" limit:"2592000000000000"` // MaxReuseDays
}

// Cut says why a run ended before its kernels were done. Records may follow it
// when the run was taken up again.
type Cut struct {
	Reason string `json:"reason"` // one line
}

// End is a shard file's last record. Without it the shard was cut short.
type End struct {
	Kernels  int            `json:"kernels"`
	Verdicts map[string]int `json:"verdicts"`
	Digest   string         `json:"digest"` // "sha256:<hex>" of all bytes before this record
}

// maxLine is the longest record in bytes, newline included.
const maxLine = 32 << 20

var errLongLine = fmt.Errorf("the record has more than %d MiB", maxLine>>20)

// Record is one line of a shard file, of the type that it names.
type Record struct {
	Type   string  `json:"type"`
	Plan   *Plan   `json:"plan,omitempty"`
	Kernel *Result `json:"kernel,omitempty"`
	End    *End    `json:"end,omitempty"`
	Cut    *Cut    `json:"cut,omitempty"`
}

// ShardFileName is a name for people; a shard file's identity is its content.
func (p Plan) ShardFileName() string {
	return fmt.Sprintf("shard-%03d-of-%03d.attempt-%d.ndjson", p.Shard, p.Shards, p.Attempt)
}

// ShardWriter appends to a shard file. Each record is on disk when its call
// returns, so that a killed job leaves what it knew, and so does a machine that
// loses its power: that costs milliseconds after a boot of seconds.
type ShardWriter struct {
	f        *os.File
	sum      hash.Hash // of the size bytes that the file has
	end      End
	known    map[string]bool // kernels of the plan without a result
	size     int64
	pending  [][]byte // whole lines that the disk did not take yet
	finished bool     // the file has its end record
}

func newShardWriter(p Plan) *ShardWriter {
	w := &ShardWriter{sum: sha256.New(), end: End{Verdicts: map[string]int{}}, known: map[string]bool{}}
	for _, id := range p.Kernels {
		w.known[id] = true
	}
	return w
}

// count takes a result into the end record.
func (w *ShardWriter) count(k Result) {
	delete(w.known, k.ID)
	w.end.Kernels++
	w.end.Verdicts[k.Verdict.String()]++
}

// CreateShardFile starts the shard file of a plan in dir.
func CreateShardFile(dir string, p Plan) (*ShardWriter, error) {
	f, err := os.OpenFile(filepath.Join(dir, p.ShardFileName()), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create the shard file: %w", err)
	}
	w := newShardWriter(p)
	w.f = f
	p.Schema = Schema
	b, err := encodeLine(Record{Type: "plan", Plan: &p})
	if err == nil {
		err = w.write(b)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write to the shard file: %w", err)
	}
	return w, nil
}

// Kernel appends one result. One that is larger than a shard file takes is cut:
// the verdict and its cause are always written. A pass that something in the
// result speaks against is an error.
func (w *ShardWriter) Kernel(k Result) error {
	if !w.known[k.ID] {
		return fmt.Errorf("result of kernel %q, which is not in the plan or has one already", k.ID)
	}
	if err := k.contradiction(); err != nil {
		return fmt.Errorf("kernel %s: %w", k.ID, err)
	}
	k = k.Truncated()
	if err := k.Check(); err != nil {
		return err
	}
	b, err := encodeLine(Record{Type: "kernel", Kernel: &k})
	if errors.Is(err, errLongLine) {
		k = k.withoutDetails(err)
		b, err = encodeLine(Record{Type: "kernel", Kernel: &k})
	}
	if err != nil {
		return fmt.Errorf("write to the shard file: %w", err)
	}
	w.count(k)
	w.pending = append(w.pending, b)
	_ = w.flush() // what a full disk does not take now is tried again, at last by Close
	return nil
}

// Cut says why the kernels that have no result have none.
func (w *ShardWriter) Cut(reason string) error {
	b, err := encodeLine(Record{Type: "cut", Cut: &Cut{Reason: OneLine(reason, 500)}})
	if err != nil {
		return fmt.Errorf("write to the shard file: %w", err)
	}
	w.pending = append(w.pending, b)
	_ = w.flush() // as in Kernel
	return nil
}

// Close appends the end record, unless complete is false, and closes the file.
// Close appends the end record, unless complete is false or results are not in
// the file, and closes it. An error means that results could not be written.
func (w *ShardWriter) Close(complete bool) error {
	if w.finished {
		return nil
	}
	err := w.flush()
	if complete && err == nil && len(w.known) == 0 {
		var b []byte
		w.end.Digest = digest(w.sum)
		if b, err = encodeLine(Record{Type: "end", End: &w.end}); err == nil {
			err = w.write(b)
		}
	}
	if err != nil {
		err = fmt.Errorf("write to the shard file: %w", err)
	}
	return errors.Join(err, w.f.Close())
}

// flush writes the lines that wait.
func (w *ShardWriter) flush() error {
	for len(w.pending) > 0 {
		if err := w.write(w.pending[0]); err != nil {
			return err
		}
		w.pending = w.pending[1:]
	}
	return nil
}

// write appends a line, whole or not at all: the next one must not follow a
// torn one.
func (w *ShardWriter) write(b []byte) error {
	_, err := w.f.Write(b)
	if err == nil {
		err = w.f.Sync()
	}
	if err != nil {
		return errors.Join(err, w.f.Truncate(w.size))
	}
	_, _ = w.sum.Write(b) // a hash takes everything
	w.size += int64(len(b))
	return nil
}

// encodeLine makes a record's line, newline included.
func encodeLine(l Record) ([]byte, error) {
	b, err := json.Marshal(l)
	b = append(b, '\n')
	if err == nil && len(b) > maxLine {
		err = errLongLine
	}
	return b, err
}

func digest(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }
