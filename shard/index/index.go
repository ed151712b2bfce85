// Package index keeps what is known of many kernels without booting them in one
// file, so that BPF objects can be held against kernels that are not there. The
// format is described in .github/docs/index.md.
package index

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/elastic/bpf-kernel-check/report"
)

// Facts is what is known of a kernel without booting it.
type Facts struct {
	Head

	BTF     []byte            // as in the kernel, not to be changed; empty: it has none
	Symbols string            // lines of package preflight, sorted; "": not known
	Config  map[string]string // build options without CONFIG_; nil: not known

	Modules    string // what the modules define: lines of package preflight, sorted
	AllModules bool   // these are all modules that there are
}

// Head is what an index says of a kernel before its facts are read.
type Head struct {
	ID      string `json:"id"`      // "debian/6.1.0-57-cloud-amd64__6.1.192-3"
	Digest  string `json:"digest"`  // that a source pins the kernel by, and all that is known of it
	Release string `json:"release"` // uname -r
	Arch    string `json:"arch"`    // as in GOARCH
}

// Version is that of the format, and of what is read of kernels: it is another
// one where a program reads more of them, or reads it otherwise.
const Version = "1"

const (
	name  = "BKIndex"
	magic = name + Version

	maxKernel    = 128 << 20 // bytes of a kernel's parts
	maxOptions   = 4 << 20   // bytes
	maxDirectory = 16 << 20  // bytes
	maxKernels   = 10_000
	maxDepth     = 16  // kernels that are read for one
	maxText      = 256 // bytes of a digest, release ...
	maxWindow    = 32 << 20
	keptLikes    = 4 // kernels that others are compressed with, in memory
	dictionary   = 1 // its number
)

// entry is a kernel in the directory of an index.
type entry struct {
	Head
	At         int64    `json:"at"`                   // where its parts start in the file
	Sizes      [4]int64 `json:"sizes"`                // of its parts, compressed
	Like       int      `json:"like,omitempty"`       // place in the directory, from 1, of the kernel whose parts are the dictionaries
	Renumbered bool     `json:"renumbered,omitempty"` // the BTF has the numbers of that kernel's
	AllModules bool     `json:"all_modules,omitempty"`

	depth int // kernels that are read before it
}

// parts are a kernel's BTF, symbols, what its modules define, and its options.
type parts [4][]byte

// Index is an open index. Its methods may be called from several goroutines.
type Index struct {
	file    *os.File
	path    string
	entries []entry
	heads   []Head
	at      map[string]int // by id

	mu     sync.Mutex
	recent []*liked // the last last

	onDamage func(error) // nil: nobody asks
	once     sync.Once
}

// liked is a kernel that others are compressed with.
type liked struct {
	parts
	n     int     // place in the directory, from 1
	keys  btfKeys // of one that is written, as
	depth int     // is
}

// FormatError says why a file is not an index that can be read.
type FormatError struct {
	Path    string
	Foreign bool // it is something else
	Reason  string
}

func (e *FormatError) Error() string {
	if e.Foreign {
		return fmt.Sprintf("%q is no index of kernels: bpf-kernel-check index makes one", e.Path)
	}
	return fmt.Sprintf("index %q %s: make it anew with bpf-kernel-check index", e.Path, e.Reason)
}

// Open opens the index in a file. A file that is none, is damaged or has another
// version is a *FormatError.
func Open(path string) (*Index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x := &Index{file: f, path: path, at: map[string]int{}}
	if err := x.open(); err != nil {
		f.Close()
		return nil, err
	}
	return x, nil
}

func (x *Index) damaged(err error) error {
	return &FormatError{Path: x.path, Reason: "is damaged (" + report.OneLine(err.Error(), 200) + ")"}
}

func (x *Index) open() error {
	info, err := x.file.Stat()
	if err != nil {
		return err
	}
	head, foot := make([]byte, len(magic)), make([]byte, 8+len(magic))
	if _, err := x.file.ReadAt(head, 0); err != nil || string(head[:len(name)]) != name {
		return &FormatError{Path: x.path, Foreign: true}
	}
	if string(head) != magic {
		return &FormatError{Path: x.path, Reason: "is of another version of this program"}
	}
	end := info.Size() - int64(len(foot))
	if _, err := x.file.ReadAt(foot, max(0, end)); err != nil || string(foot[8:]) != magic {
		return &FormatError{Path: x.path, Reason: "is cut short"}
	}
	at := int64(binary.LittleEndian.Uint64(foot))
	if at < int64(len(head)) || at > end || end-at > maxDirectory {
		return x.damaged(errors.New("its directory is nowhere"))
	}
	text, err := x.unpack(at, end-at, nil, maxDirectory)
	if err != nil {
		return x.damaged(err)
	}
	list := json.NewDecoder(bytes.NewReader(text))
	_, err = list.Token() // its bracket
	for err == nil && list.More() {
		var e entry
		if err = list.Decode(&e); err == nil {
			err = x.add(e, at)
		}
	}
	if err != nil {
		return x.damaged(err)
	}
	slices.SortFunc(x.heads, func(a, b Head) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

// add adds a kernel of the directory, which stands at end, and checks it.
func (x *Index) add(e entry, end int64) error {
	if err := report.CheckID(e.ID); err != nil {
		return err
	}
	for _, s := range []*string{&e.Digest, &e.Release, &e.Arch} {
		*s = report.OneLine(*s, maxText)
	}
	n := len(x.entries)
	if _, twice := x.at[e.ID]; twice || n == maxKernels {
		return fmt.Errorf("%s is one too many", e.ID)
	}
	nowhere := e.At < 0 || e.Like < 0 || e.Like > n || e.Renumbered && e.Like == 0
	left := min(end-e.At, maxKernel)
	for _, size := range e.Sizes {
		nowhere = nowhere || size < 0 || size > left
		left -= size
	}
	if nowhere {
		return fmt.Errorf("%s is nowhere", e.ID)
	}
	if e.Like > 0 {
		e.depth = x.entries[e.Like-1].depth + 1
	}
	if e.depth > maxDepth {
		return fmt.Errorf("%s is like too many", e.ID)
	}
	x.at[e.ID], x.entries, x.heads = n, append(x.entries, e), append(x.heads, e.Head)
	return nil
}

// Close closes the file.
func (x *Index) Close() error {
	if x == nil {
		return nil
	}
	return x.file.Close()
}

// OnDamage has f called with the first error of Facts, once: who asks for many
// kernels goes on without that one.
func (x *Index) OnDamage(f func(error)) {
	if x != nil {
		x.onDamage = f
	}
}

// Heads are the kernels of the index, in byte order of the ids.
func (x *Index) Heads() []Head {
	if x == nil {
		return nil
	}
	return x.heads
}

// Has says whether the index has a kernel of an id and a digest.
func (x *Index) Has(id, digest string) bool {
	if x == nil {
		return false
	}
	i, ok := x.at[id]
	return ok && x.entries[i].Digest == digest
}

// Facts returns what the index has of a kernel. It is nil without an error where
// the index has none of that id and digest.
func (x *Index) Facts(id, digest string) (*Facts, error) {
	if !x.Has(id, digest) {
		return nil, nil
	}
	e := &x.entries[x.at[id]]
	x.mu.Lock()
	by, err := x.like(e.Like)
	x.mu.Unlock()
	var p parts
	if err == nil {
		p, err = x.read(e, by)
	}
	if err != nil {
		err = x.damaged(fmt.Errorf("%s: %w", id, err))
		if x.onDamage != nil {
			x.once.Do(func() { x.onDamage(err) })
		}
		return nil, err
	}
	return &Facts{Head: e.Head, BTF: p[0], Symbols: string(p[1]), Modules: string(p[2]), Config: options(p[3]), AllModules: e.AllModules}, nil
}

// like reads the kernel of place n, that others are compressed with, or has it
// still. The lock is held.
func (x *Index) like(n int) (p parts, err error) {
	if n == 0 {
		return p, nil
	}
	for _, l := range x.recent {
		if l.n == n {
			return l.parts, nil
		}
	}
	e := &x.entries[n-1]
	by, err := x.like(e.Like)
	if err != nil {
		return p, err
	}
	if p, err = x.read(e, by); err == nil {
		x.recent = keep(x.recent, &liked{parts: p, n: n})
	}
	return p, err
}

// read reads a kernel's parts, which are compressed with those of another.
func (x *Index) read(e *entry, by parts) (p parts, err error) {
	at, left := e.At, maxKernel
	for i, size := range e.Sizes {
		if p[i], err = x.unpack(at, size, by[i], left); err != nil {
			return p, err
		}
		at, left = at+size, left-len(p[i])
	}
	if len(p[3]) > maxOptions {
		return p, fmt.Errorf("it has %d bytes of options", len(p[3]))
	}
	if e.Renumbered {
		p[0], err = unnumber(p[0], len(by[0]))
	}
	return p, err
}

// keep adds a kernel to the last that others are compressed with.
func keep(list []*liked, l *liked) []*liked {
	if len(list) == keptLikes {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, l)
}

// unpack reads what pack has packed, at most so many bytes.
func (x *Index) unpack(at, size int64, by []byte, most int) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	b := make([]byte, size)
	if _, err := x.file.ReadAt(b, at); err != nil {
		return nil, err
	}
	o := []zstd.DOption{zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(1, most))), zstd.WithDecoderMaxWindow(maxWindow)}
	if len(by) > 0 {
		o = append(o, zstd.WithDecoderDictRaw(dictionary, by))
	}
	zr, err := zstd.NewReader(nil, o...)
	if err != nil {
		return nil, err
	}
	defer zr.Close()
	return zr.DecodeAll(b, nil)
}

// options are those of a kernel's configuration that lines write.
func options(b []byte) map[string]string {
	if len(b) == 0 {
		return nil
	}
	list := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		list[name] = value
	}
	return list
}

// Write writes an index of kernels. next returns them one after the other, and
// io.EOF after the last; it is quick and small where those that are alike come
// near each other.
func Write(w io.Writer, next func() (*Facts, error)) error {
	out := &writer{w: bufio.NewWriter(w), ids: map[string]bool{}}
	out.write([]byte(magic))
	for {
		f, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = out.add(f)
		}
		if err != nil {
			return err
		}
	}
	text, err := json.Marshal(out.entries)
	if err != nil {
		return err
	}
	b, err := pack(text, nil)
	if err != nil {
		return err
	}
	at := out.at
	out.write(b)
	out.write(binary.LittleEndian.AppendUint64(nil, uint64(at)))
	out.write([]byte(magic))
	return out.w.Flush()
}

// WriteOne writes the index of one kernel.
func WriteOne(w io.Writer, f *Facts) error {
	return Write(w, func() (one *Facts, err error) {
		if one, f = f, nil; one == nil {
			err = io.EOF
		}
		return one, err
	})
}

// ReadOne reads an index of one kernel.
func ReadOne(path string) (*Facts, error) {
	x, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer x.Close()
	if len(x.heads) != 1 {
		return nil, x.damaged(fmt.Errorf("it has %d kernels", len(x.heads)))
	}
	return x.Facts(x.heads[0].ID, x.heads[0].Digest)
}

type writer struct {
	w       *bufio.Writer // whose errors come when it is flushed
	at      int64
	entries []entry
	ids     map[string]bool
	likes   []*liked // the last last
}

func (w *writer) write(b []byte) {
	n, _ := w.w.Write(b)
	w.at += int64(n)
}

// maxOff is how many types may be others than those of the kernel that one is
// compressed with, or stand elsewhere, before the next ones are compared with this
// one, too: in a series some hundreds do, and with another compiler or
// configuration 20,000 and more.
const maxOff = 4096

func (w *writer) add(f *Facts) error {
	if err := report.CheckID(f.ID); err != nil {
		return err
	}
	if w.ids[f.ID] || len(w.entries) == maxKernels {
		return fmt.Errorf("kernel %s is one too many", f.ID)
	}
	w.ids[f.ID] = true
	own := &liked{parts: parts{f.BTF, []byte(f.Symbols), []byte(f.Modules), lines(f.Config)}, n: len(w.entries) + 1, keys: readKeys(f.BTF)}
	e := entry{Head: f.Head, At: w.at, AllModules: f.AllModules}
	from, by := own.parts, parts{}
	like, types, off := w.nearest(own.keys)
	if off > maxOff && like != nil && like.depth == maxDepth-1 {
		like = nil // or none could be compressed with this one
	}
	if like != nil {
		e.Like, own.depth, by = like.n, like.depth+1, like.parts
		if b := renumber(f.BTF, types, own.keys.alignStrings(like.keys), len(by[0])); b != nil {
			from[0], e.Renumbered = b, true
		}
	}
	if off > maxOff {
		w.likes = keep(w.likes, own)
	}
	size := 0
	for _, p := range from {
		size += len(p)
	}
	if size > maxKernel || len(from[3]) > maxOptions {
		return fmt.Errorf("kernel %s takes %d bytes, and its options %d: an index has no place for it", f.ID, size, len(from[3]))
	}
	var packed parts
	var packing errgroup.Group
	for i, p := range from {
		packing.Go(func() (err error) {
			packed[i], err = pack(p, by[i])
			return err
		})
	}
	if err := packing.Wait(); err != nil {
		return err
	}
	for i, b := range packed {
		w.write(b)
		e.Sizes[i] = int64(len(b))
	}
	w.entries = append(w.entries, e)
	return nil
}

// nearest returns the kernel that one is most like, nil where there is none; the
// types that are the same; and how many are not or stand elsewhere. Later ones stand
// behind more kernels that are read first: they must be a quarter better.
func (w *writer) nearest(keys btfKeys) (best *liked, types []run, least int) {
	least = math.MaxInt
	for _, l := range w.likes {
		if runs, off := keys.alignTypes(l.keys); off < least-least/4 && l.depth < maxDepth {
			best, types, least = l, runs, off
		}
	}
	return best, types, least
}

// lines writes a kernel's options.
func lines(config map[string]string) []byte {
	var b []byte
	for _, name := range slices.Sorted(maps.Keys(config)) {
		b = append(b, name+"="+config[name]+"\n"...)
	}
	return b
}

// pack compresses b by what it is like.
func pack(b, by []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, nil
	}
	o := []zstd.EOption{zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(maxWindow)}
	if len(by) > 0 {
		o = append(o, zstd.WithEncoderDictRaw(dictionary, by))
	}
	zw, err := zstd.NewWriter(nil, o...)
	if err != nil {
		return nil, err
	}
	return zw.EncodeAll(b, nil), zw.Close()
}
