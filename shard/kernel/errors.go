package kernel

import (
	"errors"
	"fmt"
)

// UsageError says that the user asked for something that cannot be: a spec
// that does not parse, an unknown flavour, a source that is empty or cannot be
// read, a file that is no kernel. It maps to exit code 2; every other error of
// this package is infrastructure.
type UsageError struct {
	Msg string // one line; says what was expected
	Err error  // cause, may be nil
}

func (e *UsageError) Error() string {
	if e.Err == nil {
		return e.Msg
	}
	return e.Msg + ": " + e.Err.Error()
}

func (e *UsageError) Unwrap() error { return e.Err }

func usagef(format string, args ...any) error {
	return &UsageError{Msg: fmt.Sprintf(format, args...)}
}

// BadKernelError says that this one kernel of a source cannot be used: its
// archive is broken, holds no kernel, or has a name that is not safe to use.
type BadKernelError struct {
	ID  string
	Err error
}

func (e *BadKernelError) Error() string { return "kernel " + e.ID + ": " + e.Err.Error() }
func (e *BadKernelError) Unwrap() error { return e.Err }

// NotKernelError says that a file is no kernel image.
type NotKernelError struct {
	File   string // as the user knows it; "" when probed without a name
	Reason string
}

func (e *NotKernelError) Error() string {
	name := "file"
	if e.File != "" {
		name = fmt.Sprintf("%q", e.File)
	}
	return fmt.Sprintf("%s is no kernel image: %s (expected an x86 bzImage, an ELF vmlinux, or an arm64 Image, plain, gzipped or EFI zboot)", name, e.Reason)
}

// DigestError says that bytes are not those that a Ref pins.
type DigestError struct {
	What      string // the file or package
	Want, Got string // "sha256:<hex>"
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("%s has digest %s, not %s as listed", e.What, e.Got, e.Want)
}

// LimitError says that an input is larger than anything legitimate.
type LimitError struct {
	What  string
	Limit int64 // bytes, or a count where What says so
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s exceeds the limit of %d", e.What, e.Limit)
}

// ErrNoVmlinux is returned by [Image.Vmlinux] for an image that has nothing to
// unpack, or whose compression is not supported: boot Image.Kernel as it is.
var ErrNoVmlinux = errors.New("image has no vmlinux that can be unpacked")

// UnsupportedError says that an image uses a compression this package does not
// decompress. It is an [ErrNoVmlinux].
type UnsupportedError struct {
	Compression string
}

func (e *UnsupportedError) Error() string {
	return e.Compression + " compression is not supported: boot the image as it is"
}

// Is makes errors.Is(err, ErrNoVmlinux) true.
func (e *UnsupportedError) Is(target error) bool { return target == ErrNoVmlinux }
