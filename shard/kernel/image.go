package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// MaxMember caps one file of an archive that is looked at, in bytes. The largest
// distribution package unpacks to about 1 GiB.
const MaxMember = 1 << 30

// Image is an opened kernel, in the cache.
type Image struct {
	Ref               // with Release and Arch as found in the image where the listing did not tell
	Kernel string     // path of the image file as shipped (bzImage, Image, zboot...)
	Config string     // path of its .config, "" when there is none
	Info   image.Info // what the image says about itself

	entry    *entry
	archives []Archive // that hold the modules
}

// Archive is a file of the cache that holds a kernel's files.
type Archive interface {
	// String returns the file's path.
	String() string
	// Walk calls fn for each regular file whose name is a clean relative path;
	// fn returns fs.SkipAll to end the walk.
	Walk(ctx context.Context, fn WalkFunc) error
}

// WalkFunc takes a file of an archive. It must not keep r.
type WalkFunc = func(name string, size int64, r io.Reader) error

func newImage(ref Ref, e *entry) *Image {
	im := &Image{Ref: ref, Kernel: e.path(KernelFile), Config: e.path(ConfigFile), Info: e.Image, entry: e}
	if im.Info.Version != "" {
		im.Release = im.Info.Version // what uname -r will say, whatever the listing thought
	}
	if im.Info.Arch != "" {
		im.Arch = im.Info.Arch
	}
	return im
}

// HasModules reports whether the kernel came with loadable modules.
func (im *Image) HasModules() bool { return im.entry.Modules != "" }

// ReadModules streams the files below lib/modules/<release>/ whose name there
// ("kernel/fs/overlayfs/overlay.ko.xz", "modules.builtin") match wants, out of
// the archives in the cache. fn gets the size in bytes, and must not keep r; it
// returns fs.SkipAll when it has seen enough, which saves the rest of the
// decompression. Names are clean relative paths; a file larger than 1 GiB is a
// *bounded.LimitError.
//
// The files come in the archive's order. Debian packages hold no modules.dep
// (depmod makes it when they are installed), so callers need another way to
// resolve dependencies there.
func (im *Image) ReadModules(ctx context.Context, match func(name string) bool, fn WalkFunc) error {
	if !im.HasModules() {
		return nil
	}
	stop := false
	for _, a := range im.archives {
		err := a.Walk(ctx, func(name string, size int64, r io.Reader) error {
			release, file, ok := image.SplitModule(name)
			if !ok || release != im.entry.Modules || !match(file) {
				return nil
			}
			if size > MaxMember {
				return &bounded.LimitError{What: fmt.Sprintf("size of module file %q", name), Limit: MaxMember}
			}
			err := fn(file, size, r)
			stop = stop || errors.Is(err, fs.SkipAll)
			return err
		})
		if err != nil {
			return fmt.Errorf("read modules of %s from %q: %w", im.ID(), a.String(), err)
		}
		if stop {
			break
		}
	}
	return nil
}

// Vmlinux writes the decompressed kernel to the file dst, as [image.Info.Vmlinux]
// gives it. It returns an error that is [image.ErrNoVmlinux] when there is nothing
// to unpack or the compression is not supported; the caller then boots im.Kernel.
//
// Where decompression is slow (xz: 1 to 1.4 s), the first call leaves a zstd
// copy in the cache for the next ones (about 0.1 s).
func (im *Image) Vmlinux(ctx context.Context, dst string) error {
	write := func(open func() (io.ReadCloser, error)) error {
		r, err := open()
		if err == nil {
			err = WriteAtomic(dst, 0o644, func(w io.Writer) error { return im.Info.CopyVmlinux(ctx, w, r) })
			r.Close()
		}
		if nk := (*image.NotKernelError)(nil); errors.As(err, &nk) {
			return &BadKernelError{ID: im.ID(), Err: fmt.Errorf("decompressed payload: %s", nk.Reason)}
		}
		if err != nil {
			return fmt.Errorf("unpack vmlinux of %s: %w", im.ID(), err)
		}
		return nil
	}
	unpack := func() (io.ReadCloser, error) { return im.Info.Vmlinux(im.Kernel) }
	if !im.Info.Compression.Slow() {
		return write(unpack)
	}
	kept := filepath.Join(im.entry.dir, vmlinuxFile)
	if err := write(func() (io.ReadCloser, error) { return openZstd(kept) }); err == nil || ctx.Err() != nil {
		return err
	}
	if err := write(unpack); err != nil {
		return err
	}
	if err := WriteAtomic(kept, 0o644, func(w io.Writer) error { return compressZstd(ctx, w, dst) }); err != nil && ctx.Err() == nil {
		os.Remove(kept)
	}
	return nil
}

// ReadConfig returns the kernel's configuration: from the file that came with
// it, else from within the image, where kernels with CONFIG_IKCONFIG=y hold it.
// unpacked is the kernel without compression, "" where there is none. Else it
// is [image.ErrNoConfig].
func (im *Image) ReadConfig(unpacked string) (image.Config, error) {
	if im.Config != "" {
		f, err := os.Open(im.Config)
		if err != nil {
			return nil, fmt.Errorf("read the kernel's config: %w", err)
		}
		defer f.Close()
		return image.ReadConfig(f)
	}
	if unpacked == "" {
		unpacked = im.Kernel
	}
	return image.FindConfig(unpacked)
}

func openZstd(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := image.Decompress(image.Zstd, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return bounded.ReadCloser(r, r, f), nil
}

func compressZstd(ctx context.Context, w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// The encoder adds a checksum, so a damaged copy is found when it is read.
	zw, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
	if err != nil {
		return err
	}
	if _, err := io.Copy(zw, bounded.Reader(ctx, f)); err != nil {
		zw.Close()
		return err
	}
	return zw.Close()
}
