package image

import (
	"bufio"
	"bytes"
	"cmp"
	"debug/pe"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// maxWraps is how many wrappers a kernel may have: an EFI image around a
// compressed one has two.
const maxWraps = 2

// probeWrapped recognises a kernel in a wrapper: compression of the whole image, as
// Image.gz and vmlinux.zst have it, or an EFI image whose .linux section it is, as a
// unified kernel image.
func probeWrapped(r io.ReaderAt, size int64) (Info, error) {
	f, info, err := innermost(r, size, "")
	if err != nil {
		return Info{}, err
	}
	f.Close()
	os.Remove(f.Name())
	info.Wrapped = true
	return info, nil
}

// Unwrap is [ProbeFile] for a file of our own that is to be booted: QEMU starts
// neither EFI images nor most compressed ones, so a kernel in a wrapper takes the
// file's place.
func Unwrap(path string) (Info, error) {
	info, err := ProbeFile(path)
	if err != nil || !info.Wrapped {
		return info, err
	}
	info.Wrapped = false
	r, err := os.Open(path)
	if err != nil {
		return Info{}, err
	}
	defer r.Close()
	st, err := r.Stat()
	if err != nil {
		return Info{}, err
	}
	f, _, err := innermost(r, st.Size(), filepath.Dir(path))
	if err != nil {
		return Info{}, err
	}
	if err := errors.Join(f.Chmod(0o644), f.Close(), os.Rename(f.Name(), path)); err != nil {
		os.Remove(f.Name())
		return Info{}, err
	}
	return info, nil
}

// innermost writes the kernel in one or more wrappers to a new file in dir.
func innermost(r io.ReaderAt, size int64, dir string) (*os.File, Info, error) {
	var said Info
	for range maxWraps {
		inner, wrapper, err := unwrap(r, size)
		if err != nil {
			return nil, Info{}, err
		}
		if inner == nil {
			break
		}
		said.Version, said.Arch = cmp.Or(said.Version, wrapper.Version), cmp.Or(said.Arch, wrapper.Arch)
		f, n, err := spool(inner, dir)
		if err != nil {
			return nil, Info{}, err
		}
		info, err := probePlain(f, n)
		info.Version, info.Arch = cmp.Or(info.Version, said.Version), cmp.Or(info.Arch, said.Arch)
		if err == nil && said.Arch != "" && info.Arch != said.Arch {
			err = &NotKernelError{Reason: fmt.Sprintf("it is an EFI image for %s around a kernel for %s", said.Arch, info.Arch)}
		}
		if err == nil {
			return f, info, nil
		}
		defer f.Close() // what is in it is read from it
		os.Remove(f.Name())
		if !errors.Is(err, errNotKnown) {
			return nil, Info{}, err
		}
		r, size = f, n
	}
	return nil, Info{}, &NotKernelError{Reason: errNotKnown.Error()}
}

// unwrap opens what a wrapper holds, and returns what the wrapper says of it. It
// returns nil for what is no wrapper.
func unwrap(r io.ReaderAt, size int64) (io.Reader, Info, error) {
	head := make([]byte, 8)
	k, _ := r.ReadAt(head, 0)
	head = head[:k]
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

// spool writes what a wrapper holds to a new file. A compressed stream that breaks is
// no kernel.
func spool(inner io.Reader, dir string) (f *os.File, n int64, err error) {
	if c, ok := inner.(io.Closer); ok {
		defer c.Close()
	}
	in := bufio.NewReaderSize(inner, 64<<10)
	head, _ := in.Peek(64 << 10) // what is wrong here is wrong below
	if _, err := probePlain(bytes.NewReader(head), int64(len(head))); errors.Is(err, errNotKnown) && CompressionOf(head) == NoCompression && !bytes.HasPrefix(head, []byte("MZ")) {
		return nil, 0, &NotKernelError{Reason: "what it holds is none: " + err.Error()} // and may be large
	}
	if f, err = os.CreateTemp(dir, "kernel-"); err != nil {
		return nil, 0, err
	}
	n, err = io.Copy(f, io.LimitReader(in, maxGiven+1))
	if err == nil && n > maxGiven {
		err = errors.New("that is more than any kernel has")
	}
	if err == nil {
		return f, n, nil
	}
	f.Close()
	os.Remove(f.Name())
	if file := (*fs.PathError)(nil); !errors.As(err, &file) {
		err = &NotKernelError{Reason: fmt.Sprintf("what it holds breaks off after %d bytes: %v", n, err)}
	}
	return nil, 0, err
}
