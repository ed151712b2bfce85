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
	NoModules  bool   // nothing is known of the modules
}

// Head is what an index says of a kernel before its facts are read.
type Head struct {
	ID      string `json:"id"`      // "debian/6.1.0-57-cloud-amd64__6.1.192-3"
	Digest  string `json:"digest"`  // that a source pins the kernel by
	Release string `json:"release"` // uname -r
	Arch    string `json:"arch"`    // as in GOARCH
}

const (
	magic   = "BKIndex"
	version = "1"

	maxPart      = 128 << 20 // bytes of a kernel's BTF, symbols ..., decompressed
	maxDirectory = 64 << 20  // bytes, decompressed
	maxDepth     = 16        // kernels that are read for one
	keptLikes    = 4         // kernels that others are compared with, in memory
	maxWindow    = 32 << 20
	dictionary   = 1 // its number
)

// entry is a kernel in the directory of an index.
type entry struct {
	Head
	At         int64   `json:"at"`                   // where its parts start in the file
	Sizes      []int64 `json:"sizes"`                // of its parts, compressed
	Like       int     `json:"like,omitempty"`       // place in the directory, from 1, of the kernel whose parts are the dictionaries
	Renumbered bool    `json:"renumbered,omitempty"` // the BTF has the numbers of that kernel's
	AllModules bool    `json:"all_modules,omitempty"`
	NoModules  bool    `json:"no_modules,omitempty"`

	depth  int  // kernels that are read before it
	isLike bool // others are read by it
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
	recent []likeness // the last first

	onDamage func(error) // nil: nobody asks
	once     sync.Once
}

type likeness struct {
	n int
	parts
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
	head, foot := make([]byte, len(magic)+1), make([]byte, 8+len(magic)+1)
	if _, err := x.file.ReadAt(head, 0); err != nil || string(head[:len(magic)]) != magic {
		return &FormatError{Path: x.path, Foreign: true}
	}
	if string(head[len(magic):]) != version {
		return &FormatError{Path: x.path, Reason: "is of another version of this program"}
	}
	end := info.Size() - int64(len(foot))
	if _, err := x.file.ReadAt(foot, max(0, end)); err != nil || !bytes.Equal(foot[8:], head) {
		return &FormatError{Path: x.path, Reason: "is cut short"}
	}
	at := int64(binary.LittleEndian.Uint64(foot))
	if at < int64(len(head)) || at > end || end-at > maxDirectory {
		return x.damaged(errors.New("its directory is nowhere"))
	}
	text, err := x.readPart(at, end-at, nil, maxDirectory)
	if err == nil {
		err = json.Unmarshal(text, &x.entries)
	}
	for i := 0; err == nil && i < len(x.entries); i++ {
		err = x.check(i, at)
	}
	if err != nil {
		return x.damaged(err)
	}
	slices.SortFunc(x.heads, func(a, b Head) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

// check checks a kernel of the directory, which stands at end, and those it is
// read by.
func (x *Index) check(i int, end int64) error {
	e := &x.entries[i]
	if err := report.CheckID(e.ID); err != nil {
		return err
	}
	if _, twice := x.at[e.ID]; twice {
		return fmt.Errorf("%s stands twice", e.ID)
	}
	if len(e.Sizes) != len(parts{}) || e.At < 0 || e.Like < 0 || e.Like > i || e.Renumbered && e.Like == 0 {
		return fmt.Errorf("%s is nowhere", e.ID)
	}
	left := end - e.At
	for _, n := range e.Sizes {
		if n < 0 || n > left {
			return fmt.Errorf("%s is nowhere", e.ID)
		}
		left -= n
	}
	if e.Like > 0 {
		like := &x.entries[e.Like-1]
		like.isLike, e.depth = true, like.depth+1
	}
	if e.depth > maxDepth {
		return fmt.Errorf("%s is like too many", e.ID)
	}
	x.at[e.ID], x.heads = i, append(x.heads, e.Head)
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

// Facts returns what the index has of a kernel. It is nil without an error where
// the index has none of that id and digest; an empty digest is any.
func (x *Index) Facts(id, digest string) (*Facts, error) {
	if x == nil {
		return nil, nil
	}
	i, ok := x.at[id]
	if !ok || digest != "" && x.entries[i].Digest != digest {
		return nil, nil
	}
	p, err := x.read(i)
	if err != nil {
		err = x.damaged(fmt.Errorf("%s: %w", id, err))
		if x.onDamage != nil {
			x.once.Do(func() { x.onDamage(err) })
		}
		return nil, err
	}
	e := &x.entries[i]
	return &Facts{
		Head: e.Head, BTF: p[0], Symbols: string(p[1]), Modules: string(p[2]), Config: options(p[3]),
		AllModules: e.AllModules, NoModules: e.NoModules,
	}, nil
}

// read reads a kernel's parts.
func (x *Index) read(i int) (parts, error) {
	e := &x.entries[i]
	if !e.isLike && e.Like == 0 {
		return x.readBy(e, parts{})
	}
	x.mu.Lock()
	if e.isLike {
		defer x.mu.Unlock()
		return x.like(i)
	}
	like, err := x.like(e.Like - 1)
	x.mu.Unlock()
	if err != nil {
		return parts{}, err
	}
	return x.readBy(e, like)
}

// like reads a kernel that others are read by, or has it still. The lock is held.
func (x *Index) like(i int) (p parts, err error) {
	if n := slices.IndexFunc(x.recent, func(l likeness) bool { return l.n == i }); n >= 0 {
		l := x.recent[n]
		x.recent = slices.Insert(slices.Delete(x.recent, n, n+1), 0, l)
		return l.parts, nil
	}
	var by parts
	if e := &x.entries[i]; e.Like > 0 {
		if by, err = x.like(e.Like - 1); err != nil {
			return p, err
		}
	}
	if p, err = x.readBy(&x.entries[i], by); err != nil {
		return p, err
	}
	x.recent = slices.Insert(x.recent, 0, likeness{i, p})
	x.recent = x.recent[:min(len(x.recent), keptLikes)]
	return p, nil
}

func (x *Index) readBy(e *entry, by parts) (p parts, err error) {
	at := e.At
	for i, size := range e.Sizes {
		if p[i], err = x.readPart(at, size, by[i], maxPart); err != nil {
			return p, err
		}
		at += size
	}
	if e.Renumbered {
		p[0], err = unnumber(p[0], len(by[0]))
	}
	return p, err
}

// readPart reads what pack has packed.
func (x *Index) readPart(at, size int64, by []byte, most uint64) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	b := make([]byte, size)
	if _, err := x.file.ReadAt(b, at); err != nil {
		return nil, err
	}
	o := []zstd.DOption{zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(most), zstd.WithDecoderMaxWindow(maxWindow)}
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
	list := make(map[string]string, bytes.Count(b, []byte{'\n'}))
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
	out.write([]byte(magic + version))
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
	out.write([]byte(magic + version))
	return out.w.Flush()
}

// WriteOne writes the index of one kernel.
func WriteOne(w io.Writer, f *Facts) error {
	list := []*Facts{f}
	return Write(w, func() (*Facts, error) {
		if len(list) == 0 {
			return nil, io.EOF
		}
		list = nil
		return f, nil
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
	return x.Facts(x.heads[0].ID, "")
}

type writer struct {
	w       *bufio.Writer // whose errors come when it is flushed
	at      int64
	entries []entry
	ids     map[string]bool
	likes   []*liked // that kernels may be like, the last used first
}

// liked is a kernel that others may be like.
type liked struct {
	parts
	keys  btfKeys
	n     int // place in the directory
	depth int
}

func (w *writer) write(b []byte) {
	n, _ := w.w.Write(b)
	w.at += int64(n)
}

// Types that may be others than those of the kernel that one is like, or stand
// elsewhere: two of one series have some hundreds, and other compilers or
// configurations of a series 20,000 and more.
const (
	surelyAlike = 512
	hardlyAlike = 4096
)

func (w *writer) add(f *Facts) error {
	if err := report.CheckID(f.ID); err != nil {
		return err
	}
	if w.ids[f.ID] {
		return fmt.Errorf("kernel %s comes twice", f.ID)
	}
	w.ids[f.ID] = true
	own := &liked{parts: parts{f.BTF, []byte(f.Symbols), []byte(f.Modules), lines(f.Config)}, n: len(w.entries) + 1}
	for _, p := range own.parts {
		if len(p) > maxPart {
			return fmt.Errorf("kernel %s has %d bytes of one kind: an index takes %d", f.ID, len(p), maxPart)
		}
	}
	e := entry{Head: f.Head, At: w.at, AllModules: f.AllModules, NoModules: f.NoModules}
	from := own.parts
	like, types, off := w.nearest(own)
	if like != nil {
		e.Like, own.depth = like.n, like.depth+1
		if b := renumber(f.BTF, types, own.keys.alignStrings(like.keys), len(like.parts[0])); b != nil {
			from[0], e.Renumbered = b, true
		}
	} else {
		like = &liked{}
	}
	var packed parts
	var packing errgroup.Group
	for i, p := range from {
		packing.Go(func() (err error) {
			packed[i], err = pack(p, like.parts[i])
			return err
		})
	}
	if err := packing.Wait(); err != nil {
		return err
	}
	for _, b := range packed {
		w.write(b)
		e.Sizes = append(e.Sizes, int64(len(b)))
	}
	w.entries = append(w.entries, e)
	if off >= hardlyAlike || e.Like == 0 {
		w.likes = slices.Insert(w.likes, 0, own)
		w.likes = w.likes[:min(len(w.likes), keptLikes)]
	}
	return nil
}

// nearest returns the kernel that one is most like, which types are the same, and
// how many are not or stand elsewhere; nil where there is none.
func (w *writer) nearest(own *liked) (best *liked, types []run, off int) {
	if len(w.likes) == 0 {
		return nil, nil, 0
	}
	for _, l := range append(slices.Clone(w.likes), own) {
		if l.keys.defined == nil { // which the only kernel of an index does without
			l.keys = readKeys(l.parts[0])
		}
	}
	for _, l := range w.likes {
		if l.depth == maxDepth {
			continue
		}
		runs := own.keys.alignTypes(l.keys)
		n := len(runs) + len(own.keys.defined)
		for _, r := range runs {
			n -= r.n
		}
		if best == nil || n < off {
			best, types, off = l, runs, n
		}
		if off < surelyAlike {
			break
		}
	}
	if i := slices.Index(w.likes, best); i > 0 {
		w.likes = slices.Insert(slices.Delete(w.likes, i, i+1), 0, best)
	}
	return best, types, off
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
