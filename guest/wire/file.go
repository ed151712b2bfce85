package wire

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
	"time"
)

// Limits of the files that a payload leaves in the results directory.
const (
	MaxFileName    = 200       // bytes of a file's name
	MaxFileChunk   = 32 << 10  // bytes of one record, compressed
	MaxFileBytes   = 8 << 20   // bytes of one VM's files, compressed
	MaxFileRecords = 4096      // file records of one VM; as many of the files that init collects
	MaxFileSize    = 64 << 20  // bytes of one file, unpacked
	MaxFilesSize   = 256 << 20 // bytes of one VM's files, unpacked
)

// Limits of the files that init collects: an emulated serial line carries some
// 0.2 MB of them a second, and a shared console half of that.
const (
	MaxCollected      = 1000     // files of one VM
	MaxCollectedBytes = 16 << 20 // bytes of one VM's, compressed
	MaxCollectedNotes = 50       // of one VM
	CollectTime       = 2 * time.Minute
)

// FileRoot is the directory that names of a payload's own files begin with, and
// CollectRoot that of the files that init collects.
const (
	FileRoot    = "verifier"
	CollectRoot = "files"
)

// Names of collected files that no guest path has.
const (
	CoverProfileName = CollectRoot + "/coverage.out" // a Go coverage profile
	CoverDataDir     = CollectRoot + "/covdata"      // what a Go program leaves in GOCOVERDIR
	CoresDir         = CollectRoot + "/cores"        // core dumps, as gzip
)

// File is a piece of a file: the pieces' data, one after the other, is its
// content as gzip.
type File struct {
	Name  string `json:"name"`  // relative, see CheckFileName
	Chunk int    `json:"chunk"` // from 0, without gaps
	Last  bool   `json:"last,omitempty"`
	Data  []byte `json:"data"` // at most MaxFileChunk bytes

	Packed bool   `json:"packed,omitempty"` // it stays compressed
	Note   string `json:"note,omitempty"`   // what was not collected, and why, in one line; there is no file then
}

// Collected says whether a name is one of a file that init collects.
func Collected(name string) bool { return strings.HasPrefix(name, CollectRoot+"/") }

var (
	payloadName   = regexp.MustCompile(`^` + FileRoot + `(/[A-Za-z0-9_+][A-Za-z0-9._+-]*){1,3}$`)
	collectedName = regexp.MustCompile(`^` + CollectRoot + `(/[A-Za-z0-9_+][A-Za-z0-9._+~-]*){1,12}$`)
)

// CheckFileName says why a name is not one of a file below FileRoot: two to four
// components of letters, digits and "._+-" that begin with none of "." and "-",
// joined by slashes. Below CollectRoot there are two to 13, which can have a "~".
func CheckFileName(name string) error {
	switch {
	case len(name) <= MaxFileName && (payloadName.MatchString(name) || collectedName.MatchString(name)):
		return nil
	case Collected(name):
		return fmt.Errorf("file name %.250q: want %s/ and one to twelve parts of letters, digits and ._+~-, the first a letter or digit, %d bytes at most", name, CollectRoot, MaxFileName)
	}
	return fmt.Errorf("file name %.250q: want %s/ and one to three parts of letters, digits and ._+-, the first a letter or digit, %d bytes at most", name, FileRoot, MaxFileName)
}

// CollectedName is the name under which the file at an absolute path of the guest
// is collected. taken says, of names in lower case, which have been given: some
// file systems do not tell case apart. A name that is not the path itself ends
// with "~" and part of the path's digest, and so differs from all others.
func CollectedName(file string, taken func(lower string) bool) string {
	file = path.Clean("/" + file)
	parts := strings.Split(file[1:], "/")
	for i, p := range parts {
		parts[i] = SafeName(p)
	}
	name := CollectRoot + "/" + strings.Join(parts, "/")
	lower := strings.ToLower(name)
	own := lower == CoverProfileName || strings.HasPrefix(lower+"/", CoverDataDir+"/") || strings.HasPrefix(lower+"/", CoresDir+"/")
	if name == CollectRoot+file && !own && CheckFileName(name) == nil && !taken(lower) {
		return name
	}
	digest := fmt.Sprintf("~%x", sha256.Sum256([]byte(file)))[:13]
	if CheckFileName(name+digest) != nil {
		last := parts[len(parts)-1]
		name = CollectRoot + "/long/" + last[:min(len(last), 100)]
	}
	return name + digest
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

// FileBudget counts the files of one VM against the limits: a payload's own and
// those that are collected, each against their own. Both sides hold it.
type FileBudget struct{ payload, collected spent }

type spent struct{ records, bytes int }

// Take says whether a piece is within the limits, and counts it when it is.
func (b *FileBudget) Take(f *File) bool {
	s, most := &b.payload, MaxFileBytes
	if Collected(f.Name) || f.Note != "" {
		s, most = &b.collected, MaxCollectedBytes
	}
	if f.Chunk < 0 || len(f.Name) > MaxFileName || len(f.Data) > MaxFileChunk || s.records >= MaxFileRecords || s.bytes+len(f.Data) > most {
		return false
	}
	s.records++
	s.bytes += len(f.Data)
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
