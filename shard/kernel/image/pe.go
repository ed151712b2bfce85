package image

import (
	"bytes"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// maxWraps is how many wrappers a kernel may have: an EFI image around a
// compressed one has two.
const maxWraps = 2

// nested is what a wrapper holds.
type nested struct {
	io.ReaderAt
	depth int
}

// probeWrapped recognises a kernel in a wrapper: compression of the whole image, as
// Image.gz and vmlinux.zst have it, or an EFI image whose .linux section it is, as a
// unified kernel image.
func probeWrapped(r io.ReaderAt, size int64, head []byte) (Info, error) {
	depth := 1
	if n, ok := r.(nested); ok {
		depth = n.depth + 1
	}
	inner, wrapper, err := unwrap(r, size, head)
	if err != nil {
		return Info{}, err
	}
	if inner == nil || depth > maxWraps {
		return Info{}, &NotKernelError{Reason: "its header is not one of a kernel"}
	}
	section, ok := inner.(*io.SectionReader)
	if !ok {
		f, err := os.CreateTemp("", "kernel-")
		if err != nil {
			return Info{}, err
		}
		defer f.Close()
		os.Remove(f.Name()) // it lives as long as it is open
		n, err := copyInner(f, inner)
		if err != nil {
			return Info{}, err
		}
		section = io.NewSectionReader(f, 0, n)
	}
	info, err := Probe(nested{section, depth}, section.Size())
	if nk := (*NotKernelError)(nil); errors.As(err, &nk) {
		around := "an EFI image"
		if c := CompressionOf(head); c != NoCompression {
			around = "compressed by " + string(c)
		}
		return Info{}, &NotKernelError{Reason: fmt.Sprintf("it is %s, and of what is in it: %s", around, nk.Reason)}
	}
	if err != nil {
		return Info{}, err
	}
	if info.Version == "" {
		info.Version = wrapper.Version
	}
	if info.Arch == "" {
		info.Arch = wrapper.Arch
	}
	if wrapper.Arch != "" && info.Arch != wrapper.Arch {
		return Info{}, &NotKernelError{Reason: fmt.Sprintf("it is an EFI image for %s around a kernel for %s", wrapper.Arch, info.Arch)}
	}
	info.Wraps++
	return info, nil
}

// unwrap opens what a wrapper holds, and returns what the wrapper says of it. It
// returns nil for what is no wrapper.
func unwrap(r io.ReaderAt, size int64, head []byte) (io.Reader, Info, error) {
	if c := CompressionOf(head); c != NoCompression {
		d, err := Decompress(c, io.NewSectionReader(r, 0, size))
		if err != nil {
			return nil, Info{}, &NotKernelError{Reason: fmt.Sprintf("it is compressed by %s: %v", c, err)}
		}
		return d, Info{}, nil
	}
	if !bytes.HasPrefix(head, []byte("MZ")) {
		return nil, Info{}, nil
	}
	f, err := pe.NewFile(io.NewSectionReader(r, 0, size))
	if err != nil {
		return nil, Info{}, &NotKernelError{Reason: fmt.Sprintf("it is an EFI image that cannot be read: %v", err)}
	}
	var kernel *io.SectionReader
	wrapper := Info{Arch: goarch.OfPE(f.Machine).Name}
	for _, s := range f.Sections {
		if s.Name != ".linux" && s.Name != ".uname" {
			continue
		}
		off, n := int64(s.Offset), int64(s.Size)
		if s.VirtualSize != 0 { // without what fills the section up
			n = min(n, int64(s.VirtualSize))
		}
		if off+n > size {
			return nil, Info{}, &NotKernelError{Reason: fmt.Sprintf("it is cut short: its section %s ends at byte %d of %d", s.Name, off+n, size)}
		}
		section := io.NewSectionReader(r, off, n)
		if s.Name == ".uname" {
			b, err := io.ReadAll(io.LimitReader(section, 256))
			if err != nil {
				return nil, Info{}, err
			}
			wrapper.Version = VersionToken([]byte(strings.TrimSpace(string(b))))
			continue
		}
		if kernel != nil {
			return nil, Info{}, &NotKernelError{Reason: "it is an EFI image with two .linux sections"}
		}
		kernel = section
	}
	if kernel == nil {
		return nil, Info{}, &NotKernelError{Reason: "it is an EFI image without a .linux section"}
	}
	return kernel, wrapper, nil
}

// copyInner writes what a wrapper holds. A compressed stream that breaks is no kernel.
func copyInner(w io.Writer, inner io.Reader) (int64, error) {
	if c, ok := inner.(io.Closer); ok {
		defer c.Close()
	}
	in := &readError{r: io.LimitReader(inner, maxGiven+1)}
	n, err := io.Copy(w, in)
	switch {
	case in.err != nil:
		return n, &NotKernelError{Reason: fmt.Sprintf("it breaks off after %d bytes: %v", n, in.err)}
	case err == nil && n > maxGiven:
		return n, &NotKernelError{Reason: fmt.Sprintf("it holds more than %d bytes", int64(maxGiven))}
	}
	return n, err
}

// readError tells errors of reading from those of writing.
type readError struct {
	r   io.Reader
	err error
}

func (e *readError) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		e.err = err
	}
	return n, err
}

// Unwrap is [ProbeFile] for a file of our own that is to be booted: QEMU starts
// neither EFI images nor most compressed ones, so a kernel in a wrapper takes the
// file's place.
func Unwrap(path string) (Info, error) {
	info, err := ProbeFile(path)
	if err != nil {
		return Info{}, err
	}
	for ; info.Wraps > 0; info.Wraps-- {
		if err := unwrapFile(path); err != nil {
			return Info{}, fmt.Errorf("take the kernel out of %q: %w", path, err)
		}
	}
	return info, nil
}

func unwrapFile(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	head := make([]byte, 8)
	n, _ := f.ReadAt(head, 0)
	inner, _, err := unwrap(f, st.Size(), head[:n])
	if err != nil {
		return err
	}
	if inner == nil {
		return &NotKernelError{Reason: "it has changed"}
	}
	out, err := os.Create(path + ".inner")
	if err != nil {
		return err
	}
	_, err = copyInner(out, inner)
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(out.Name(), path)
	}
	if err != nil {
		os.Remove(out.Name())
	}
	return err
}
