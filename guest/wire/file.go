package wire

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"regexp"
)

// Limits of the files that a payload leaves in the results directory.
const (
	MaxFileName    = 200       // bytes of a file's name
	MaxFileChunk   = 32 << 10  // bytes of one record, compressed
	MaxFileBytes   = 8 << 20   // bytes of one VM's files, compressed
	MaxFileRecords = 4096      // file records of one VM
	MaxFileSize    = 64 << 20  // bytes of one file, unpacked
	MaxFilesSize   = 256 << 20 // bytes of one VM's files, unpacked
)

// FileRoot is the directory that every file's name begins with.
const FileRoot = "verifier"

// File is a piece of a file: the pieces' data, one after the other, is its
// content as gzip.
type File struct {
	Name  string `json:"name"`  // relative, see CheckFileName
	Chunk int    `json:"chunk"` // from 0, without gaps
	Last  bool   `json:"last,omitempty"`
	Data  []byte `json:"data"` // at most MaxFileChunk bytes
}

// CheckFileName says why a name is not one of a file below FileRoot: two to four
// components of letters, digits and "._+-" that begin with none of "." and "-",
// joined by slashes.
func CheckFileName(name string) error {
	ok := regexp.MustCompile(`^` + FileRoot + `(/[A-Za-z0-9_+][A-Za-z0-9._+-]*){1,3}$`)
	if len(name) > MaxFileName || !ok.MatchString(name) {
		return fmt.Errorf("file name %.250q: want %s/ and one to three parts of letters, digits and ._+-, the first a letter or digit, %d bytes at most", name, FileRoot, MaxFileName)
	}
	return nil
}

// SafeName replaces what may not stand in a part of a file's name. An empty
// name becomes "_".
func SafeName(s string) string {
	s = regexp.MustCompile(`[^A-Za-z0-9._+-]`).ReplaceAllLiteralString(s, "_")
	if s == "" || s[0] == '.' || s[0] == '-' {
		s = "_" + s
	}
	return s
}

// FileBudget counts the files of one VM against the limits. Both sides hold
// it.
type FileBudget struct {
	records int
	bytes   int
}

// Take says whether a piece is within the limits, and counts it when it is.
func (b *FileBudget) Take(f *File) bool {
	if f.Chunk < 0 || len(f.Name) > MaxFileName || len(f.Data) > MaxFileChunk || b.records >= MaxFileRecords || b.bytes+len(f.Data) > MaxFileBytes {
		return false
	}
	b.records++
	b.bytes += len(f.Data)
	return true
}

// maxOneFile is what a single file may take of the limit of all, compressed,
// so that one that is huge leaves room for the others.
const maxOneFile = MaxFileBytes / 4

// File reports a file. One that is too large, unpacked or compressed, loses
// its middle; an error says that there is no room for it at all, and the
// report as a whole is none the worse for it.
func (r *Reporter) File(name, content string) error {
	if err := CheckFileName(name); err != nil {
		return err
	}
	limit := MaxFileSize
	for {
		content = Truncate(content, limit)
		packed, err := pack(content)
		if err != nil {
			return fmt.Errorf("compress %s: %w", name, err)
		}
		if len(packed) <= maxOneFile {
			return r.sendFile(name, packed)
		}
		// Logs compress evenly: aim a little below the limit.
		limit = int(int64(len(content)) * maxOneFile / int64(len(packed)) * 9 / 10)
	}
}

func pack(content string) ([]byte, error) {
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	if _, err := io.WriteString(zw, content); err != nil {
		return nil, err
	}
	err := zw.Close()
	return b.Bytes(), err
}

func (r *Reporter) sendFile(name string, packed []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files+int64(len(packed)) > MaxFileBytes {
		return fmt.Errorf("no room for %s: the files of this VM take more than %d MiB", name, MaxFileBytes>>20)
	}
	r.files += int64(len(packed))
	for i := 0; ; i++ {
		n := min(len(packed), MaxFileChunk)
		f := &File{Name: name, Chunk: i, Last: n == len(packed), Data: packed[:n]}
		r.write(Record{Type: TypeFile, File: f})
		if packed = packed[n:]; f.Last {
			return r.err
		}
	}
}
