package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"
)

// A VM that was saved takes its work from fw_cfg, QEMU's way to hand files to a
// guest: what is not there when the VM is saved, and is when it is restored.
//
// ParamHandover on the kernel command line tells init to wait for it, and
// ReadyLine on the results' line tells the host that init does: that is the
// moment to save the VM. There has been no payload then, and nothing of one run
// is in the VM: not the job, not the nonce.
const (
	ParamHandover = "bkc.handover"
	ReadyLine     = "@bkc-ready"
)

// Names of the files in fw_cfg, which are at most 55 bytes long. HandoverName is
// a Handover, packed; the archives that it tells of have HandoverArchive and
// their number.
const (
	HandoverName    = "opt/bpf-kernel-check/handover"
	HandoverArchive = "opt/bpf-kernel-check/archive-"
)

// Limits of a handover, for init, which reads it before it has anything else.
const (
	MaxHandover         = 2 << 20 // bytes of the Handover, packed
	MaxHandoverArchives = 8
)

// Handover is what a restored VM has to be told: everything that differs from
// one run to the next.
type Handover struct {
	Nonce    string // as ParamNonce
	Now      int64  // the host's clock, ns since 1970; the guest's stood still while it was saved
	Entropy  []byte // at least MinEntropy bytes: all guests of one saved VM have the same random state
	Archives []HandoverPackage
}

// MinEntropy is what a restored guest needs of new entropy, in bytes.
const MinEntropy = 32

// HandoverPackage is an archive in fw_cfg, of any format: what it holds is told
// beside it, so that the guest has nothing to parse.
type HandoverPackage struct {
	Size  int64  // bytes
	Sum   uint32 // Checksum, against pages that moved while they were filled
	Files []HandoverFile
}

// HandoverFile is a file or a directory to make in the guest's root.
type HandoverFile struct {
	Name   string // from the root on, without a slash at its start
	Mode   uint32 // as in st_mode, S_IFREG or S_IFDIR
	Offset int64  // in the archive, at or behind the end of the file before
	Size   int64  // bytes
}

// Types of files in HandoverFile's Mode, as stat(2) has them.
const (
	ModeType      = 0o170000
	ModeDirectory = 0o040000
	ModeRegular   = 0o100000
)

// Checksum goes on with a checksum of what is handed over, CRC-32C, which
// processors have an instruction for; 0 is that of nothing.
func Checksum(sum uint32, b []byte) uint32 { return crc32.Update(sum, castagnoli, b) }

// PackHandover is what ParseHandover reads.
func PackHandover(h Handover) []byte {
	b := packString(nil, h.Nonce)
	b = binary.AppendUvarint(b, uint64(max(0, h.Now)))
	b = packString(b, string(h.Entropy))
	b = binary.AppendUvarint(b, uint64(len(h.Archives)))
	for _, a := range h.Archives {
		b = binary.AppendUvarint(b, uint64(max(0, a.Size)))
		b = binary.AppendUvarint(b, uint64(a.Sum))
		b = binary.AppendUvarint(b, uint64(len(a.Files)))
		for _, f := range a.Files {
			b = packString(b, f.Name)
			b = binary.AppendUvarint(b, uint64(f.Mode))
			b = binary.AppendUvarint(b, uint64(max(0, f.Offset)))
			b = binary.AppendUvarint(b, uint64(max(0, f.Size)))
		}
	}
	return binary.LittleEndian.AppendUint32(b, Checksum(0, b))
}

var errHandover = errors.New("the handover is damaged")

// ParseHandover reads a Handover that PackHandover made. Its Entropy is a part of
// b.
func ParseHandover(b []byte) (Handover, error) {
	const sum = 4
	if len(b) < sum || binary.LittleEndian.Uint32(b[len(b)-sum:]) != Checksum(0, b[:len(b)-sum]) {
		return Handover{}, errHandover
	}
	u := &unpacker{b: b[:len(b)-sum]}
	h := Handover{Nonce: string(u.bytes()), Now: int64(u.uint(math.MaxInt64)), Entropy: u.bytes()}
	n := u.uint(math.MaxInt64)
	if n > MaxHandoverArchives {
		return Handover{}, fmt.Errorf("the handover has %d archives, more than %d", n, MaxHandoverArchives)
	}
	for range n {
		a := HandoverPackage{Size: int64(u.uint(math.MaxInt64)), Sum: uint32(u.uint(math.MaxUint32))}
		end := int64(0)
		a.Files = make([]HandoverFile, u.count())
		for i := range a.Files {
			f := HandoverFile{Name: string(u.bytes()), Mode: uint32(u.uint(math.MaxUint32)), Offset: int64(u.uint(math.MaxInt64)), Size: int64(u.uint(math.MaxInt64))}
			switch kind := f.Mode & ModeType; {
			case u.bad:
				return Handover{}, errHandover
			case !filepath.IsLocal(f.Name):
				return Handover{}, fmt.Errorf("the handover has a file %q", f.Name)
			case kind != ModeRegular && kind != ModeDirectory:
				return Handover{}, fmt.Errorf("the handover's %s is of mode %#o, neither a file nor a directory", f.Name, f.Mode)
			case f.Offset < end || f.Offset > a.Size || f.Size > a.Size-f.Offset:
				return Handover{}, fmt.Errorf("the handover's %s does not lie in its archive", f.Name)
			}
			end = f.Offset + f.Size
			a.Files[i] = f
		}
		h.Archives = append(h.Archives, a)
	}
	switch {
	case !u.done():
		return Handover{}, errHandover
	case h.Nonce == "":
		return Handover{}, errors.New("the handover has no nonce")
	case h.Now <= 0:
		return Handover{}, errors.New("the handover has no time")
	case len(h.Entropy) < MinEntropy:
		return Handover{}, fmt.Errorf("the handover has %d bytes of entropy, want %d", len(h.Entropy), MinEntropy)
	}
	return h, nil
}
