package image

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

// maxGiven caps a vmlinux that is given as it is, debug information and all, in
// bytes.
const maxGiven = 1 << 30

// Vmlinux opens the decompressed kernel in the image file that i is of: the ELF
// vmlinux of an x86 bzImage, an ELF vmlinux as it is, the Image of a zboot, the raw
// kernel of an s390 bzImage. It returns an error that is [ErrNoVmlinux] when there is
// nothing to unpack or the compression is not supported.
func (i Info) Vmlinux(file string) (io.ReadCloser, error) {
	if i.Format != FormatVmlinux && i.Compression == NoCompression {
		return nil, fmt.Errorf("%s: %w", i.Format, ErrNoVmlinux)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	if i.Format == FormatVmlinux {
		return f, nil
	}
	if i.Compression == Zstd && i.Format == FormatBzImage {
		if z, err := openZstdWhole(f, i.Offset, i.Length); z != nil || err != nil {
			f.Close()
			if err != nil {
				return nil, err
			}
			return z, nil
		}
	}
	r, err := i.decompress(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return bounded.ReadCloser(r, r, f), nil
}

// CopyVmlinux copies what Vmlinux has opened, and checks that it is a kernel: if
// not, that is a *NotKernelError.
func (i Info) CopyVmlinux(ctx context.Context, w io.Writer, r io.Reader) error {
	limit := int64(MaxVmlinux)
	if i.Format == FormatVmlinux {
		limit = maxGiven
	}
	r = bounded.Reader(ctx, r)
	head, err := io.ReadAll(io.LimitReader(r, 64))
	if err != nil {
		return err
	}
	switch i.Format {
	case FormatBzImage, FormatVmlinux:
		if err := checkELF(head); err != nil {
			return err
		}
	case FormatS390: // nothing but its banner tells, which was found
	default:
		if goarch.OfImage(head).Name == "" {
			return &NotKernelError{Reason: "it is no Image"}
		}
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err = bounded.Copy(ctx, w, r, limit-int64(len(head)), "size of vmlinux")
	return err
}
