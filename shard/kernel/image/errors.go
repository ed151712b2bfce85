package image

import (
	"errors"
	"fmt"
)

// NotKernelError says that a file is no kernel image.
type NotKernelError struct {
	File   string // as the user knows it; "" when probed without a name
	Reason string
	Other  bool // it is a whole EFI image of something else, such as a boot loader
}

func (e *NotKernelError) Error() string {
	name := "file"
	if e.File != "" {
		name = fmt.Sprintf("%q", e.File)
	}
	return fmt.Sprintf("%s is no kernel image: %s (expected a bzImage, an ELF vmlinux, or an Image or EFI zboot, plain, compressed or in an EFI image)", name, e.Reason)
}

// ErrNoVmlinux is returned by [Info.Vmlinux] for an image that has nothing to
// unpack, or whose compression is not supported: boot it as it is.
var ErrNoVmlinux = errors.New("image has no vmlinux that can be unpacked")
