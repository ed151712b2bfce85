// Package unpack takes a kernel, its configuration and the release of its
// modules out of archives, and says what the names of archives and images mean.
// Sources share it; it must not know any of them.
package unpack

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

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// unpacker takes the kernel and its config out of archives, and notes which
// modules they hold. It writes two files, under names of its own.
type unpacker struct {
	dir      string
	name     string // of the kernel in its archive
	info     image.Info
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

// Packages takes the kernel out of packages into dir. It reads only until
// all is known: boot/ comes before the modules, which are most of a package,
// and a signature vouches for the rest.
func Packages(ctx context.Context, dir string, packages []kernel.Archive) (kernel.Contents, error) {
	u := &unpacker{dir: dir, releases: map[string]bool{}}
	for _, p := range packages {
		if u.done() {
			break
		}
		err := p.Walk(ctx, func(name string, size int64, r io.Reader) error {
			if err := u.take(ctx, name, size, r); err != nil || !u.done() {
				return err
			}
			return fs.SkipAll
		})
		if err != nil {
			return kernel.Contents{}, fmt.Errorf("unpack %q: %w", filepath.Base(p.String()), err)
		}
	}
	return u.contents()
}

// OpenPackages returns a kernel that comes in several packages. fetch downloads
// them to what archives names, where the cache does not have them.
func OpenPackages(ctx context.Context, c *kernel.Cache, ref kernel.Ref, archives func(dir string) []kernel.Archive, fetch func(context.Context, []kernel.Archive) error) (*kernel.Image, error) {
	im, err := c.Open(ctx, ref, func(ctx context.Context, dir string) (kernel.Contents, error) {
		packages := archives(dir)
		if err := fetch(ctx, packages); err != nil {
			return kernel.Contents{}, err
		}
		made, err := Packages(ctx, dir, packages)
		if err != nil && ctx.Err() == nil {
			err = &kernel.BadKernelError{ID: ref.ID(), Err: err}
		}
		return made, err
	}, archives)
	if err != nil {
		return nil, kernel.OpenError(ref, err)
	}
	return im, nil
}

// Unpack takes the kernel out of a tar archive into dir. It reads to the
// end, which tells whether the archive is whole and of one kernel only.
func (t Tar) Unpack(ctx context.Context, dir string) (kernel.Contents, error) {
	u := &unpacker{dir: dir, releases: map[string]bool{}}
	err := t.walkAll(ctx, func(name string, size int64, r io.Reader) error {
		if u.kernel && IsKernelName(name) {
			return u.second(ctx, name, size, r)
		}
		return u.take(ctx, name, size, r)
	})
	if err != nil {
		return kernel.Contents{}, fmt.Errorf("unpack %q: %w", filepath.Base(string(t)), err)
	}
	return u.contents()
}

func (u *unpacker) contents() (kernel.Contents, error) {
	if !u.kernel {
		return kernel.Contents{}, errors.New("the archive holds no kernel: expected vmlinuz, boot/vmlinuz-<release> or lib/modules/<release>/vmlinuz as a regular file")
	}
	return kernel.Contents{Image: u.info, Modules: u.moduleRelease()}, nil
}

// take looks at one file of an archive.
func (u *unpacker) take(ctx context.Context, name string, size int64, r io.Reader) error {
	switch {
	case !u.kernel && IsKernelName(name):
		if err := u.write(ctx, kernel.KernelFile, name, size, kernel.MaxMember, r); err != nil {
			return err
		}
		info, err := image.ProbeFile(filepath.Join(u.dir, kernel.KernelFile))
		if nk := (*image.NotKernelError)(nil); errors.As(err, &nk) {
			nk.File = name
		}
		if err != nil {
			return err
		}
		u.kernel, u.info, u.name = true, info, name
	case !u.config && IsConfigName(name):
		if err := u.write(ctx, kernel.ConfigFile, name, size, MaxConfig, r); err != nil {
			return err
		}
		u.config = true
	default:
		release, file, ok := image.SplitModule(name)
		if ok && image.IsModule(file) && release == kernel.SafeName(release) && len(u.releases) < MaxModuleSet {
			u.releases[release] = true
		}
	}
	return nil
}

// second looks at a further kernel of an archive: which one its name promises
// cannot be told. The same file twice is fine, and so is one kernel in two
// formats, such as Image and Image.gz.
func (u *unpacker) second(ctx context.Context, name string, size int64, r io.Reader) error {
	const as = "second"
	file := filepath.Join(u.dir, as)
	defer os.Remove(file)
	if err := u.write(ctx, as, name, size, kernel.MaxMember, r); err != nil {
		return err
	}
	info, err := image.ProbeFile(file)
	if nk := (*image.NotKernelError)(nil); errors.As(err, &nk) {
		return nil
	}
	if err != nil {
		return err
	}
	first, err := kernel.HashFile(ctx, filepath.Join(u.dir, kernel.KernelFile))
	if err != nil {
		return err
	}
	second, err := kernel.HashFile(ctx, file)
	if err != nil || first == second || info.Version != "" && info.Version == u.info.Version && info.Format != u.info.Format {
		return err
	}
	return fmt.Errorf("the archive holds two kernels, %q and %q: leave one", u.name, name)
}

func (u *unpacker) write(ctx context.Context, as, name string, size, limit int64, r io.Reader) error {
	return WriteMember(ctx, filepath.Join(u.dir, as), name, size, limit, r)
}

// WriteMember writes a file of an archive to path. size is what the archive
// says, limit what it may have at most, in bytes.
func WriteMember(ctx context.Context, path, name string, size, limit int64, r io.Reader) error {
	what := fmt.Sprintf("size of %q", name)
	if size > limit {
		return &bounded.LimitError{What: what, Limit: limit}
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := bounded.Copy(ctx, f, r, limit, what); err != nil {
		return fmt.Errorf("unpack %q: %w", name, err)
	}
	return f.Close()
}

// IsKernelName says whether a file of an archive is named like a kernel, and in
// a place where kernels are.
func IsKernelName(name string) bool {
	base, ok := bootFile(name)
	if !ok {
		return false
	}
	for _, stem := range []string{"vmlinuz", "bzImage", "vmlinux", "Image", "Image.gz"} {
		if base == stem || strings.HasPrefix(base, stem+"-") {
			return true
		}
	}
	return false
}

// IsConfigName is IsKernelName for the configuration.
func IsConfigName(name string) bool {
	base, ok := bootFile(name)
	return ok && (base == "config" || strings.HasPrefix(base, "config-"))
}

// bootFile returns the base name of a file in a place where kernels are.
func bootFile(name string) (string, bool) {
	dir, base := path.Split(name)
	if dir == "" || dir == "boot/" {
		return base, true
	}
	_, file, ok := image.SplitModule(name)
	return base, ok && file == base
}
