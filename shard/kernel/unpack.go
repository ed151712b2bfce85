package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// unpacker takes the kernel and its config out of archives, and notes which
// modules they hold. It writes two files, under names of its own. A Debian
// package is read only until all is known: boot/ comes before the modules,
// which are most of it, and a signature vouches for the rest. Any other archive
// is read to its end, which tells whether it is whole and of one kernel only.
type unpacker struct {
	dir      string
	name     string // of the kernel in its archive
	info     Info
	kernel   bool
	config   bool
	releases map[string]bool // that have at least one module
}

func (u *unpacker) done() bool {
	return u.kernel && u.config && u.moduleRelease() != "" && (u.info.Version == "" || u.releases[u.info.Version])
}

// moduleRelease returns the release whose modules belong to the kernel.
func (u *unpacker) moduleRelease() string {
	if u.releases[u.info.Version] {
		return u.info.Version
	}
	if len(u.releases) == 1 {
		for r := range u.releases {
			return r
		}
	}
	return ""
}

// unpack reads archives into dir and returns what is to go into entry.json.
func unpack(ctx context.Context, dir string, archives ...archive) (*entry, error) {
	u := &unpacker{dir: dir, releases: map[string]bool{}}
	for _, a := range archives {
		if (a.deb || a.rpm) && u.done() {
			break
		}
		if err := u.scan(ctx, a); err != nil {
			return nil, fmt.Errorf("unpack %q: %w", filepath.Base(a.path), err)
		}
	}
	if !u.kernel {
		return nil, errors.New("the archive holds no kernel: expected vmlinuz, boot/vmlinuz-<release> or lib/modules/<release>/vmlinuz as a regular file")
	}
	return &entry{Image: u.info, Modules: u.moduleRelease()}, nil
}

func (u *unpacker) scan(ctx context.Context, a archive) error {
	member := func(name string, size int64, r io.Reader) error {
		switch {
		case u.kernel && !a.deb && !a.rpm && isKernelName(name):
			return u.second(ctx, name, size, r)
		case !u.kernel && isKernelName(name):
			if err := u.write(ctx, kernelFile, name, size, maxMember, r); err != nil {
				return err
			}
			info, err := ProbeFile(filepath.Join(u.dir, kernelFile))
			if nk := (*NotKernelError)(nil); errors.As(err, &nk) {
				nk.File = name
			}
			if err != nil {
				return err
			}
			u.kernel, u.info, u.name = true, info, name
		case !u.config && isConfigName(name):
			if err := u.write(ctx, configFile, name, size, maxConfig, r); err != nil {
				return err
			}
			u.config = true
		default:
			release, file, ok := splitModule(name)
			if !ok || !isModule(file) || release != SafeName(release) || len(u.releases) >= maxModuleSet {
				return nil
			}
			u.releases[release] = true
		}
		if (a.deb || a.rpm) && u.done() {
			return fs.SkipAll
		}
		return nil
	}
	if a.rpm {
		return walkRPM(ctx, a.path, member)
	}
	r, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	err = walkTar(ctx, r, member)
	if err == nil && !a.deb {
		// The checksum of a compressed archive stands behind the tar's end.
		_, err = copyCapped(ctx, io.Discard, r, maxArchive, "size of the archive")
	}
	return err
}

// second looks at a further kernel of an archive: which one its name promises
// cannot be told. The same file twice is fine, and so is one kernel in two
// formats, such as Image and Image.gz.
func (u *unpacker) second(ctx context.Context, name string, size int64, r io.Reader) error {
	const as = "second"
	file := filepath.Join(u.dir, as)
	defer os.Remove(file)
	if err := u.write(ctx, as, name, size, maxMember, r); err != nil {
		return err
	}
	info, err := ProbeFile(file)
	if nk := (*NotKernelError)(nil); errors.As(err, &nk) {
		return nil
	}
	if err != nil {
		return err
	}
	first, err := hashFile(ctx, filepath.Join(u.dir, kernelFile))
	if err != nil {
		return err
	}
	second, err := hashFile(ctx, file)
	if err != nil || first == second || info.Version != "" && info.Version == u.info.Version && info.Format != u.info.Format {
		return err
	}
	return fmt.Errorf("the archive holds two kernels, %q and %q: leave one", u.name, name)
}

func (u *unpacker) write(ctx context.Context, as, name string, size, limit int64, r io.Reader) error {
	what := fmt.Sprintf("size of %q", name)
	if size > limit {
		return &LimitError{What: what, Limit: limit}
	}
	f, err := os.Create(filepath.Join(u.dir, as))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := copyCapped(ctx, f, r, limit, what); err != nil {
		return fmt.Errorf("unpack %q: %w", name, err)
	}
	return f.Close()
}

func isKernelName(name string) bool {
	base, ok := bootFile(name)
	if !ok {
		return false
	}
	for _, stem := range []string{"vmlinuz", "bzImage", "Image", "Image.gz"} {
		if base == stem || strings.HasPrefix(base, stem+"-") {
			return true
		}
	}
	return false
}

func isConfigName(name string) bool {
	base, ok := bootFile(name)
	return ok && (base == "config" || strings.HasPrefix(base, "config-"))
}

// bootFile returns the base name of a file in a place where kernels are.
func bootFile(name string) (string, bool) {
	dir, base := path.Split(name)
	if dir == "" || dir == "boot/" {
		return base, true
	}
	_, file, ok := splitModule(name)
	return base, ok && file == base
}
