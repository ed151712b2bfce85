package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// Limits of a root.
const (
	maxNames = 128 << 20 // bytes of all names and extended attributes
	maxPath  = 4095      // bytes, Linux's own
	maxName  = 255
	maxLinks = 40   // links in one path, Linux's own
	maxXattr = 3500 // bytes of one file's attributes: ext4 keeps them in one block
)

// node is a file of a root. A hard link is a node that has several names.
type node struct {
	hdr  *tar.Header                   // as header makes it
	kids map[string]*node              // of a directory
	open func() (io.ReadCloser, error) // of a regular file with bytes
}

// slot is a name in a directory.
type slot struct {
	dir  *node
	name string
}

// tree is a root that is put together. It names the bytes of files where they
// are, and writes nothing but what is asked for: no name of it ever reaches the
// host's file system.
type tree struct {
	root   *node
	layers bool          // .wh. names hide what lower layers have
	merge  bool          // dpkg's rule: a link to a directory stays one
	own    map[slot]bool // what the layer that is being applied has

	entries, names int
	bytes          int64

	tmp   string // for files that live as long as the tree
	files []*os.File
}

func newTree() *tree {
	return &tree{root: newDir()}
}

func newDir() *node {
	return &node{kids: map[string]*node{}, hdr: &tar.Header{Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}}
}

func (n *node) isDir() bool  { return n != nil && n.kids != nil }
func (n *node) isLink() bool { return n != nil && n.hdr.Typeflag == tar.TypeSymlink }

func parts(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(s string) bool { return s == "" || s == "." })
}

// resolve returns the directory that name is in and its name there, which is ""
// where name is a directory by ".." or the root. Links are followed as a process
// with this root would, the last one only if follow is set. mkdir makes
// directories that are not there.
func (t *tree) resolve(name string, follow, mkdir bool) (dir *node, base string, err error) {
	fail := func(err error) (*node, string, error) {
		return nil, "", &fs.PathError{Op: "find", Path: name, Err: err}
	}
	stack := []*node{t.root}
	rest := parts(name)
	for links := 0; len(rest) > 0; {
		dir, base = stack[len(stack)-1], rest[0]
		rest = rest[1:]
		if base == ".." {
			stack = stack[:max(1, len(stack)-1)]
			continue
		}
		kid := dir.kids[base]
		switch {
		case len(base) > maxName:
			return fail(syscall.ENAMETOOLONG)
		case kid.isLink() && (follow || len(rest) > 0):
			if links++; links > maxLinks {
				return fail(syscall.ELOOP)
			}
			if path.IsAbs(kid.hdr.Linkname) {
				stack = stack[:1]
			}
			rest = append(parts(kid.hdr.Linkname), rest...)
			continue
		case len(rest) == 0:
			return dir, base, nil
		case kid == nil && mkdir:
			if err := t.count(len(base)); err != nil {
				return fail(err)
			}
			kid = newDir()
			t.put(dir, base, kid)
		case kid == nil:
			return fail(fs.ErrNotExist)
		case !kid.isDir():
			return fail(syscall.ENOTDIR)
		}
		stack = append(stack, kid)
	}
	return stack[len(stack)-1], "", nil
}

// find returns the file that name leads to.
func (t *tree) find(name string) (*node, error) {
	dir, base, err := t.resolve(name, true, false)
	if err != nil || base == "" {
		return dir, err
	}
	n := dir.kids[base]
	if n == nil {
		return nil, &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
	}
	return n, nil
}

func (t *tree) put(dir *node, name string, n *node) {
	dir.kids[name] = n
	if t.layers {
		t.own[slot{dir, name}] = true
	}
}

func (t *tree) count(names int) error {
	t.names += names
	if t.entries++; t.entries > unpack.MaxMembers {
		return tooLarge("number of files in the root", unpack.MaxMembers)
	}
	if t.names > maxNames {
		return tooLarge("size of the names in the root", maxNames)
	}
	return nil
}

func tooLarge(what string, limit int64) error {
	return fmt.Errorf("%w: leave files out", &bounded.LimitError{What: what, Limit: limit})
}

const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	whiteoutOpaque = ".wh..wh..opq"
	xattrPrefix    = "SCHILY.xattr."
)

// add puts a file into the tree, as unpacking the entry hdr would.
func (t *tree) add(hdr *tar.Header, open func() (io.ReadCloser, error)) error {
	name := hdr.Name
	if len(name) > maxPath || slices.Contains(parts(name), "..") {
		return fmt.Errorf("the name %.200q is too long or leads out of the root", name)
	}
	if base := path.Base(name); t.layers && strings.HasPrefix(base, whiteoutPrefix) {
		return t.hide(path.Dir(name), base)
	}
	n := &node{open: open}
	var err error
	if hdr.Typeflag != tar.TypeLink {
		if n.hdr, err = header(hdr); err != nil {
			return fmt.Errorf("%.200q: %w", name, err)
		}
		if t.bytes += n.hdr.Size; t.bytes > unpack.MaxArchive {
			return tooLarge("size of the root in bytes", unpack.MaxArchive)
		}
	}
	size := len(name) + len(hdr.Linkname)
	for k, v := range hdr.PAXRecords {
		size += len(k) + len(v)
	}
	if err := t.count(size); err != nil {
		return err
	}
	dir, base, err := t.resolve(name, false, true)
	if err != nil {
		return err
	}
	there := t.root
	if base != "" {
		there = dir.kids[base]
	}
	if hdr.Typeflag == tar.TypeLink {
		toDir, to, err := t.resolve(hdr.Linkname, false, false)
		if err == nil {
			n = toDir.kids[to]
		}
		if err != nil || n == nil || n.isDir() {
			return fmt.Errorf("%.200q is a hard link to %.200q, which is no file before it", name, hdr.Linkname)
		}
	}
	switch {
	case base == "" && hdr.Typeflag != tar.TypeDir:
		return fmt.Errorf("the name %.200q is that of a directory", name)
	case base == parts(wire.XattrsPath)[0] && dir == t.root:
		return fmt.Errorf("the name %q has a meaning of its own: leave it out", wire.XattrsPath)
	case hdr.Typeflag == tar.TypeDir && there.isDir():
		there.hdr = n.hdr
		n = there
	case t.merge && hdr.Typeflag == tar.TypeDir && there.isLink():
		if to, err := t.find(name); err == nil && to.isDir() {
			return nil
		}
	case t.merge && there.isDir():
		return nil
	}
	if hdr.Typeflag == tar.TypeDir && n.kids == nil {
		n.kids = map[string]*node{}
	}
	if n != t.root {
		t.put(dir, base, n)
	}
	return nil
}

// hide applies a whiteout to what lower layers have.
func (t *tree) hide(dirName, base string) error {
	n, err := t.find(dirName)
	if err != nil || !n.isDir() {
		return nil // nothing is there to hide
	}
	if err := t.count(len(base)); err != nil {
		return err
	}
	if base == whiteoutOpaque {
		for name := range n.kids {
			t.drop(n, name)
		}
	} else if hidden := base[len(whiteoutPrefix):]; !strings.HasPrefix(base, whiteoutMeta) && n.kids[hidden] != nil {
		t.drop(n, hidden)
	}
	return nil
}

// drop removes what lower layers have at a name and below: a layer hides nothing
// of itself, in whatever order its entries come.
func (t *tree) drop(dir *node, name string) {
	n := dir.kids[name]
	for kid := range n.kids {
		t.drop(n, kid)
	}
	if !t.own[slot{dir, name}] && len(n.kids) == 0 {
		delete(dir.kids, name)
	}
}

// header returns what is kept of an entry.
func header(hdr *tar.Header) (*tar.Header, error) {
	h := &tar.Header{Typeflag: hdr.Typeflag, Mode: hdr.Mode & 0o7777, Uid: hdr.Uid, Gid: hdr.Gid, Format: tar.FormatPAX}
	h.ModTime = time.Unix(min(max(hdr.ModTime.Unix(), 0), 1<<32-1), 0)
	if h.Uid < 0 || h.Gid < 0 || h.Uid >= 1<<32-1 || h.Gid >= 1<<32-1 {
		return nil, fmt.Errorf("its owner %d:%d is none that Linux has", h.Uid, h.Gid)
	}
	switch h.Typeflag {
	case tar.TypeReg:
		if h.Size = hdr.Size; h.Size < 0 {
			return nil, errors.New("its size is negative")
		}
		for k := range hdr.PAXRecords {
			if strings.HasPrefix(k, "GNU.sparse.") {
				return nil, errors.New("it is sparse: make the tar without --sparse")
			}
		}
	case tar.TypeSymlink:
		h.Mode = 0o777
		if h.Linkname = hdr.Linkname; h.Linkname == "" || len(h.Linkname) > maxPath {
			return nil, errors.New("it is a symbolic link to an empty or overlong name")
		}
	case tar.TypeChar, tar.TypeBlock:
		h.Devmajor, h.Devminor = hdr.Devmajor, hdr.Devminor
		if h.Devmajor < 0 || h.Devminor < 0 || h.Devmajor >= 1<<12 || h.Devminor >= 1<<20 {
			return nil, fmt.Errorf("its device number %d:%d is none that Linux has", h.Devmajor, h.Devminor)
		}
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeGNUSparse:
		return nil, errors.New("it is sparse: make the tar without --sparse")
	default:
		return nil, fmt.Errorf("an entry of type %q has no meaning here", h.Typeflag)
	}
	size := 0
	for k, v := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(k, xattrPrefix)
		if !ok || !keptXattr(name) {
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[k] = v
		if size += len(name) + len(v) + 20; size > maxXattr || len(name) > maxName {
			return nil, fmt.Errorf("its extended attributes have more than %d bytes", maxXattr)
		}
	}
	return h, nil
}

// keptXattr says which extended attributes mean something in another machine:
// labels of its security module and access lists in its kernel's form do not.
func keptXattr(name string) bool {
	return name == "security.capability" || strings.HasPrefix(name, "user.") && name != "user."
}

// section is what opening a file in a tar gives.
type section struct{ *io.SectionReader }

func (section) Close() error { return nil }

// apply adds the entries of a plain tar. Their bytes stay in f.
func (t *tree) apply(ctx context.Context, f *os.File) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	t.own = map[slot]bool{}
	for r := tar.NewReader(f); ; {
		hdr, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &kernel.UsageError{Msg: "read archive", Err: err}
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		at, err := f.Seek(0, io.SeekCurrent) // the reader reads no further than a header
		if err != nil {
			return err
		}
		size := hdr.Size
		if err := t.add(hdr, func() (io.ReadCloser, error) { return section{io.NewSectionReader(f, at, size)}, nil }); err != nil {
			return &kernel.UsageError{Msg: "unpack archive", Err: err}
		}
	}
}

// walk calls fn for each file in order of names, directories first. first is the
// earlier name of a file that was there already, "" for none.
func (t *tree) walk(ctx context.Context, fn func(name string, n *node, first string) error) error {
	seen := map[*node]string{}
	visit := func(name string, n *node) error {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if len(name) > maxPath {
			return fmt.Errorf("the name %.200q... is too long", name)
		}
		if err := fn(name, n, seen[n]); err != nil {
			return fmt.Errorf("%.200q: %w", name, err)
		}
		if !n.isDir() && seen[n] == "" {
			seen[n] = name
		}
		return nil
	}
	// A stack of its own: a hostile archive can nest as deep as it has entries.
	type todo struct {
		name string
		n    *node
	}
	for stack := []todo{{"", t.root}}; len(stack) > 0; {
		next := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if err := visit(next.name, next.n); err != nil {
			return err
		}
		names := slices.Sorted(maps.Keys(next.n.kids))
		for _, name := range slices.Backward(names) {
			stack = append(stack, todo{path.Join(next.name, name), next.n.kids[name]})
		}
	}
	return nil
}

// write writes the tree as a tar, which is the same for the same tree, and returns
// what [Root] has as Unpacked.
func (t *tree) write(ctx context.Context, w io.Writer) (unpacked int64, err error) {
	const page = 4096
	tw := tar.NewWriter(w)
	buf := make([]byte, 256<<10)
	err = t.walk(ctx, func(name string, n *node, first string) error {
		if first == "" {
			unpacked += max(page, (n.hdr.Size+page-1)&^(page-1))
		}
		hdr := *n.hdr
		hdr.Name = name
		switch {
		case n == t.root:
			hdr.Name = "./"
		case n.isDir():
			hdr.Name += "/"
		case first != "":
			hdr = tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: first, Format: tar.FormatPAX}
		}
		if err := tw.WriteHeader(&hdr); err != nil || hdr.Size == 0 {
			return err
		}
		r, err := n.open()
		if err != nil {
			return err
		}
		defer r.Close()
		got, err := io.CopyBuffer(tw, bounded.Reader(ctx, r), buf)
		if err == nil && got != hdr.Size || errors.Is(err, tar.ErrWriteTooLong) {
			err = errors.New("it has changed while it was read; try again")
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return unpacked, tw.Close()
}
