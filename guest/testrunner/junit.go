package testrunner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/testrunner/output"
)

// junitFiles are the files in which a program leaves its JUnit XML.
type junitFiles struct {
	globs  []string // absolute
	before map[string]fileState
}

// fileState changes whenever a file is written to.
type fileState struct {
	dev, ino uint64
	size     int64
	changed  syscall.Timespec
}

func newJUnitFiles(globs []string) *junitFiles {
	j := &junitFiles{globs: globs, before: map[string]fileState{}}
	for _, path := range j.find() {
		if info, err := os.Stat(path); err == nil {
			j.before[path] = stateOf(info)
		}
	}
	return j
}

func stateOf(info fs.FileInfo) fileState {
	s := info.Sys().(*syscall.Stat_t)
	return fileState{dev: uint64(s.Dev), ino: s.Ino, size: s.Size, changed: s.Ctim}
}

func (j *junitFiles) find() (paths []string) {
	for _, glob := range j.globs {
		found, _ := filepath.Glob(glob) // patterns are checked before anything boots
		paths = append(paths, found...)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// late is how long files may still be written by a process that the program left
// behind, as bats does.
const late = 2 * time.Second

// await waits until the files have an end, or ctx has ended: then there is no time.
func (j *junitFiles) await(ctx context.Context) {
	for end := time.Now().Add(late); ctx.Err() == nil && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		n, cut := 0, false
		for _, path := range j.find() {
			if text, err := j.readFile(path, output.MaxXMLEnd); !errors.Is(err, errOld) {
				n++
				cut = cut || err == nil && !output.JUnitEnds(text)
			}
			if cut || n > output.MaxXMLFiles {
				break
			}
		}
		if n > 0 && !cut {
			return
		}
	}
}

// read gives the parser what the program wrote. A file that was there before, and is
// as it was, says nothing of this run.
func (j *junitFiles) read(ctx context.Context, p *output.Parser) {
	j.await(ctx)
	var old, total, n int
	for _, path := range j.find() {
		text, err := j.readFile(path, output.MaxXML)
		if errors.Is(err, errOld) {
			old++
			continue
		}
		n++
		total += len(text)
		switch {
		case err != nil:
			p.NoJUnit(fmt.Sprintf("%s: %s", path, err))
		case len(text) > output.MaxXML:
			p.NoJUnit(fmt.Sprintf("%s: it has more than %d MiB", path, output.MaxXML>>20))
		case n > output.MaxXMLFiles || total > output.MaxXMLs:
			p.NoJUnit(fmt.Sprintf("%s has more than %d files or %d MiB", strings.Join(j.globs, " "), output.MaxXMLFiles, output.MaxXMLs>>20))
			return
		default:
			p.ReadJUnit(path, text)
		}
	}
	switch what := strings.Join(j.globs, " "); {
	case n > 0:
	case old > 0:
		p.NoJUnit(what + " was there before the program started, and it did not write it")
	default:
		p.NoJUnit(what + " is not there: the program did not write it")
	}
}

var errOld = errors.New("it was there before")

// readFile returns the last bytes of a file, one more than most if there are more.
func (j *junitFiles) readFile(path string, most int64) ([]byte, error) {
	// Whoever opens a named pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, reason(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case j.before[path] == stateOf(info):
		return nil, errOld
	}
	if _, err := f.Seek(max(0, info.Size()-most-1), io.SeekStart); err != nil {
		return nil, reason(err)
	}
	return io.ReadAll(io.LimitReader(f, most+1))
}

// reason is an error without the path, which stands before it.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
