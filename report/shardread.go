package report

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
)

// maxShardFile is the largest shard file in bytes.
const maxShardFile = 128 << 20

// ShardFile is what a shard file says.
type ShardFile struct {
	Plan    Plan
	Kernels []Result // results, in the order of the file; one at most for each id of the plan

	// Problem says why the file is not complete, in one line; it is empty for a
	// file that ends with an end record that agrees with all that is before it.
	Problem string
	// Damaged says that the problem is none that an interrupted run leaves. What
	// passed according to such a file has not been shown to pass.
	Damaged bool
}

// errCut says that a file ends where an interrupted run has left it.
type errCut struct{ error }

// ReadShardFile reads a shard file from a hostile place. An error means that
// its plan cannot be read, so that nothing is known of whose results they are.
// Else the file holds what was read before the first problem.
func ReadShardFile(r io.Reader) (*ShardFile, error) {
	lines := &lineReader{r: bufio.NewReaderSize(io.LimitReader(r, maxShardFile+1), 64<<10), sum: sha256.New()}
	f := &ShardFile{}
	if err := f.readPlan(lines); err != nil {
		return nil, err
	}
	if err := f.readResults(lines); err != nil {
		var cut errCut
		f.Problem, f.Damaged = OneLine(err.Error(), 500), !errors.As(err, &cut)
	}
	return f, nil
}

func (f *ShardFile) readPlan(lines *lineReader) error {
	b, err := lines.next()
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("it is empty")
	case err != nil:
		return err
	}
	if err := CheckJSON(b); err != nil {
		return fmt.Errorf("line 1 is no record: %w", err)
	}
	// A plan of another schema is told apart from what is no plan.
	var head struct {
		Type string
		Plan *struct{ Schema any }
	}
	if err := json.Unmarshal(b, &head); err != nil || head.Type != "plan" || head.Plan == nil {
		return errors.New("line 1 is no plan record: it is no shard file")
	}
	if err := checkSchema(head.Plan.Schema, Schema); err != nil {
		return err
	}
	l, err := decodeLine(b)
	if err != nil {
		return fmt.Errorf("line 1: %w", err)
	}
	f.Plan = *l.Plan
	return f.Plan.Check()
}

func (f *ShardFile) readResults(lines *lineReader) error {
	left := make(map[string]bool, len(f.Plan.Kernels))
	for _, id := range f.Plan.Kernels {
		left[id] = true
	}
	verdicts := map[string]int{}
	why := "the job was cut short"
	for {
		before := digest(lines.sum)
		b, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return errCut{fmt.Errorf("it has no end record: %s after %d of %d kernels", why, len(f.Kernels), len(f.Plan.Kernels))}
		case err != nil:
			return err
		}
		l, err := decodeLine(b)
		if err != nil {
			return fmt.Errorf("line %d: %w", lines.n, err)
		}
		switch l.Type {
		case "kernel":
			k := l.Kernel
			if err := k.Check(); err != nil {
				return fmt.Errorf("line %d: %w", lines.n, err)
			}
			if err := errors.Join(f.Plan.allows(k), f.Plan.reuses(k)); err != nil {
				return fmt.Errorf("line %d: %w", lines.n, err)
			}
			if !left[k.ID] {
				return fmt.Errorf("line %d: kernel %s is not in its plan, or has a result already", lines.n, k.ID)
			}
			delete(left, k.ID)
			verdicts[k.Verdict.String()]++
			f.Kernels = append(f.Kernels, *k)
		case "cut":
			if why = OneLine(l.Cut.Reason, 500); why == "" {
				return fmt.Errorf("line %d: it was cut for no reason", lines.n)
			}
		case "end":
			e := l.End
			switch {
			case e.Digest != before:
				return errors.New("its end record's digest is not that of its bytes: it was changed after it was written")
			case e.Kernels != len(f.Kernels) || !maps.Equal(e.Verdicts, verdicts):
				return fmt.Errorf("its end record counts %d kernels, and it holds %d, or they count other verdicts", e.Kernels, len(f.Kernels))
			case len(left) > 0:
				return fmt.Errorf("it has an end record, and results of %d kernels of its plan are not in it", len(left))
			}
			if _, err := lines.next(); !errors.Is(err, io.EOF) {
				return errors.New("it goes on after its end record")
			}
			return nil
		default:
			return fmt.Errorf("line %d is a second plan", lines.n)
		}
	}
}

// decodeLine decodes a record that has what its type says, and nothing else.
func decodeLine(b []byte) (Record, error) {
	var l Record
	if err := decode(b, &l); err != nil {
		return Record{}, err
	}
	has := map[string]bool{"plan": l.Plan != nil, "kernel": l.Kernel != nil, "end": l.End != nil, "cut": l.Cut != nil}
	if _, known := has[l.Type]; !known {
		return Record{}, fmt.Errorf("a record of unknown type %.50q", l.Type)
	}
	for t, ok := range has {
		if ok != (t == l.Type) {
			return Record{}, fmt.Errorf("a record of type %q lacks it, or is of type %q too", l.Type, t)
		}
	}
	return l, nil
}

// lineReader reads lines and the digest of those that it has returned.
type lineReader struct {
	r     *bufio.Reader
	sum   hash.Hash
	n     int // of the line that was returned last
	total int
}

// next returns the next line without its newline. At the end of the file the
// error is io.EOF, after the beginning of a line it is errCut.
func (l *lineReader) next() ([]byte, error) {
	var b []byte
	l.n++
	for {
		part, err := l.r.ReadSlice('\n')
		b = append(b, part...)
		l.total += len(part)
		switch {
		case l.total > maxShardFile:
			return nil, fmt.Errorf("it has more than %d MiB", maxShardFile>>20)
		case len(b) > maxLine:
			return nil, fmt.Errorf("line %d has more than %d MiB", l.n, maxLine>>20)
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(b) == 0:
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			return nil, errCut{fmt.Errorf("line %d ends in its middle: the job was cut short", l.n)}
		case err != nil:
			return nil, fmt.Errorf("read: %w", err)
		default:
			_, _ = l.sum.Write(b) // a hash takes everything
			return bytes.TrimSuffix(b, []byte("\n")), nil
		}
	}
}

// reuses says whether a result of an earlier run is one that this run was
// allowed to take.
func (p *Plan) reuses(k *Result) error {
	if k.Reused != nil && p.Reuse <= 0 {
		return fmt.Errorf("kernel %s: its result is of an earlier run, and its plan takes none", k.ID)
	}
	return nil
}
