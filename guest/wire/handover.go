package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cespare/xxhash/v2"
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
// what PackHandover made; the archives that it tells of have HandoverArchive and
// their number.
const (
	HandoverName    = "opt/bpf-kernel-check/handover"
	HandoverArchive = "opt/bpf-kernel-check/archive-"
)

// Limits of a handover, for init, which reads it before it has anything else.
const (
	MaxHandover         = 8 << 20 // bytes of the Handover, packed
	MaxHandoverArchives = 8
)

// Handover is what a restored VM has to be told: everything that differs from
// one run to the next.
type Handover struct {
	Nonce    string            `json:"nonce"`   // as ParamNonce
	Now      int64             `json:"now_ns"`  // the host's clock, since 1970; the guest's stood still while it was saved
	Entropy  []byte            `json:"entropy"` // at least MinEntropy bytes: all guests of one saved VM have the same random state
	Archives []HandoverPackage `json:"archives"`

	Job json.RawMessage `json:"job,omitempty"` // a Job in place of the archives'; none: theirs counts
}

// MinEntropy is what a restored guest needs of new entropy, in bytes.
const MinEntropy = 32

// HandoverPackage is an archive in fw_cfg, of any format: what it holds is told
// beside it, so that the guest has nothing to parse.
type HandoverPackage struct {
	Size  int64          `json:"size"` // bytes
	Sum   uint64         `json:"sum"`  // XXH64, against pages that moved while they were filled
	Files []HandoverFile `json:"files"`

	// Later is the archive's last file where init leaves it in fw_cfg until
	// something wants it; Sum is then of what comes before it. Its zero value is
	// none. LaterSum is of both.
	Later    HandoverFile `json:"later"`
	LaterSum uint64       `json:"later_sum"`
}

// End is how much of the archive init reads, in bytes.
func (p HandoverPackage) End() int64 {
	if len(p.Later.Name) > 0 {
		return p.Later.Offset
	}
	return p.Size
}

// OnDemandLater holds, in a restored VM, the OnDemandSource of the file at
// OnDemandPath until that is there.
const OnDemandLater = OnDemandPath + ".later"

// OnDemandSource says where in fw_cfg a file is.
type OnDemandSource struct {
	Archive int    `json:"archive"` // its number
	Offset  int64  `json:"offset"`
	Size    int64  `json:"size"`
	Sum     uint64 `json:"sum"` // XXH64 of the archive up to the file's end
}

// HandoverFile is a file or a directory to make in the guest's root.
type HandoverFile struct {
	Name   []byte `json:"name"`   // from the root on, without a slash at its start; JSON's strings are UTF-8, and names need not be
	Mode   uint32 `json:"mode"`   // as in st_mode, S_IFREG or S_IFDIR
	Offset int64  `json:"offset"` // in the archive, at or behind the end of the file before
	Size   int64  `json:"size"`   // bytes
}

// Types of files in HandoverFile's Mode, as stat(2) has them.
const (
	ModeType      = 0o170000
	ModeDirectory = 0o040000
	ModeRegular   = 0o100000
)

// PackHandover is what ParseHandover reads: JSON, and its XXH64 behind it. An
// emulated processor takes fifty times as long for a CRC.
func PackHandover(h Handover) []byte {
	b, err := json.Marshal(h)
	if err != nil {
		panic(err) // no field has a value that cannot be encoded
	}
	return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b))
}

// ParseHandover reads a Handover that PackHandover made.
func ParseHandover(b []byte) (Handover, error) {
	const sum = 8
	body := b[:max(0, len(b)-sum)]
	if len(b) < sum || binary.LittleEndian.Uint64(b[len(body):]) != xxhash.Sum64(body) {
		return Handover{}, errors.New("the handover is damaged")
	}
	var h Handover
	if err := json.Unmarshal(body, &h); err != nil {
		return Handover{}, fmt.Errorf("parse the handover: %w", err)
	}
	switch {
	case h.Nonce == "":
		return Handover{}, errors.New("the handover has no nonce")
	case h.Now <= 0:
		return Handover{}, errors.New("the handover has no time")
	case len(h.Entropy) < MinEntropy:
		return Handover{}, fmt.Errorf("the handover has %d bytes of entropy, want %d", len(h.Entropy), MinEntropy)
	case len(h.Archives) > MaxHandoverArchives:
		return Handover{}, fmt.Errorf("the handover has %d archives, more than %d", len(h.Archives), MaxHandoverArchives)
	}
	for _, a := range h.Archives {
		if err := a.check(); err != nil {
			return Handover{}, fmt.Errorf("the handover's %w", err)
		}
	}
	return h, nil
}

// check says which file cannot be unpacked from the archive, and why.
func (p HandoverPackage) check() error {
	end := int64(0)
	files := p.Files
	if len(p.Later.Name) > 0 {
		files = append(files[:len(files):len(files)], p.Later)
	}
	for _, f := range files {
		switch kind := f.Mode & ModeType; {
		case !filepath.IsLocal(string(f.Name)):
			return fmt.Errorf("file %q does not lie below the root", f.Name)
		case kind != ModeRegular && kind != ModeDirectory:
			return fmt.Errorf("%q is of mode %#o, neither a file nor a directory", f.Name, f.Mode)
		case f.Offset < end || f.Offset > p.Size || f.Size < 0 || f.Size > p.Size-f.Offset:
			return fmt.Errorf("%q does not lie in its archive", f.Name)
		}
		end = f.Offset + f.Size
	}
	return nil
}
