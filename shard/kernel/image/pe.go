package image

import (
	"bufio"
	"bytes"
	"cmp"
	"debug/pe"
	"encoding/binary"
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
// compressed kernel has two.
const maxWraps = 2

// Unwrap is [ProbeFile] for a file of the cache, which errors call name. QEMU starts
// neither EFI images nor most compressed kernels, so a kernel in a wrapper replaces
// the file.
func Unwrap(path, name string) (Info, error) {
	return probeFile(path, name, func(r *os.File, size int64) (Info, error) {
		info, err := probePlain(r, size)
		if !errors.Is(err, errNotKnown) {
			return info, err
		}
		f, info, err := innermost(r, size, filepath.Dir(path))
		if err != nil {
			return Info{}, err
		}
		if err = errors.Join(f.Chmod(0o644), f.Close(), os.Rename(f.Name(), path)); err != nil {
			os.Remove(f.Name())
		}
		return info, err
	})
}

// innermost takes a kernel out of its wrappers, into a new file in dir. A wrapper is
// compression of the whole image, as in Image.gz and vmlinux.zst, or an EFI image with
// the kernel in its .linux section, such as a unified kernel image.
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
		defer f.Close() // the next round reads from it
		os.Remove(f.Name())
		if !errors.Is(err, errNotKnown) {
			return nil, Info{}, err
		}
		r, size = f, n
	}
	return nil, Info{}, &NotKernelError{Reason: errNotKnown.Error()}
}

// unwrap opens what a wrapper holds, and returns what the wrapper says of it. It
// returns nil if there is no wrapper.
func unwrap(r io.ReaderAt, size int64) (io.Reader, Info, error) {
	head := make([]byte, 64)
	k, _ := r.ReadAt(head, 0)
	if c := CompressionOf(head[:k]); c != NoCompression {
		d, err := Decompress(c, io.NewSectionReader(r, 0, size))
		if err != nil {
			return nil, Info{}, &NotKernelError{Reason: fmt.Sprintf("it is compressed by %s: %v", c, err)}
		}
		return d, Info{}, nil
	}
	if !bytes.HasPrefix(head, []byte("MZ")) {
		return nil, Info{}, nil
	}
	// debug/pe reads the relocations of all sections, for which a small file can ask
	// for gigabytes of memory. Only the section headers are needed.
	all := io.NewSectionReader(r, 0, size)
	var header struct {
		Magic [4]byte
		pe.FileHeader
	}
	_, err := all.Seek(int64(binary.LittleEndian.Uint32(head[0x3c:])), io.SeekStart)
	if err == nil {
		err = binary.Read(all, binary.LittleEndian, &header)
	}
	sections := make([]pe.SectionHeader32, header.NumberOfSections)
	if err == nil {
		_, err = all.Seek(int64(header.SizeOfOptionalHeader), io.SeekCurrent)
	}
	if err == nil {
		err = binary.Read(all, binary.LittleEndian, sections)
	}
	if err != nil || string(header.Magic[:]) != "PE\x00\x00" {
		return nil, Info{}, &NotKernelError{Reason: "it starts like an EFI image, whose headers cannot be read"}
	}
	var kernel *io.SectionReader
	wrapper := Info{Arch: goarch.OfPE(header.Machine).Name}
	for _, s := range sections {
		name := string(bytes.TrimRight(s.Name[:], "\x00"))
		if name != ".linux" && name != ".uname" {
			continue
		}
		off, n := int64(s.PointerToRawData), int64(s.SizeOfRawData)
		if s.VirtualSize != 0 { // without what fills the section up
			n = min(n, int64(s.VirtualSize))
		}
		if off+n > size {
			return nil, Info{}, &NotKernelError{Reason: fmt.Sprintf("it is cut short: its section %s ends at byte %d of %d", name, off+n, size)}
		}
		section := io.NewSectionReader(r, off, n)
		if name == ".uname" {
			b, err := io.ReadAll(io.LimitReader(section, 256))
			if err != nil {
				return nil, Info{}, err
			}
			wrapper.Version = cmp.Or(wrapper.Version, VersionToken([]byte(strings.TrimSpace(string(b)))))
			continue
		}
		if kernel != nil {
			return nil, Info{}, &NotKernelError{Reason: "it is an EFI image with two .linux sections"}
		}
		kernel = section
	}
	if kernel == nil {
		return nil, Info{}, &NotKernelError{Reason: "it is an EFI image without a .linux section", Other: true}
	}
	return kernel, wrapper, nil
}

// spool writes what a wrapper holds to a new file. A compressed stream that breaks is
// no kernel.
func spool(inner io.Reader, dir string) (f *os.File, n int64, err error) {
	if c, ok := inner.(io.Closer); ok {
		defer c.Close()
	}
	in := bufio.NewReaderSize(inner, 128<<10)
	head, _ := in.Peek(128 << 10) // an error comes again below
	if _, err := probePlain(bytes.NewReader(head), int64(len(head))); errors.Is(err, errNotKnown) && CompressionOf(head) == NoCompression && !bytes.HasPrefix(head, []byte("MZ")) {
		return nil, 0, &NotKernelError{Reason: "what it holds is none: " + err.Error()} // which may be large
	}
	if f, err = os.CreateTemp(dir, "kernel-"); err != nil {
		return nil, 0, err
	}
	n, err = io.Copy(f, io.LimitReader(in, maxGiven+1))
	file := (*fs.PathError)(nil)
	switch {
	case err == nil && n <= maxGiven:
		return f, n, nil
	case err == nil:
		err = &NotKernelError{Reason: fmt.Sprintf("what it holds has more than %d bytes", maxGiven)}
	case !errors.As(err, &file):
		err = &NotKernelError{Reason: fmt.Sprintf("what it holds breaks off after %d bytes: %v", n, err)}
	}
	f.Close()
	os.Remove(f.Name())
	return nil, 0, err
}
