package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// archiveFile is what of an image is kept: the kernel, its config and modules,
// at the paths of a kernel archive.
const archiveFile = "kernel.tar.zst"

// unpackImage writes the kernel of an image's layers to an archive in dir and
// unpacks it.
func unpackImage(ctx context.Context, dir string, layers []layer) (kernel.Contents, error) {
	file := filepath.Join(dir, archiveFile)
	names, err := collectKernel(ctx, file, layers)
	if err != nil {
		return kernel.Contents{}, err
	}
	if len(names) == 0 {
		return kernel.Contents{}, errors.New("the image holds no kernel: expected vmlinuz, boot/vmlinuz* or lib/modules/<release>/vmlinuz as a regular file in one of its layers")
	}
	if err := oneKernel(names); err != nil {
		return kernel.Contents{}, err
	}
	return unpack.Tar(file).Unpack(ctx, dir)
}

// collectKernel returns the paths of the kernels it found.
func collectKernel(ctx context.Context, file string, layers []layer) (kernels []string, err error) {
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	zw, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
	if err != nil {
		return nil, err
	}
	defer zw.Close()
	tw := tar.NewWriter(zw)
	err = walkLayers(ctx, layers, func(name string, size int64, r io.Reader) error {
		as, ok := kernelPath(name)
		if !ok {
			return nil
		}
		if size > kernel.MaxMember {
			return &bounded.LimitError{What: fmt.Sprintf("size of %q", name), Limit: kernel.MaxMember}
		}
		if unpack.IsKernelName(as) {
			if kernels = append(kernels, name); len(kernels) > unpack.MaxModuleSet {
				return &bounded.LimitError{What: "number of kernels in the image", Limit: unpack.MaxModuleSet}
			}
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: as, Size: size, Mode: 0o644}); err != nil {
			return err
		}
		if _, err := bounded.Copy(ctx, tw, r, size, fmt.Sprintf("size of %q", name)); err != nil {
			return fmt.Errorf("read %q: %w", name, bounded.NoEOF(err))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return kernels, errors.Join(tw.Close(), zw.Close(), f.Close())
}

// oneKernel refuses an image from which kernels of several releases could be
// booted. One that is there twice, as boot/vmlinuz and in its modules'
// directory, is one.
func oneKernel(names []string) error {
	first, where := "", ""
	for _, n := range names {
		release := ""
		if _, rest, ok := strings.Cut(n, "lib/modules/"); ok {
			release, _, _ = strings.Cut(rest, "/")
		} else {
			release = unpack.ImageStem(path.Base(n))
		}
		if release == "" {
			continue
		}
		if first != "" && release != first {
			return fmt.Errorf("the image holds several kernels: %q and %q", where, n)
		}
		first, where = release, n
	}
	return nil
}
