package merge

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
)

// Limits of what merge copies out of artifacts.
const (
	maxEvidence    = 65 << 20 // bytes of one file: the runner keeps 64 MiB of a console
	maxAllEvidence = 4 << 30  // bytes of all files
	maxProblems    = 10_000   // of a kernel that are noted
)

// CopyEvidence copies the consoles and files of a merged result's kernels from
// the artifacts of the shard files that they are from to the same paths below
// out. What is not there, or larger than it may be, is noted in the kernel's
// problems, and a console that is not there is taken out of its result.
func CopyEvidence(out *os.Root, m *report.Merged, from map[string]*File) {
	c := copier{out: out, left: maxAllEvidence}
	for i := range m.Kernels {
		if k := &m.Kernels[i]; from[k.ID] != nil {
			c.kernel(k, from[k.ID].evidence)
		}
	}
}

type copier struct {
	out  *os.Root
	left int64 // bytes that may still be copied
}

func (c *copier) kernel(k *report.Result, e evidence) {
	keep := func(name string) bool {
		kept, err := c.file(e, name)
		if err != nil && len(k.Problems) < maxProblems {
			k.Problems = append(k.Problems, report.OneLine(fmt.Sprintf("%s: %v", name, err), 500))
		}
		return kept
	}
	// The consoles of earlier attempts stand beside the last one.
	for n := 1; n < k.Attempts && k.Console != ""; n++ {
		name := fmt.Sprintf("results/%s.attempt-%d.txt", k.ID, n)
		if _, ok := e.files[path.Join(e.dir, name)]; ok {
			keep(name)
		}
	}
	consoles := []*string{&k.Console}
	for i := range k.History {
		consoles = append(consoles, &k.History[i].Console)
	}
	for _, console := range consoles {
		if *console != "" && !keep(*console) {
			*console = ""
		}
	}
	var files []string
	for _, name := range k.Files {
		if keep(name) {
			files = append(files, name)
		}
	}
	k.Files = files
	for i := range k.Programs {
		if p := &k.Programs[i]; p.Console != k.Console && !slices.Contains(files, p.Console) {
			p.Console = ""
		}
	}
}

// file copies one file, whose name check has found safe. It says whether there
// is a file now, which may be cut.
func (c *copier) file(e evidence, name string) (kept bool, err error) {
	source := name
	if o, ok := e.moved[name]; ok {
		e, source = o.evidence, o.name
	}
	source = path.Join(e.dir, source)
	if _, ok := e.files[source]; !ok {
		return false, errors.New("it is not in the artifact")
	}
	in, err := e.fs.Open(source)
	if err != nil {
		return false, err
	}
	defer in.Close()
	if c.same(in, name) {
		return true, nil
	}
	if err := c.out.MkdirAll(path.Dir(name), 0o755); err != nil {
		return false, err
	}
	tmp := path.Join(path.Dir(name), ".merge."+path.Base(name))
	dst, err := c.out.Create(tmp)
	if err != nil {
		return false, err
	}
	limit := min(c.left, maxEvidence)
	n, err := io.Copy(dst, io.LimitReader(in, limit))
	c.left -= n
	if err := errors.Join(err, dst.Close()); err != nil {
		return false, errors.Join(err, c.out.Remove(tmp))
	}
	if err := c.out.Rename(tmp, name); err != nil {
		return false, errors.Join(err, c.out.Remove(tmp))
	}
	if more, _ := in.Read(make([]byte, 1)); n == limit && more > 0 {
		return true, fmt.Errorf("cut after %d bytes: it, or all of them, are larger than they may be", n)
	}
	return true, nil
}

// same says whether a file is where it is to be copied to.
func (c *copier) same(in fs.File, name string) bool {
	a, aerr := in.Stat()
	b, berr := c.out.Stat(name)
	return aerr == nil && berr == nil && os.SameFile(a, b)
}
