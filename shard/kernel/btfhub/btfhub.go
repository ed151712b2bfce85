// Package btfhub finds types (BTF) for kernels that have none, in files as the
// BTFHub archive has them.
//
// The files are hostile input.
package btfhub

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// maxBTF bounds the types of a kernel, in bytes; distributions' have 5 to 10 MB.
const maxBTF = 64 << 20

// suffixes of files by which a directory is searched.
func suffixes() []string { return []string{".btf", ".btf.tar.xz"} }

// Files are the types of one kernel, which then count for every kernel, or a
// directory with those of many.
type Files struct {
	path string
	dir  bool
}

// Open looks at a file or directory. A file must hold types; of a directory,
// each file is read for its kernel.
func Open(path string) (*Files, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q: %w: give a file with BTF, or a directory as BTFHub has it", path, errors.Unwrap(err))
	case info.IsDir():
		return &Files{path, true}, nil
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%q is no regular file: give a file with BTF, or a directory as BTFHub has it", path)
	}
	if _, err := read(context.Background(), path); err != nil {
		return nil, err
	}
	return &Files{path, false}, nil
}

// Find returns the types for a kernel, and nil where there is no file for it.
//
// A directory has DIST/VERSION/ARCH/RELEASE.btf.tar.xz, or RELEASE.btf in any of
// these directories or in itself. Where several files are for a release and
// differ, those of the kernel's distribution count; if they still differ, it is an
// error, since types of another build are worse than none.
func (f *Files) Find(ctx context.Context, im *kernel.Image) ([]byte, error) {
	if f == nil {
		return nil, nil
	}
	if !f.dir {
		return read(ctx, f.path)
	}
	paths, err := f.candidates(im.Release, im.Arch)
	if err != nil {
		return nil, err
	}
	ofDistro := slices.DeleteFunc(slices.Clone(paths), func(p string) bool {
		rel, err := filepath.Rel(f.path, p)
		return err != nil || !strings.HasPrefix(rel, im.Distro+"/")
	})
	if len(ofDistro) > 0 {
		paths = ofDistro
	}
	var found []byte
	for i, path := range paths {
		b, err := read(ctx, path)
		switch {
		case err != nil:
			return nil, err
		case i > 0 && !bytes.Equal(b, found):
			return nil, fmt.Errorf("%s and %s are both for release %s, and differ: name the directory of one version, such as %s", paths[0], path, im.Release, filepath.Dir(filepath.Dir(path)))
		}
		found = b
	}
	return found, nil
}

// candidates are the directory's files for a release, which is hostile.
func (f *Files) candidates(release, arch string) (paths []string, err error) {
	if release == "" || release != filepath.Base(release) || strings.HasPrefix(release, ".") {
		return nil, nil
	}
	escape := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)
	dirs := []string{"", "*/", "*/*/"}
	for _, a := range slices.Compact([]string{cmp.Or(map[string]string{"amd64": "x86_64"}[arch], arch), arch}) {
		dirs = append(dirs, a+"/", "*/"+a+"/", "*/*/"+a+"/")
	}
	for _, dir := range dirs {
		for _, suffix := range suffixes() {
			more, err := filepath.Glob(escape.Replace(f.path) + "/" + dir + escape.Replace(release) + suffix)
			if err != nil {
				return nil, err
			}
			paths = append(paths, more...)
		}
	}
	// A directory of another architecture has types of other structures.
	paths = slices.DeleteFunc(paths, func(p string) bool { return otherArch(filepath.Base(filepath.Dir(p)), arch) })
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

func otherArch(dir, arch string) bool {
	of := map[string]string{"x86_64": "amd64", "amd64": "amd64", "arm64": "arm64", "aarch64": "arm64"}[dir]
	return of != "" && arch != "" && of != arch
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
	r, err := unpack.Tar(path).Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	files := 0
	err = unpack.WalkTarUpTo(ctx, r, maxBTF+1<<20, func(_ string, size int64, r io.Reader) error {
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
