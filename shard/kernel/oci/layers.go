package oci

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"maps"
	"path"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
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

func newOverlay(bytes int) *overlay {
	return &overlay{hidden: map[string]bool{}, opaque: map[string]bool{}, bytes: bytes}
}

// note takes a file of a layer, and says whether it is a whiteout.
func (o *overlay) note(name string) (whiteout bool, err error) {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	if base == whiteoutOpaque {
		return true, o.add(o.opaque, dir)
	}
	if hidden, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		if hidden == "" {
			return true, nil
		}
		return true, o.add(o.hidden, path.Join(dir, hidden))
	}
	return false, o.add(o.hidden, name)
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
func walkLayers(ctx context.Context, layers []layer, fn kernel.WalkFunc) error {
	if len(layers) > maxLayers {
		return &bounded.LimitError{What: "number of layers", Limit: maxLayers}
	}
	above := newOverlay(0)
	budget := unpack.Budget{Bytes: unpack.MaxArchive, Members: unpack.MaxMembers}
	for i := len(layers) - 1; i >= 0; i-- {
		r, err := layers[i](ctx)
		if err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
		own := newOverlay(above.bytes)
		err = budget.Walk(ctx, r, func(r io.Reader) unpack.Reader { return tar.NewReader(r) }, func(hdr *tar.Header, r io.Reader) error {
			name, ok := unpack.MemberName(strings.TrimPrefix(hdr.Name, "/"))
			if !ok || hdr.Typeflag == tar.TypeDir {
				return nil
			}
			if whiteout, err := own.note(name); whiteout || err != nil {
				return err
			}
			if hdr.Typeflag != tar.TypeReg || above.hides(name) {
				return nil
			}
			return fn(name, hdr.Size, r)
		})
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
		// A layer hides nothing of itself.
		maps.Copy(above.hidden, own.hidden)
		maps.Copy(above.opaque, own.opaque)
		above.bytes = own.bytes
	}
	return nil
}
