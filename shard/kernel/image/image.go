// Package image reads kernel images: formats, compression, modules,
// configuration, symbols and BTF. All of it is hostile input: lengths and
// offsets are checked, and what comes out is capped. It must not know where a
// kernel comes from or where it is kept.
package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// Format is the shape of a kernel image file.
type Format string

// Formats that Probe recognises.
const (
	FormatUnknown Format = ""
	FormatBzImage Format = "bzImage" // x86, Documentation/arch/x86/boot.rst
	FormatVmlinux Format = "vmlinux" // ELF
	FormatImage   Format = "Image"   // arm64 and riscv64, Documentation/arch/arm64/booting.rst
	FormatZboot   Format = "zboot"   // EFI, drivers/firmware/efi/libstub/zboot-header.S
	FormatS390    Format = "s390"    // arch/s390/boot/bzImage, see probeS390
)

// Info is what an image says about itself.
type Info struct {
	Format      Format      `json:"format"`
	Arch        string      `json:"arch,omitempty"`        // as in GOARCH; "" when the header does not tell
	Version     string      `json:"version,omitempty"`     // uname -r; "" when not found
	Compression Compression `json:"compression,omitempty"` // of the payload; "" when there is none
	Offset      int64       `json:"offset,omitempty"`      // of the compressed payload in the file, in bytes
	Length      int64       `json:"length,omitempty"`      // of the compressed payload, in bytes, without the appended size
	PVH         bool        `json:"pvh,omitempty"`         // an ELF file with a Xen PVH entry note
}

// MaxVmlinux caps a decompressed kernel. Distribution kernels are 20 to 100
// MiB; a vmlinux with debug information is given as is, never decompressed.
const MaxVmlinux = 512 << 20

const probeHead = 0x1000

// Probe recognises a kernel image by its content; of one in a wrapper it tells what
// [Unwrap] would leave. It never trusts a length or an offset in the file. A file that
// is no kernel image is a *NotKernelError; any other error is r's own.
func Probe(r io.ReaderAt, size int64) (Info, error) {
	info, err := probePlain(r, size)
	if !errors.Is(err, errNotKnown) {
		return info, err
	}
	f, info, err := innermost(r, size, "")
	if err == nil {
		f.Close()
		os.Remove(f.Name())
	}
	return info, err
}

// errNotKnown is of a file with none of the headers that probePlain knows.
var errNotKnown = errors.New("its header is not one of a kernel")

func probePlain(r io.ReaderAt, size int64) (Info, error) {
	head := make([]byte, min(max(size, 0), probeHead))
	if n, err := r.ReadAt(head, 0); err != nil && !(errors.Is(err, io.EOF) && n == len(head)) {
		return Info{}, fmt.Errorf("read kernel header: %w", err)
	}
	switch {
	case len(head) == 0:
		return Info{}, &NotKernelError{Reason: "it is empty"}
	case len(head) >= 0x260 && string(head[0x202:0x206]) == "HdrS":
		return probeBzImage(r, size, head)
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return probeELF(r, size, head)
	case len(head) >= 64 && string(head[:2]) == "MZ" && string(head[4:8]) == "zimg":
		return probeZboot(r, size, head)
	case goarch.OfImage(head).Name != "":
		v, err := findVersion(io.NewSectionReader(r, 0, size))
		return Info{Format: FormatImage, Arch: goarch.OfImage(head).Name, Version: v}, err
	case isS390(r):
		return probeS390(r, size)
	}
	return Info{}, errNotKnown
}

// ProbeFile is Probe for a file; its *NotKernelError names the file.
func ProbeFile(path string) (Info, error) {
	return probeFile(path, path, func(f *os.File, size int64) (Info, error) { return Probe(f, size) })
}

func probeFile(path, name string, probe func(f *os.File, size int64) (Info, error)) (info Info, err error) {
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() { // opening a FIFO would block
		err = &NotKernelError{Reason: "it is not a regular file"}
	}
	if err == nil {
		var f *os.File
		if f, err = os.Open(path); err == nil {
			defer f.Close()
			info, err = probe(f, st.Size())
		}
	}
	if nk := (*NotKernelError)(nil); errors.As(err, &nk) {
		nk.File = name
		return Info{}, nk
	}
	if err != nil {
		return Info{}, fmt.Errorf("probe kernel image %q: %w", name, err)
	}
	return info, nil
}

func probeBzImage(r io.ReaderAt, size int64, head []byte) (Info, error) {
	info := Info{Format: FormatBzImage}
	protocol := binary.LittleEndian.Uint16(head[0x206:])
	// xloadflags came with 2.12 (Linux 3.8); before that nothing in the
	// header tells 32 from 64 bits.
	if protocol >= 0x20c {
		if binary.LittleEndian.Uint16(head[0x236:])&1 != 0 {
			info.Arch = "amd64"
		} else {
			info.Arch = "386"
		}
	}
	setupSects := int64(head[0x1f1])
	if setupSects == 0 {
		setupSects = 4
	}
	setupEnd := (setupSects + 1) * 512
	if setupEnd > size {
		return Info{}, &NotKernelError{Reason: "its x86 boot header is cut short"}
	}
	if p := int64(binary.LittleEndian.Uint16(head[0x20e:])); p != 0 && p+0x200 < setupEnd {
		buf := make([]byte, min(setupEnd-p-0x200, 256))
		if _, err := r.ReadAt(buf, p+0x200); err != nil && !errors.Is(err, io.EOF) {
			return Info{}, fmt.Errorf("read kernel version: %w", err)
		}
		info.Version = VersionToken(buf)
	}
	if protocol < 0x208 { // no payload fields before 2.08 (Linux 2.6.26)
		return info, nil
	}
	off := setupEnd + int64(binary.LittleEndian.Uint32(head[0x248:]))
	n := int64(binary.LittleEndian.Uint32(head[0x24c:]))
	if n == 0 {
		return info, nil
	}
	if off+n > size {
		return Info{}, &NotKernelError{Reason: fmt.Sprintf("it is cut short: its payload ends at byte %d of %d", off+n, size)}
	}
	return withPayload(r, info, off, n, 4)
}

func probeZboot(r io.ReaderAt, size int64, head []byte) (Info, error) {
	info := Info{Format: FormatZboot}
	off := int64(binary.LittleEndian.Uint32(head[8:]))
	n := int64(binary.LittleEndian.Uint32(head[12:]))
	if n == 0 || off+n > size {
		return Info{}, &NotKernelError{Reason: fmt.Sprintf("it is cut short: its EFI zboot payload ends at byte %d of %d", off+n, size)}
	}
	if pe := int64(binary.LittleEndian.Uint32(head[0x3c:])); pe+6 <= int64(len(head)) && string(head[pe:pe+4]) == "PE\x00\x00" {
		m := binary.LittleEndian.Uint16(head[pe+4:])
		if info.Arch = goarch.OfPE(m).Name; info.Arch == "" {
			return Info{}, &NotKernelError{Reason: fmt.Sprintf("it is an EFI zboot image for PE machine %#x", m)}
		}
	}
	// The header's length already leaves out the appended size.
	info, err := withPayload(r, info, off, n, 0)
	if err != nil {
		return Info{}, err
	}
	return withPayloadVersion(r, info)
}

// withPayload fills in the payload; sizeLen bytes of appended size follow it
// unless it is gzip, which carries its own.
func withPayload(r io.ReaderAt, info Info, off, n, sizeLen int64) (Info, error) {
	magic := make([]byte, min(n, 8))
	if _, err := r.ReadAt(magic, off); err != nil && !errors.Is(err, io.EOF) {
		return Info{}, fmt.Errorf("read kernel payload: %w", err)
	}
	info.Compression = CompressionOf(magic)
	if info.Compression == NoCompression {
		return info, nil
	}
	info.Offset, info.Length = off, n
	if info.Compression != Gzip {
		info.Length = max(0, n-sizeLen)
	}
	return info, nil
}

// withPayloadVersion looks for the version inside of the compressed payload. A
// payload that breaks on the way leaves the version empty: opening says so.
func withPayloadVersion(r io.ReaderAt, info Info) (Info, error) {
	rc, err := info.decompress(r)
	if err != nil {
		return info, nil
	}
	defer rc.Close()
	info.Version, _ = findVersion(rc)
	return info, nil
}

const bannerPrefix = "Linux version "

// findVersion returns the release of the first "Linux version 6.1.0..." in r,
// "" when there is none in the first maxVmlinux bytes.
func findVersion(r io.Reader) (version string, err error) {
	const keep = len(bannerPrefix) + 128 // a banner's start may be split
	err = scan(io.LimitReader(r, MaxVmlinux), keep, func(b []byte, end bool) bool {
		for {
			i := bytes.Index(b, []byte(bannerPrefix))
			if i < 0 || !end && len(b)-i < keep {
				return false
			}
			b = b[i+len(bannerPrefix):]
			if version = VersionToken(b); version != "" {
				return true
			}
		}
	})
	if err != nil {
		return "", fmt.Errorf("look for the kernel's version: %w", err)
	}
	return version, nil
}

// scan gives fn what r holds, in pieces of which each begins with the last keep
// bytes of the one before, until fn returns true.
func scan(r io.Reader, keep int, fn func(b []byte, end bool) (found bool)) error {
	buf := make([]byte, 256<<10)
	for have := 0; ; {
		n, err := io.ReadFull(r, buf[have:])
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			return err
		}
		have += n
		if fn(buf[:have], end) || end {
			return nil
		}
		have = copy(buf, buf[have-min(have, keep):have])
	}
}

// VersionToken returns the kernel release that b starts with, "" when b does
// not start with one. It ends up in logs, so only plain characters count.
func VersionToken(b []byte) string {
	n := 0
	for n < len(b) && n < 128 && (SafeByte(b[n]) || b[n] == ':') {
		n++
	}
	if n == 0 || b[0] < '0' || b[0] > '9' || !bytes.Contains(b[:n], []byte(".")) {
		return ""
	}
	if n < len(b) && b[n] != ' ' && b[n] != 0 {
		return ""
	}
	return string(b[:n])
}

// SafeByte says whether a byte is safe in a file name, a log and a report.
func SafeByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._+~-", c) >= 0
}
