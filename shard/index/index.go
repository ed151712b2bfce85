// Package index keeps what is known of many kernels without booting them in one
// file, so that BPF objects can be held against kernels that are not there.
package index

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// Facts is what is known of a kernel without booting it.
type Facts struct {
	Head

	BTF     []byte            // as in the kernel; nil: it has none
	Symbols string            // lines of package preflight, sorted; "": not known
	Config  map[string]string // build options without CONFIG_; nil: not known

	Modules    string // what the modules define: lines of package preflight, sorted
	AllModules bool   // these are all modules that there are
	NoModules  bool   // nothing is known of the modules
}

// Head is what an index says of a kernel before its facts are read.
type Head struct {
	ID      string // "debian/6.1.0-57-cloud-amd64__6.1.192-3"
	Digest  string // that a source pins the kernel by
	Release string // uname -r
	Arch    string // as in GOARCH
}

// Index is an open index. Its methods may be called from several goroutines.
type Index struct {
	heads []Head
	facts []*Facts
}

// Write writes an index of kernels. next returns them one after the other, and
// io.EOF after the last.
func Write(w io.Writer, next func() (*Facts, error)) error {
	var all []*Facts
	for {
		f, err := next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		all = append(all, f)
	}
	zw, err := zstd.NewWriter(w)
	if err != nil {
		return err
	}
	if err := gob.NewEncoder(zw).Encode(all); err != nil {
		return err
	}
	return zw.Close()
}

// Open opens the index in a file.
func Open(path string) (*Index, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	zr, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer zr.Close()
	x := &Index{}
	if err := gob.NewDecoder(zr).Decode(&x.facts); err != nil {
		return nil, fmt.Errorf("index %s: %w", path, err)
	}
	for _, f := range x.facts {
		x.heads = append(x.heads, f.Head)
	}
	return x, nil
}

// Close closes the file.
func (x *Index) Close() error { return nil }

// Heads are the kernels of the index, in byte order of the ids.
func (x *Index) Heads() []Head { return x.heads }

// Facts returns what the index has of a kernel. It is nil without an error where
// the index has none of that id and digest; an empty digest is any.
func (x *Index) Facts(id, digest string) (*Facts, error) {
	if x == nil {
		return nil, nil
	}
	for _, f := range x.facts {
		if f.ID == id && (digest == "" || f.Digest == digest) {
			return f, nil
		}
	}
	return nil, nil
}
