// Package btfhub finds types (BTF) for kernels that have none, in files as the
// BTFHub archive has them.
//
// The files are hostile input.
package btfhub

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// maxBTF bounds the types of a kernel, in bytes; distributions' have 5 to 10 MB.
const maxBTF = 64 << 20

// Files are the types of one kernel, which then count for every kernel, or a
// directory with those of many.
type Files struct {
	dir    string // "": data is for every kernel
	data   []byte
	digest string
}

// Open reads a file, which must hold types, or looks at a directory, each file of
// which is read for its kernel.
func Open(path string) (*Files, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q: %w: give a file with BTF, or a directory as BTFHub has it", path, errors.Unwrap(err))
	case info.IsDir():
		f := &Files{dir: filepath.Clean(path)}
		h := sha256.New()
		for _, p := range f.glob("*") {
			if info, err := os.Stat(p); err == nil {
				fmt.Fprintf(h, "%q %d\n", strings.TrimPrefix(p, f.dir), info.Size())
			}
		}
		f.digest = fmt.Sprintf("%x", h.Sum(nil))
		return f, nil
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%q is no regular file: give a file with BTF, or a directory as BTFHub has it", path)
	}
	b, err := read(context.Background(), path)
	if err != nil {
		return nil, err
	}
	return &Files{data: b, digest: fmt.Sprintf("%x", sha256.Sum256(b))}, nil
}

// Digest tells files with other types apart: a file by what is in it, a directory
// by its files' names and sizes, since they may be gigabytes. It is "" without files.
func (f *Files) Digest() string {
	if f == nil {
		return ""
	}
	return f.digest
}

// Find returns the types for a kernel, and nil where there is no file for it.
//
// A directory has DIST/VERSION/ARCH/RELEASE.btf.tar.xz, or RELEASE.btf in any of
// these directories or in itself. In all of these directories only those of the
// kernel's distribution count. Where several files are left and differ, it is an
// error, since types of another build are worse than none.
func (f *Files) Find(ctx context.Context, ref kernel.Ref) ([]byte, error) {
	switch {
	case f == nil:
		return nil, nil
	case f.dir == "":
		return f.data, nil
	}
	paths := f.candidates(ref)
	var found []byte
	for i, path := range paths {
		b, err := read(ctx, path)
		switch {
		case err != nil:
			return nil, err
		case i > 0 && !bytes.Equal(b, found):
			return nil, fmt.Errorf("%s and %s are both for release %s, and differ: name the directory of one version, such as %s", paths[0], path, ref.Release, filepath.Dir(filepath.Dir(path)))
		}
		found = b
	}
	return found, nil
}

// candidates are the directory's files for a kernel, whose release is hostile.
func (f *Files) candidates(ref kernel.Ref) []string {
	if ref.Release == "" || ref.Release != filepath.Base(ref.Release) || strings.HasPrefix(ref.Release, ".") {
		return nil
	}
	var paths, own []string
	for _, p := range f.glob(escape(ref.Release)) {
		dirs := strings.Split(strings.Trim(strings.TrimPrefix(p, f.dir), "/"), "/")
		switch {
		case otherArch(filepath.Base(filepath.Dir(p)), ref.Arch): // has other structures
		case isDistro(dirs[0], ref.Distro):
			own = append(own, p)
		case len(dirs) <= maxDirs:
			paths = append(paths, p)
		}
	}
	if len(own) > 0 {
		return own
	}
	return paths
}

// maxDirs is how deep a file lies in a directory: DIST/VERSION/ARCH.
const maxDirs = 3

// glob returns the directory's files whose name without suffix matches a pattern,
// sorted.
func (f *Files) glob(name string) (paths []string) {
	for depth := range maxDirs + 1 {
		for _, suffix := range []string{".btf", ".btf.tar.xz"} {
			more, _ := filepath.Glob(escape(f.dir) + "/" + strings.Repeat("*/", depth) + name + suffix) // no bad pattern
			paths = append(paths, more...)
		}
	}
	slices.Sort(paths)
	return paths
}

// escape makes a pattern of text that only the text matches.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(text)
}

// isDistro says whether a directory of BTFHub's is that of a kernel's distribution,
// whose name may end in a version here.
func isDistro(dir, distro string) bool {
	name := strings.TrimRight(distro, "0123456789.")
	return dir == distro || dir == name || dir == map[string]string{"amazonlinux": "amzn", "oraclelinux": "ol"}[name]
}

func otherArch(dir, want string) bool {
	of := goarch.OfRelease(dir).Name
	return of != "" && want != "" && of != want
}

// read reads the types of a file: BTF as it is, the section of an ELF file, or an
// archive with one such file.
func read(ctx context.Context, path string) (b []byte, err error) {
	bad := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("%q holds no BTF that can be read: %w", path, err)
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return bad(cmp.Or(err, errors.New("it is no regular file")))
	}
	if strings.HasSuffix(path, ".tar.xz") {
		b, err = unpackOne(ctx, path)
	} else {
		if info.Size() > image.MaxVmlinux {
			return bad(&bounded.LimitError{What: "size of the file", Limit: image.MaxVmlinux})
		}
		if f, err := elf.Open(path); err == nil { // whose section RawBTF takes
			defer f.Close()
			if f.Machine == elf.EM_BPF {
				return bad(errors.New("it is a BPF object, not the types of a kernel"))
			}
		}
		b, err = image.RawBTF(path)
	}
	if err != nil {
		return bad(err)
	}
	if len(b) > maxBTF {
		return bad(&bounded.LimitError{What: "size of the BTF", Limit: maxBTF})
	}
	if err := check(b); err != nil {
		return bad(err)
	}
	return b, nil
}

// check says why BTF cannot be read.
func check(b []byte) (err error) {
	// The library is made for files that one trusts.
	defer func() {
		if recover() != nil {
			err = errors.New("it is malformed")
		}
	}()
	_, err = btf.LoadSpecFromReader(bytes.NewReader(b))
	return err
}

// unpackOne returns the only file of an archive.
func unpackOne(ctx context.Context, path string) (b []byte, err error) {
	files := 0
	err = unpack.Tar(path).Walk(ctx, func(_ string, size int64, r io.Reader) error {
		if files++; files > 1 {
			return errors.New("the archive has several files: want one")
		}
		if size > maxBTF {
			return &bounded.LimitError{What: "size of the BTF", Limit: maxBTF}
		}
		b, err = io.ReadAll(io.LimitReader(r, maxBTF))
		return err
	})
	if err == nil && files == 0 {
		err = errors.New("the archive has no file")
	}
	return b, err
}
