package preflight

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// Names of what is kept of a kernel beside it in the cache, each an index of one
// kernel. That of modules is only made for kernels that lack something, as it
// takes a pass over all modules: 3 to 10 s.
const (
	factsName   = "preflight-index-" + index.Version
	modulesName = "preflight-modules-index-" + index.Version
)

// ReadFacts reads what is known of a kernel, for an index; of its modules, too,
// which takes 3 to 10 s the first time.
func ReadFacts(ctx context.Context, im *kernel.Image, c *kernel.Cache, scratch string) (*index.Facts, error) {
	f, err := readFacts(ctx, im, c, scratch, "")
	if err != nil {
		return nil, err
	}
	m, err := readModules(ctx, im, c, f.BTF)
	if err != nil {
		return nil, err
	}
	f.Modules, f.AllModules = m.Modules, m.AllModules
	if im.Config != "" && filepath.Dir(im.Config) != filepath.Dir(im.Kernel) {
		// The digest does not pin the options of an image in a directory: with this
		// one the kernel is read again wherever the directory is at hand.
		config, err := kernel.HashFile(ctx, im.Config)
		if err != nil {
			return nil, err
		}
		f.Digest = kernel.DigestOfAll([]string{im.Digest, config})
	}
	return f, nil
}

// NewKernel makes a kernel of what an index has of it.
func NewKernel(f *index.Facts) (*Kernel, error) {
	k := &Kernel{ID: f.ID, Release: f.Release, Arch: f.Arch, order: goarch.Lookup(f.Arch).Order(), symbols: symbols(f.Symbols), config: image.Config(f.Config)}
	modules := moduleIndex{symbols(f.Modules), f.AllModules} // not f, which has the BTF
	k.readModules = func() (moduleIndex, error) { return modules, nil }
	return k, k.setBTF(f.BTF)
}

// Load reads what is known of a kernel without booting it. The first time it
// unpacks the kernel into scratch, a directory, and keeps an index beside it in
// the cache (about 2 MB); then it takes some 40 ms. vmlinux is the kernel where
// it is unpacked already, or "".
func Load(ctx context.Context, im *kernel.Image, c *kernel.Cache, scratch, vmlinux string) (*Kernel, error) {
	f, err := readFacts(ctx, im, c, scratch, vmlinux)
	if err != nil {
		return nil, err
	}
	k, err := NewKernel(f)
	if err != nil {
		return nil, err
	}
	k.readModules = func() (moduleIndex, error) {
		f, err := readFacts(ctx, im, c, scratch, "") // not to hold its BTF until then
		if err == nil {
			f, err = readModules(ctx, im, c, f.BTF)
		}
		if err != nil {
			return moduleIndex{}, err
		}
		return moduleIndex{symbols(f.Modules), f.AllModules}, nil
	}
	return k, nil
}

// readFacts reads all but what the modules define.
func readFacts(ctx context.Context, im *kernel.Image, c *kernel.Cache, scratch, vmlinux string) (*index.Facts, error) {
	f, err := kept(ctx, im, c, factsName, func() (*index.Facts, error) { return makeFacts(ctx, im, scratch, vmlinux) })
	if err != nil {
		return nil, err
	}
	f.Head = index.Head{ID: im.ID(), Digest: im.Digest, Release: im.Release, Arch: im.Arch}
	if im.Config != "" {
		f.Config, _ = im.ReadConfig("") // not known
	}
	return f, nil
}

// HasFunction says whether a kernel, without its modules, has a function.
func HasFunction(ctx context.Context, im *kernel.Image, c *kernel.Cache, scratch, name string) (bool, error) {
	f, err := readFacts(ctx, im, c, scratch, "")
	if err == nil && f.Symbols == "" {
		err = image.ErrNoSymbols
	}
	return err == nil && symbols(f.Symbols).has(name), err
}

// readModules reads what the modules define, of a kernel with this BTF.
func readModules(ctx context.Context, im *kernel.Image, c *kernel.Cache, raw []byte) (*index.Facts, error) {
	if !im.HasModules() {
		return &index.Facts{}, nil
	}
	return kept(ctx, im, c, modulesName, func() (*index.Facts, error) { return indexModules(ctx, im, raw) })
}

// kept reads facts that are kept beside a kernel in the cache, and makes them the
// first time, and where they are damaged. The kernel may have had another name then.
func kept(ctx context.Context, im *kernel.Image, c *kernel.Cache, name string, read func() (*index.Facts, error)) (f *index.Facts, err error) {
	for range 2 {
		path, err2 := im.Derived(ctx, c, name, func(w io.Writer) error {
			f, err := read()
			if err != nil {
				return err
			}
			f.ID = im.ID()
			return index.WriteOne(w, f)
		})
		if err2 != nil {
			return nil, err2
		}
		if f, err = index.ReadOne(path); err == nil {
			return f, nil
		}
		os.Remove(path)
	}
	return nil, fmt.Errorf("read what is kept of %s: %w", im.ID(), err)
}

// makeFacts reads a kernel's BTF and symbols.
func makeFacts(ctx context.Context, im *kernel.Image, scratch, vmlinux string) (*index.Facts, error) {
	if vmlinux == "" {
		vmlinux = path.Join(scratch, "preflight-"+kernel.SafeName(im.ID()))
		switch err := im.Vmlinux(ctx, vmlinux); {
		case errors.Is(err, image.ErrNoVmlinux) && im.Info.Format == image.FormatImage:
			vmlinux = im.Kernel
		case err != nil:
			return nil, err
		default:
			defer os.Remove(vmlinux)
		}
	}
	raw, err := image.RawBTF(vmlinux)
	if err != nil && !errors.Is(err, image.ErrNoBTF) {
		return nil, err
	}
	found, err := image.Symbols(vmlinux)
	if err != nil && !errors.Is(err, image.ErrNoSymbols) {
		return nil, err
	}
	return &index.Facts{BTF: raw, Symbols: string(symbolLines(found))}, nil
}
