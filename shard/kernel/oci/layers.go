package oci

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/unpack"
)

// Limits of an OCI image.
const (
	maxLayers     = 200       // count
	maxLayerNames = 128 << 20 // bytes of the names that hide files of lower layers
)

// layer opens one layer of an image, decompressed. Close reads the rest and
// returns an error when the bytes are not those of the layer's digest.
type layer func(ctx context.Context) (io.ReadCloser, error)

const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// overlay remembers what upper layers hide of lower ones.
type overlay struct {
	hidden map[string]bool // paths, with all below them
	opaque map[string]bool // directories, of which only what is below them
	bytes  int
}

func (o *overlay) hides(name string) bool {
	if o.hidden[name] {
		return true
	}
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if o.hidden[dir] || o.opaque[dir] {
			return true
		}
		if dir == "." {
			return false
		}
	}
}

func (o *overlay) add(set map[string]bool, name string) error {
	if !set[name] {
		set[name] = true
		if o.bytes += len(name); o.bytes > maxLayerNames {
			return &bounded.LimitError{What: "size of the names in the image's layers", Limit: maxLayerNames}
		}
	}
	return nil
}

// walkLayers calls fn for each regular file that the image has, the topmost
// layer's first: what whiteouts, other files and links of upper layers hide is
// not there. Names are clean and relative.
func walkLayers(ctx context.Context, layers []layer, fn func(name string, size int64, r io.Reader) error) error {
	if len(layers) > maxLayers {
		return &bounded.LimitError{What: "number of layers", Limit: maxLayers}
	}
	above := &overlay{hidden: map[string]bool{}, opaque: map[string]bool{}}
	left := int64(unpack.MaxArchive)
	count := 0
	for i := len(layers) - 1; i >= 0; i-- {
		r, err := layers[i](ctx)
		if err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
		own := &overlay{hidden: map[string]bool{}, opaque: map[string]bool{}, bytes: above.bytes}
		err = walkLayer(ctx, r, &left, &count, above, own, fn)
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
		// A layer hides nothing of itself.
		for name := range own.hidden {
			above.hidden[name] = true
		}
		for name := range own.opaque {
			above.opaque[name] = true
		}
		above.bytes = own.bytes
	}
	return nil
}

func walkLayer(ctx context.Context, r io.Reader, left *int64, count *int, above, own *overlay, fn func(string, int64, io.Reader) error) error {
	limited := &io.LimitedReader{R: bounded.Reader(ctx, r), N: *left}
	defer func() { *left = limited.N }()
	tr := tar.NewReader(limited)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if limited.N <= 0 {
			return &bounded.LimitError{What: "unpacked size of the image", Limit: unpack.MaxArchive}
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if *count++; *count > unpack.MaxMembers {
			return &bounded.LimitError{What: "number of files in the image", Limit: unpack.MaxMembers}
		}
		name, ok := unpack.MemberName(strings.TrimPrefix(strings.TrimSuffix(hdr.Name, "/"), "/"))
		if !ok || hdr.Typeflag == tar.TypeDir {
			continue
		}
		dir, base := path.Split(name)
		dir = path.Clean(dir)
		if base == whiteoutOpaque {
			if err := own.add(own.opaque, dir); err != nil {
				return err
			}
			continue
		}
		if hiddenName, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
			if hiddenName != "" {
				if err := own.add(own.hidden, path.Join(dir, hiddenName)); err != nil {
					return err
				}
			}
			continue
		}
		if err := own.add(own.hidden, name); err != nil {
			return err
		}
		if hdr.Typeflag != tar.TypeReg || above.hides(name) {
			continue
		}
		if err := fn(name, hdr.Size, tr); err != nil {
			return err
		}
	}
}

// kernelPath maps a path in an image of kernels to that in an archive of one:
// boot/vmlinuz-* and lib/modules/* count below any directory, as images of
// little-vm-helper have them below data/kernels/<name>; so do vmlinuz and config
// there and in the image's root, and a vmlinuz in a directory of the root. ok is
// false for all else.
func kernelPath(name string) (as string, ok bool) {
	parts := strings.Split(name, "/")
	for i := 0; i+3 < len(parts); i++ {
		if parts[i] == "lib" && parts[i+1] == "modules" {
			return strings.Join(parts[i:], "/"), true
		}
	}
	base := parts[len(parts)-1]
	if !unpack.IsKernelName(base) && !unpack.IsConfigName(base) {
		return "", false
	}
	switch {
	case len(parts) >= 2 && parts[len(parts)-2] == "boot":
		return "boot/" + base, true
	case len(parts) == 1, len(parts) == 2 && unpack.IsKernelName(base), len(parts) == 4 && parts[0] == "data" && parts[1] == "kernels":
		return base, true
	}
	return "", false
}

// openLayerTar finds the compression by content: gzip, zstd, or none. Layers
// that can be fetched in parts (eStargz) are many gzip members in a row.
func openLayerTar(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 128<<10)
	head, err := br.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch c := image.CompressionOf(head); c {
	case image.NoCompression:
		return io.NopCloser(br), nil
	case image.Gzip:
		return gzip.NewReader(br)
	default:
		return image.Decompress(c, br)
	}
}
