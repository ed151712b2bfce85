// Package unpack takes a kernel, its configuration and the release of its
// modules out of archives, and says what the names of archives and images mean.
// Sources share it; it must not know any of them.
package unpack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// Kernel is one kernel of an archive.
type Kernel struct {
	Name    string `json:"name"` // of its file in the archive
	Sum     string `json:"sum"`  // digest of the kernel's image
	Release string `json:"release,omitempty"`
	Arch    string `json:"arch,omitempty"`
	Modules string `json:"modules,omitempty"` // the release of its modules, where the archive has them
	Bad     string `json:"bad,omitempty"`     // why the file is no kernel

	info         image.Info
	file, config string // as unpacked
	sure         bool   // it lies where kernels do
}

// Held is what an archive holds, for errors.
type Held struct {
	count int
	first []string
}

// Note takes a further name.
func (h *Held) Note(name string) {
	if h.count++; len(h.first) < 5 {
		h.first = append(h.first, fmt.Sprintf("%.80q", name))
	}
}

// NoKernelError is the error of an archive without a kernel.
type NoKernelError struct{ Held Held }

func (e *NoKernelError) Error() string {
	held := "it is empty"
	if e.Held.count > 0 {
		held = fmt.Sprintf("of %d files the first are %s", e.Held.count, strings.Join(e.Held.first, ", "))
	}
	return "the archive holds no kernel: expected vmlinuz, vmlinux, bzImage, Image or *.efi in boot, in lib/modules/<release> or at the top, as a regular file; " + held
}

// SeveralError is the error of an archive of which one kernel is wanted, and which
// has several.
type SeveralError struct{ Kernels []*Kernel }

func (e *SeveralError) Error() string {
	var names []string
	for _, k := range e.Kernels[:min(len(e.Kernels), 5)] {
		names = append(names, fmt.Sprintf("%.120q", k.Name))
	}
	return fmt.Sprintf("the archive holds several kernels, %d: %s", len(e.Kernels), strings.Join(names, ", "))
}

// unpacker takes kernels and their configs out of archives, and notes which
// modules they hold. It writes under names of its own.
type unpacker struct {
	dir      string
	want     string // the name or the release of the kernel that is wanted; "" for all
	scan     bool   // kernels are listed and not taken
	kernels  []*Kernel
	configs  map[string]string // file as unpacked, by the stem of its name
	releases map[string]bool   // that have at least one module
	bytes    int64             // that the kernels have
	held     Held
	notOne   error     // why a file that need not be a kernel is none
	bad      []*Kernel // the same of those that lie where kernels do or have a release
}

func newUnpacker(dir, want string) *unpacker {
	return &unpacker{dir: dir, want: want, configs: map[string]string{}, releases: map[string]bool{}}
}

func isSure(k *Kernel) bool { return k.sure }

// anySure says that files lie where kernels do. If so, others do not count.
func (u *unpacker) anySure() bool {
	return slices.ContainsFunc(u.kernels, isSure) || slices.ContainsFunc(u.bad, isSure)
}

// done says that all of one kernel is there. Behind a vmlinux, as SUSE's packages
// have it, the kernel to boot may come.
func (u *unpacker) done() bool {
	return len(u.releases) > 0 && slices.ContainsFunc(u.kernels, func(k *Kernel) bool {
		return k.sure && u.wants(k) && k.info.Format != image.FormatVmlinux && u.configOf(k) != "" && (k.info.Version == "" || u.releases[k.info.Version])
	})
}

// configOf returns the configuration that is named like a kernel, "" for none.
func (u *unpacker) configOf(k *Kernel) string {
	stem, _ := kernelStem(path.Base(k.Name))
	return cmp.Or(u.configs[k.Release], u.configs[stem])
}

func (u *unpacker) wants(k *Kernel) bool {
	return u.want == "" || u.want == k.Name || u.want == k.Release
}

// found returns the kernels: those in places of kernels, if there are any. The same
// file twice is one, and so is one kernel in two formats, such as vmlinux and bzImage.
func (u *unpacker) found() []*Kernel {
	sure := u.anySure()
	var list []*Kernel
next:
	for _, k := range u.kernels {
		if sure && !k.sure {
			continue
		}
		for i, o := range list {
			twoFormats := k.info.Version != "" && k.info.Version == o.info.Version && k.info.Arch == o.info.Arch && k.info.Format != o.info.Format
			if k.Sum != o.Sum && !twoFormats {
				continue
			}
			if o.info.Format == image.FormatVmlinux && !u.named(o) || u.named(k) {
				list[i] = k // the smaller one
			}
			continue next
		}
		list = append(list, k)
	}
	for _, k := range list {
		k.config = u.configOf(k)
		if u.releases[k.Release] {
			k.Modules = k.Release
		}
		if len(list) > 1 {
			continue
		}
		k.Modules = cmp.Or(k.Modules, only(u.releases))
		k.config = cmp.Or(k.config, u.configs[""], u.configs[only(u.configs)])
	}
	return slices.DeleteFunc(list, func(k *Kernel) bool { return !u.wants(k) })
}

// only returns the key of a map that has one, "" of any other.
func only[V any](m map[string]V) (key string) {
	if len(m) == 1 {
		for key = range m {
		}
	}
	return key
}

// named says that a kernel is wanted by the name of its file.
func (u *unpacker) named(k *Kernel) bool { return u.want == k.Name }

// contents leaves the one kernel that is wanted, and its config.
func (u *unpacker) contents() (kernel.Contents, error) {
	list := u.found()
	switch {
	case len(list) > 1:
		return kernel.Contents{}, &SeveralError{list}
	case len(list) == 0 && len(u.kernels) > 0:
		return kernel.Contents{}, fmt.Errorf("no kernel in it is %.120q: %w", u.want, &SeveralError{u.kernels})
	case len(list) == 0 && u.notOne != nil:
		return kernel.Contents{}, u.notOne
	case len(list) == 0:
		return kernel.Contents{}, &NoKernelError{u.held}
	}
	k := list[0]
	err := os.Rename(k.file, filepath.Join(u.dir, kernel.KernelFile))
	if err == nil && k.config != "" {
		err = os.Rename(k.config, filepath.Join(u.dir, kernel.ConfigFile))
	}
	for _, o := range u.kernels {
		os.Remove(o.file)
	}
	for _, file := range u.configs {
		os.Remove(file)
	}
	return kernel.Contents{Image: k.info, Modules: k.Modules}, err
}

// Packages takes a kernel out of packages into dir, the one that is called want
// where there are several. It reads only until all is known: boot/ comes before
// the modules, which are most of a package, and a signature vouches for the rest.
func Packages(ctx context.Context, dir, want string, packages []kernel.Archive) (kernel.Contents, error) {
	u := newUnpacker(dir, want)
	for _, p := range packages {
		if u.done() {
			break
		}
		if err := u.walk(ctx, p, false); err != nil {
			return kernel.Contents{}, err
		}
	}
	if list := u.found(); want == "" && len(list) > 1 {
		u.want = list[0].Name
	}
	return u.contents()
}

// Unpack takes the kernel out of a tar archive into dir, the one whose file or
// release is want where there are several. It reads to the end, which tells whether
// the archive is whole.
func (t Tar) Unpack(ctx context.Context, dir, want string) (kernel.Contents, error) {
	u := newUnpacker(dir, want)
	if err := u.walk(ctx, t, true); err != nil {
		return kernel.Contents{}, err
	}
	if bad := u.broken(); want == "" && len(bad) > 0 && len(u.kernels) > 0 {
		return kernel.Contents{}, errors.New(bad[0].Bad)
	}
	return u.contents()
}

// Found is what an archive holds.
type Found struct {
	Kernels []*Kernel `json:"kernels,omitempty"`
	Modules []string  `json:"modules,omitempty"` // the releases that it has modules of
	Configs []string  `json:"configs,omitempty"` // and configurations
	Bad     []*Kernel `json:"bad,omitempty"`     // files that should be kernels and are none
}

// Scan says what an archive holds. dir is for its use. A package is read only until
// all of a kernel is known.
func Scan(ctx context.Context, dir string, a kernel.Archive) (Found, error) {
	u := newUnpacker(dir, "")
	_, whole := a.(Tar)
	u.scan = true
	err := u.walk(ctx, a, whole)
	if err != nil {
		return Found{}, err
	}
	return Found{u.found(), slices.Sorted(maps.Keys(u.releases)), slices.Sorted(maps.Keys(u.configs)), u.broken()}, nil
}

// extRE matches what a signature's or a checksum's name has more than its kernel's.
var extRE = regexp.MustCompile(`\.[a-z]+[0-9]*$`)

// broken returns what should be kernels and are none: those in places of kernels, if
// anything is there, without such as vmlinuz-6.1.sig beside vmlinuz-6.1.
func (u *unpacker) broken() []*Kernel {
	sure := u.anySure()
	names := map[string]bool{}
	for _, k := range slices.Concat(u.kernels, u.bad) {
		names[k.Name] = true
	}
	return slices.DeleteFunc(slices.Clone(u.bad), func(k *Kernel) bool {
		return sure && !k.sure || names[extRE.ReplaceAllString(k.Name, "")] && extRE.MatchString(k.Name) && !slices.Contains(wrapNames, path.Ext(k.Name))
	})
}

// walk takes what an archive holds, to its end or until all of a kernel is there.
func (u *unpacker) walk(ctx context.Context, a kernel.Archive, whole bool) error {
	take := func(name string, size int64, r io.Reader) error {
		if err := u.take(ctx, name, size, r); err != nil || whole || !u.done() {
			return err
		}
		return fs.SkipAll
	}
	var err error
	if t, ok := a.(Tar); ok {
		err = t.walk(ctx, take, whole)
	} else {
		err = a.Walk(ctx, take)
	}
	if err != nil {
		return fmt.Errorf("unpack %q: %w", filepath.Base(a.String()), err)
	}
	return nil
}

// OpenPackages returns a kernel that comes in several packages. fetch downloads
// them to what archives names, where the cache does not have them.
func OpenPackages(ctx context.Context, c *kernel.Cache, ref kernel.Ref, archives func(dir string) []kernel.Archive, fetch func(context.Context, []kernel.Archive) error) (*kernel.Image, error) {
	im, err := c.Open(ctx, ref, func(ctx context.Context, dir string) (kernel.Contents, error) {
		packages := archives(dir)
		if err := fetch(ctx, packages); err != nil {
			return kernel.Contents{}, err
		}
		made, err := Packages(ctx, dir, "", packages)
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

// take looks at one file of an archive.
func (u *unpacker) take(ctx context.Context, name string, size int64, r io.Reader) error {
	u.held.Note(name)
	if named, sure := IsKernelName(name); named {
		return u.takeKernel(ctx, name, sure, size, r)
	}
	if stem, ok := isConfigName(name); ok {
		if _, twice := u.configs[stem]; twice || len(u.configs) >= MaxModuleSet {
			return nil
		}
		file := filepath.Join(u.dir, fmt.Sprintf("config.%d", len(u.configs)))
		u.configs[stem] = file
		return WriteMember(ctx, file, name, size, MaxConfig, r)
	}
	release, file, ok := image.SplitModule(name)
	if ok && image.IsModule(file) && release == kernel.SafeName(release) && len(u.releases) < MaxModuleSet {
		u.releases[release] = true
	}
	return nil
}

// takeKernel writes what is named like a kernel. Behind one that is, and in places
// where anything may lie, it need not be one.
func (u *unpacker) takeKernel(ctx context.Context, name string, sure bool, size int64, r io.Reader) error {
	if !sure && (size > kernel.MaxMember || len(u.kernels)+len(u.bad) >= MaxModuleSet) {
		return nil
	}
	if len(u.kernels)+len(u.bad) >= MaxModuleSet {
		return &bounded.LimitError{What: "number of kernels in the archive", Limit: MaxModuleSet}
	}
	file := filepath.Join(u.dir, fmt.Sprintf("kernel.%d", len(u.kernels)))
	info, err := WriteKernel(ctx, file, name, size, r)
	if nk := (*image.NotKernelError)(nil); errors.As(err, &nk) {
		os.Remove(file)
		if u.notOne == nil {
			u.notOne = err
		}
		if sure && u.want == "" && !u.scan && !slices.ContainsFunc(u.kernels, isSure) {
			return err
		}
		k := &Kernel{Name: name, Release: ReleaseOf(ImageStem(path.Base(name))), Bad: bounded.OneLine(nk.Error()), sure: sure}
		if k.Release == "" {
			k.Release, _, _ = image.SplitModule(name)
		}
		if k.Release != kernel.SafeName(k.Release) {
			k.Release = ""
		}
		if sure || k.Release != "" {
			u.bad = append(u.bad, k)
		}
		return nil
	}
	if err != nil {
		return err
	}
	k := &Kernel{Name: name, Release: info.Version, Arch: info.Arch, info: info, file: file, sure: sure}
	if k.Release == "" {
		if k.Release, _, _ = image.SplitModule(name); k.Release != kernel.SafeName(k.Release) {
			k.Release = ""
		}
	}
	if k.Sum, err = kernel.HashFile(ctx, file); err != nil {
		return err
	}
	u.kernels = append(u.kernels, k)
	st, err := os.Stat(file)
	if err != nil {
		return err
	}
	if u.bytes += st.Size(); u.bytes > MaxArchive { // compressed ones have more than the archive
		return &bounded.LimitError{What: "size of the kernels in the archive", Limit: MaxArchive}
	}
	return nil
}

// WriteKernel writes a kernel's file to path, without what is wrapped around the
// kernel. What is none is an [image.NotKernelError] with the file's name.
func WriteKernel(ctx context.Context, path, name string, size int64, r io.Reader) (image.Info, error) {
	if err := WriteMember(ctx, path, name, size, kernel.MaxMember, r); err != nil {
		return image.Info{}, err
	}
	return image.Unwrap(path, name)
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
