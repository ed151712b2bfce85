package merge

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// Limits of what merge looks at.
const (
	maxEntries    = 1_000_000 // files and directories
	maxWalkDepth  = 64        // of directories
	maxShardFiles = 10_000
	maxShardBytes = 512 << 20 // of all shard files
	maxZip        = 256 << 20 // bytes of an artifact that is still packed
)

// shardFileSuffix is what names of shard files end in. It is all that a name
// says: who a file is of stands in it.
const shardFileSuffix = ".ndjson"

// Collected is what was found in directories of artifacts. Close it when the
// evidence has been copied.
type Collected struct {
	Files    []*File
	Problems []string // what could not be read, one line each: it may have been a shard's result

	closers []io.Closer
}

// File is a shard file that was found.
type File struct {
	*report.ShardFile
	Name string // where it was found, for people

	evidence evidence
}

// evidence is where the files of a shard file's results are.
type evidence struct {
	fs    fs.FS
	dir   string              // of the shard file, in fs
	files map[string]struct{} // the regular files below results directories of fs
	moved map[string]origin   // files that have another path in the merged result, by that
}

// origin is where a file is that has another path in the merged result.
type origin struct {
	evidence
	name string // as its shard file says
}

// InputError is a directory that cannot be searched: the user's to mend.
type InputError struct{ error }

func (e InputError) Unwrap() error { return e.error }

// Collect looks for shard files in directories, at any depth, and in zip files,
// as artifacts are when nobody has unpacked them. Links are not followed, and
// directories named results or verifier are not searched: what is in them comes
// from guests, who could write shard files too. The error is an *InputError.
func Collect(dirs ...string) (*Collected, error) {
	c := &Collected{}
	dirs, err := outermost(dirs)
	if err != nil {
		return nil, err
	}
	w := walker{c: c, entries: maxEntries, bytes: maxShardBytes}
	for _, dir := range dirs {
		if err := w.open(dir); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Close closes the directories and archives that evidence would come from.
func (c *Collected) Close() error {
	var err error
	for _, cl := range c.closers {
		err = errors.Join(err, cl.Close())
	}
	c.closers = nil
	return err
}

func (c *Collected) problem(format string, args ...any) {
	if len(c.Problems) < maxRefusals {
		c.Problems = append(c.Problems, report.OneLine(fmt.Sprintf(format, args...), 500))
	}
}

// outermost leaves out directories that are within others, so that no file is
// found twice.
func outermost(dirs []string) ([]string, error) {
	real := map[string]string{} // as it was given, by its own path
	for _, d := range dirs {
		r, err := filepath.EvalSymlinks(d)
		if err == nil {
			r, err = filepath.Abs(r)
		}
		switch {
		case d == "" || errors.Is(err, fs.ErrNotExist):
			return nil, &InputError{fmt.Errorf("%q does not exist: give a directory that holds shard files, such as download-artifact leaves", d)}
		case err != nil:
			return nil, &InputError{fmt.Errorf("look for shard files in %q: %w", d, err)}
		}
		if real[r] == "" {
			real[r] = d
		}
	}
	var out []string
	last := ""
	for _, r := range slices.SortedFunc(maps.Keys(real), func(a, b string) int { return strings.Compare(a+"/", b+"/") }) {
		if last == "" || !strings.HasPrefix(r+"/", strings.TrimSuffix(last, "/")+"/") {
			out, last = append(out, real[r]), r
		}
	}
	return out, nil
}

// walker is one search.
type walker struct {
	c       *Collected
	entries int   // that may still be looked at
	bytes   int64 // that may still be read
}

func (w *walker) open(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return &InputError{fmt.Errorf("look for shard files: %w", err)}
	}
	switch {
	case info.IsDir():
		root, err := os.OpenRoot(name)
		if err != nil {
			return &InputError{fmt.Errorf("look for shard files: %w", err)}
		}
		w.c.closers = append(w.c.closers, root)
		w.walk(root.FS(), name, false)
	case info.Mode().IsRegular() && strings.HasSuffix(name, ".zip"):
		f, err := os.Open(name)
		if err != nil {
			return &InputError{fmt.Errorf("look for shard files: %w", err)}
		}
		w.zip(f, name)
	default:
		return &InputError{fmt.Errorf("%q is no directory: give the one that holds the shard files, or a zip file", name)}
	}
	return nil
}

// walk searches a file system. Names are shown with prefix.
func (w *walker) walk(fsys fs.FS, prefix string, packed bool) {
	e := evidence{fs: fsys, files: map[string]struct{}{}}
	var found []string
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			w.c.problem("%s: %v", path.Join(prefix, p), err)
			return nil
		}
		if w.entries--; w.entries < 0 {
			return fmt.Errorf("more than %d files and directories", maxEntries)
		}
		switch {
		case d.IsDir() && strings.Count(p, "/") >= maxWalkDepth:
			w.c.problem("%s: directories are nested deeper than %d", path.Join(prefix, p), maxWalkDepth)
			return fs.SkipDir
		case !d.Type().IsRegular():
		case inEvidence(p):
			e.files[p] = struct{}{}
		case strings.HasSuffix(p, shardFileSuffix):
			found = append(found, p)
		case strings.HasSuffix(p, ".zip") && !packed:
			f, err := fsys.Open(p)
			if err != nil {
				w.c.problem("%s: %v", path.Join(prefix, p), err)
				return nil
			}
			w.zip(f, path.Join(prefix, p))
		}
		return nil
	})
	if err != nil {
		w.c.problem("%s: %v", prefix, err)
	}
	for _, p := range found {
		e.dir = path.Dir(p)
		w.read(e, p, path.Join(prefix, p))
	}
}

// inEvidence says whether a file lies in a directory that guests write to.
func inEvidence(p string) bool {
	for part := range strings.SplitSeq(path.Dir(p), "/") {
		if part == "results" || part == "verifier" {
			return true
		}
	}
	return false
}

func (w *walker) read(e evidence, p, name string) {
	if len(w.c.Files) == maxShardFiles {
		w.c.problem("%s: there are more than %d shard files", name, maxShardFiles)
		return
	}
	f, err := e.fs.Open(p)
	if err != nil {
		w.c.problem("%s: %v", name, err)
		return
	}
	defer f.Close()
	r := &io.LimitedReader{R: f, N: w.bytes + 1}
	sf, err := report.ReadShardFile(r)
	switch {
	case r.N == 0:
		w.c.problem("%s: the shard files have more than %d MiB together", name, maxShardBytes>>20)
		w.bytes = 0
		return
	case err != nil:
		w.c.problem("%s: %v", name, err)
	default:
		w.c.Files = append(w.c.Files, &File{ShardFile: sf, Name: report.OneLine(name, 300), evidence: e})
	}
	w.bytes = r.N - 1
}

// zip searches an archive, which Close closes.
func (w *walker) zip(f fs.File, name string) {
	w.c.closers = append(w.c.closers, f)
	ra, ok := f.(io.ReaderAt)
	info, err := f.Stat()
	if err == nil && !ok {
		err = errors.New("it cannot be read at will: unpack it")
	}
	if err == nil && info.Size() > maxZip {
		err = fmt.Errorf("it has more than %d MiB: unpack it", maxZip>>20)
	}
	var zr *zip.Reader
	if err == nil {
		zr, err = zip.NewReader(ra, info.Size())
	}
	if err != nil {
		w.c.problem("%s: %v", name, err)
		return
	}
	w.walk(zr, name, true)
}
