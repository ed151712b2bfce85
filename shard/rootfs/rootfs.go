// Package rootfs makes the guest's root file system from what users have: a
// directory, a tar, an image or a list of packages.
package rootfs

import (
	"context"
	"errors"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// Root is a root file system in the cache.
type Root struct {
	Spec   string // as the user gave it
	Digest string // of its content, "sha256:<hex>"
	Arch   string // GOARCH's name; "" if not known
	Size   int64  // bytes of its files
	Files  int
}

// Open returns the root that spec names, and makes it the first time.
func Open(ctx context.Context, c *kernel.Cache, spec, arch string) (*Root, error) {
	return nil, errors.New("not there yet")
}

// Image returns the path of the root as a read-only ext4 image, which is made the
// first time.
func (r *Root) Image(ctx context.Context) (string, error) {
	return "", errors.New("not there yet")
}

// Archive returns the path of the root as a cpio archive, for kernels that cannot
// mount Image. Such an archive has no extended attributes: they stand in its file
// [wire.XattrsPath], which is the first, as JSON of []wire.Xattr.
func (r *Root) Archive(ctx context.Context) (string, error) {
	return "", errors.New("not there yet")
}

// ReadFile returns a file of at most max bytes. Links are followed within the
// root.
func (r *Root) ReadFile(name string, max int64) ([]byte, error) {
	return nil, errors.New("not there yet")
}
