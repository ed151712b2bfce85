package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// archiveFile is what of an image is kept: the kernel, its config and modules,
// at the paths of a kernel archive.
const archiveFile = "kernel.tar.zst"

// unpackImage writes the kernels of an image's layers to an archive in dir and
// unpacks the one whose release or file is want, which may be "" if there is one.
func unpackImage(ctx context.Context, dir, want string, layers []layer) (kernel.Contents, error) {
	file := filepath.Join(dir, archiveFile)
	if err := collectKernels(ctx, file, layers); err != nil {
		return kernel.Contents{}, err
	}
	return unpack.Tar(file).Unpack(ctx, dir, want)
}

// collectKernels keeps of an image what an archive of kernels has.
func collectKernels(ctx context.Context, file string, layers []layer) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	zw, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
	if err != nil {
		return err
	}
	defer zw.Close()
	tw := tar.NewWriter(zw)
	var held unpack.Held
	kernels := false
	err = walkLayers(ctx, layers, func(name string, size int64, r io.Reader) error {
		held.Note(name)
		named, _ := unpack.IsKernelName(name)
		if !named && !unpack.IsKernelPart(name) {
			return nil
		}
		kernels = kernels || named
		if size > kernel.MaxMember {
			return &bounded.LimitError{What: fmt.Sprintf("size of %q", name), Limit: kernel.MaxMember}
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}); err != nil {
			return err
		}
		if _, err := bounded.Copy(ctx, tw, r, size, fmt.Sprintf("size of %q", name)); err != nil {
			return fmt.Errorf("read %q: %w", name, bounded.NoEOF(err))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !kernels {
		return &unpack.NoKernelError{Held: held}
	}
	return errors.Join(tw.Close(), zw.Close(), f.Close())
}
