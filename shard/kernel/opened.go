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
)

// Image is an opened kernel, in the cache.
type Image struct {
	Ref           // with Release and Arch as found in the image where the listing did not tell
	Kernel string // path of the image file as shipped (bzImage, Image, zboot...)
	Config string // path of its .config, "" when there is none
	Info   Info   // what the image says about itself

	entry    *entry
	archives []archive // that hold the modules
}

func newImage(ref Ref, e *entry, archives []archive) *Image {
	im := &Image{Ref: ref, Kernel: e.path(kernelFile), Config: e.path(configFile), Info: e.Image, entry: e, archives: archives}
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
// *LimitError.
//
// The files come in the archive's order. Debian packages hold no modules.dep
// (depmod makes it when they are installed), so callers need another way to
// resolve dependencies there.
func (im *Image) ReadModules(ctx context.Context, match func(name string) bool, fn func(name string, size int64, r io.Reader) error) error {
	if !im.HasModules() {
		return nil
	}
	stop := false
	for _, a := range im.archives {
		if err := im.readModules(ctx, a, match, func(name string, size int64, r io.Reader) error {
			err := fn(name, size, r)
			stop = stop || errors.Is(err, fs.SkipAll)
			return err
		}); err != nil {
			return fmt.Errorf("read modules of %s from %q: %w", im.ID(), a.path, err)
		}
		if stop {
			break
		}
	}
	return nil
}

func (im *Image) readModules(ctx context.Context, a archive, match func(string) bool, fn func(string, int64, io.Reader) error) error {
	return a.walk(ctx, func(name string, size int64, r io.Reader) error {
		release, file, ok := splitModule(name)
		if !ok || release != im.entry.Modules || !match(file) {
			return nil
		}
		if size > maxMember {
			return &LimitError{What: fmt.Sprintf("size of module file %q", name), Limit: maxMember}
		}
		return fn(file, size, r)
	})
}

// Vmlinux writes the decompressed kernel to the file dst: the ELF vmlinux of an
// x86 bzImage, an ELF vmlinux as it is, the Image of an arm64 zboot or gzipped
// Image. It returns an error that is [ErrNoVmlinux] when there is nothing to
// unpack or the compression is not supported; the caller then boots im.Kernel.
//
// Where decompression is slow (xz: 1 to 1.4 s), the first call leaves a zstd
// copy in the cache for the next ones (about 0.1 s).
func (im *Image) Vmlinux(ctx context.Context, dst string) error {
	kept := filepath.Join(im.entry.dir, vmlinuxFile)
	slow := im.Info.Compression.slow()
	if slow {
		if err := im.writeVmlinux(ctx, dst, func() (io.ReadCloser, error) { return openZstd(kept) }); err == nil {
			return nil
		} else if ctx.Err() != nil {
			return err
		}
	}
	if err := im.writeVmlinux(ctx, dst, im.openVmlinux); err != nil {
		return err
	}
	if slow {
		if err := writeAtomic(kept, 0o644, func(w io.Writer) error { return compressZstd(ctx, w, dst) }); err != nil && ctx.Err() == nil {
			os.Remove(kept)
		}
	}
	return nil
}

func (im *Image) writeVmlinux(ctx context.Context, dst string, open func() (io.ReadCloser, error)) error {
	r, err := open()
	if err != nil {
		return fmt.Errorf("unpack vmlinux of %s: %w", im.ID(), err)
	}
	defer r.Close()
	err = writeAtomic(dst, 0o644, func(w io.Writer) error {
		check := &headWriter{w: w}
		limit := int64(maxVmlinux)
		if im.Info.Format == FormatVmlinux { // as given, debug information and all
			limit = maxMember
		}
		if _, err := copyCapped(ctx, check, r, limit, "size of vmlinux"); err != nil {
			return err
		}
		return im.checkVmlinux(check.head)
	})
	if err != nil {
		return fmt.Errorf("unpack vmlinux of %s: %w", im.ID(), err)
	}
	return nil
}

// openVmlinux returns the image's content, decompressed.
func (im *Image) openVmlinux() (io.ReadCloser, error) {
	if im.Info.Format != FormatVmlinux && im.Info.Compression == NoCompression {
		return nil, fmt.Errorf("%s: %w", im.Info.Format, ErrNoVmlinux)
	}
	f, err := os.Open(im.Kernel)
	if err != nil {
		return nil, err
	}
	if im.Info.Format == FormatVmlinux {
		return f, nil
	}
	if im.Info.Compression == Zstd && im.Info.Format == FormatBzImage {
		if z, err := openZstdWhole(f, im.Info.Offset, im.Info.Length); z != nil || err != nil {
			f.Close()
			if err != nil {
				return nil, err
			}
			return z, nil
		}
	}
	r, err := decompress(im.Info.Compression, io.NewSectionReader(f, im.Info.Offset, im.Info.Length))
	if err != nil {
		f.Close()
		return nil, err
	}
	return &closers{Reader: r, list: []io.Closer{r, f}}, nil
}

func (im *Image) checkVmlinux(head []byte) error {
	if im.Info.Format == FormatBzImage || im.Info.Format == FormatVmlinux {
		if err := checkELF(head); err != nil {
			return &BadKernelError{ID: im.ID(), Err: fmt.Errorf("decompressed payload: %s", err.Reason)}
		}
		return nil
	}
	if len(head) < 64 || string(head[56:60]) != "ARM\x64" {
		return &BadKernelError{ID: im.ID(), Err: errors.New("decompressed payload is no arm64 Image")}
	}
	return nil
}

// Derived returns the path of a file made from this kernel, such as an archive
// of the modules that a test needs, and has write make it the first time. The
// file lives as long as the kernel's cache entry; name is the caller's, and has
// to change when what write would make does.
func (im *Image) Derived(ctx context.Context, c *Cache, name string, write func(io.Writer) error) (string, error) {
	path := filepath.Join(im.entry.dir, "derived-"+SafeName(name))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	unlock, err := c.lock(ctx, filepath.Base(im.entry.dir)+"-derived")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := writeAtomic(path, 0o644, write); err != nil {
		return "", fmt.Errorf("make %s of kernel %s: %w", name, im.ID(), err)
	}
	return path, nil
}

// headWriter keeps the first 64 bytes of what passes through it.
type headWriter struct {
	w    io.Writer
	head []byte
}

func (h *headWriter) Write(p []byte) (int, error) {
	h.head = append(h.head, p[:min(len(p), 64-len(h.head))]...)
	return h.w.Write(p)
}

func openZstd(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := decompress(Zstd, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &closers{Reader: r, list: []io.Closer{r, f}}, nil
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
	if _, err := io.Copy(zw, ctxReader{ctx, f}); err != nil {
		zw.Close()
		return err
	}
	return zw.Close()
}
