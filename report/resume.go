package report

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Resumed is what an interrupted run has left of a plan, as FindResumed read
// it. Nobody else may write to the shard file meanwhile.
type Resumed struct {
	Name     string   // of the shard file
	Kernels  []Result // their results, in the order of the file
	Finished bool     // the file has its end record

	dir   string
	plan  Plan
	lines []byte // of the file, whole; a last one that is torn is left out
	other bool   // the file is of an earlier attempt
}

// ErrNotResumed is wrapped by the error about a shard file that is there and
// cannot be gone on with.
var ErrNotResumed = errors.New("cannot be resumed")

// FindResumed looks in dir for what an interrupted run of the plan has left: in
// the plan's own shard file or, where the plan is a later attempt of the same
// run, in that of the last attempt before it that did not end. It returns nil
// when there is nothing. A shard file of another run, as a CI system numbers
// them, is none of ours; one of the same run and of something else in it, and
// one that was damaged, is an error that wraps ErrNotResumed.
func FindResumed(dir string, p Plan) (*Resumed, error) {
	p.Schema = Schema
	for attempt := p.Attempt; attempt > max(0, p.Attempt-maxAttemptsBack); attempt-- {
		of := p
		of.Attempt = attempt
		r, err := readResumed(dir, of)
		switch {
		case err != nil:
			return nil, err
		case r == nil:
			continue
		case attempt == p.Attempt:
			return r, nil
		case r.Finished:
			return nil, nil // who runs it again wants it run again
		}
		r.plan, r.other = p, true
		return r, nil
	}
	return nil, nil
}

// maxAttemptsBack is how many attempts before its own a run looks for results.
const maxAttemptsBack = 100

// readResumed reads one shard file. It returns nil for one that is not there,
// holds nothing yet, or belongs to another run.
func readResumed(dir string, p Plan) (*Resumed, error) {
	name := p.ShardFileName()
	refuse := func(why string) error {
		return fmt.Errorf("%s %w: %s: run what it is of, or without --resume to start anew", name, ErrNotResumed, why)
	}
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && info.Size() > maxShardFile {
		return nil, refuse(fmt.Sprintf("it has more than %d MiB", maxShardFile>>20))
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read the shard file to resume: %w", err)
	}
	// A record counts when its line is whole: the end of the line is what is
	// written last.
	b = b[:bytes.LastIndexByte(b, '\n')+1]
	if len(b) == 0 {
		return nil, nil
	}
	f, err := ReadShardFile(bytes.NewReader(b))
	if err != nil {
		return nil, refuse(err.Error())
	}
	if f.Plan.RunID != p.RunID {
		return nil, nil
	}
	if d := p.differences(f.Plan); len(d) > 0 {
		return nil, refuse("it is of something else: " + strings.Join(d, "; "))
	}
	if f.Damaged {
		return nil, refuse(f.Problem)
	}
	return &Resumed{Name: name, Kernels: f.Kernels, Finished: f.Problem == "", dir: dir, plan: p, lines: b}, nil
}

// reruns says how often failed tests run again, and what it means if they pass.
func (p Plan) reruns() string {
	s := fmt.Sprintf("%d reruns", p.Rerun)
	if p.FlakyOK {
		s += ", flaky is ok"
	}
	return s
}

// differences says in what an older plan is another one, for people.
func (p Plan) differences(old Plan) []string {
	var d []string
	for _, x := range []struct{ what, was, is string }{
		{"the commit", old.HeadSHA, p.HeadSHA},
		{"the program", old.Program, p.Program},
		{"the payload", old.Payload, p.Payload},
		{"the content of the payload", old.Content, p.Content},
		{"the list of allowed splats", old.AllowDigest(), p.AllowDigest()},
		{"the list of expected failures", old.Expect, p.Expect},
		{"the number of repeats", strconv.Itoa(max(1, old.Repeat)), strconv.Itoa(max(1, p.Repeat))},
		{"what failed tests come to", old.reruns(), p.reruns()},
		{"the age up to which results are reused", old.Reuse.String(), p.Reuse.String()},
		{"the architecture", old.Arch, p.Arch},
		{"the list of kernels", old.List, p.List},
		{"how the list is cut", old.Algorithm, p.Algorithm},
		{"the shard", fmt.Sprintf("%d/%d", old.Shard, old.Shards), fmt.Sprintf("%d/%d", p.Shard, p.Shards)},
		{"the attempt", strconv.Itoa(old.Attempt), strconv.Itoa(p.Attempt)},
		{"the version of bpf-kernel-check", old.Tool, p.Tool},
	} {
		if x.was != x.is {
			d = append(d, fmt.Sprintf("%s was %s and is %s", x.what, short(x.was), short(x.is)))
		}
	}
	if len(d) == 0 && !slices.Equal(old.Kernels, p.Kernels) {
		d = append(d, fmt.Sprintf("it has %d kernels, and these are %d", len(old.Kernels), len(p.Kernels)))
	}
	if !slices.Equal(old.Represented, p.Represented) {
		d = append(d, "other kernels were represented")
	}
	return d
}

var digestRE = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// short shows a digest as people compare it, and whatever else a file says in
// one line.
func short(s string) string {
	switch {
	case s == "":
		return "none"
	case digestRE.MatchString(s):
		return s[:len("sha256:")+12]
	}
	return OneLine(s, 80)
}

// Resume goes on with the shard file. What stands in it stays to the byte; a
// torn last line is cut off. That of an earlier attempt stays as it is, and its
// results begin the file of this one.
func (r *Resumed) Resume() (*ShardWriter, error) {
	w := newShardWriter(r.plan)
	for _, k := range r.Kernels {
		w.count(k)
	}
	if r.Finished {
		w.finished = true
		return w, nil
	}
	path := filepath.Join(r.dir, r.plan.ShardFileName())
	if r.other {
		_, results, _ := bytes.Cut(r.lines, []byte("\n"))
		plan, err := encodeLine(Record{Type: "plan", Plan: &r.plan})
		if err != nil {
			return nil, fmt.Errorf("write to the shard file: %w", err)
		}
		r.lines = append(plan, results...)
		if err := writeWhole(path, r.lines); err != nil {
			return nil, fmt.Errorf("create the shard file: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		if err = f.Truncate(int64(len(r.lines))); err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("go on with the shard file: %w", err)
	}
	w.f, w.size = f, int64(len(r.lines))
	_, _ = w.sum.Write(r.lines) // a hash takes everything
	return w, nil
}

// writeWhole makes a file that is there with all its bytes or not at all.
func writeWhole(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".shard-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
