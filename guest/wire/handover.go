package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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
// a Handover as JSON; the archives that it tells of have HandoverArchive and
// their number.
const (
	HandoverName    = "opt/bpf-kernel-check/handover"
	HandoverArchive = "opt/bpf-kernel-check/archive-"
)

// Limits of a handover, for init, which reads it before it has anything else.
const (
	MaxHandover         = 1 << 20 // bytes of the Handover
	MaxHandoverArchives = 8
)

// Handover is what a restored VM has to be told: everything that differs from
// one run to the next.
type Handover struct {
	Nonce    string            `json:"nonce"`    // as ParamNonce
	Now      int64             `json:"now"`      // the host's clock, ns since 1970; the guest's stood still while it was saved
	Entropy  []byte            `json:"entropy"`  // at least MinEntropy bytes: all guests of one saved VM have the same random state
	Archives []HandoverPackage `json:"archives"` // to unpack into the root, in this order
}

// MinEntropy is what a restored guest needs of new entropy, in bytes.
const MinEntropy = 32

// HandoverPackage is a cpio archive in fw_cfg.
type HandoverPackage struct {
	Size int64  `json:"size"`   // bytes
	Sum  uint32 `json:"crc32c"` // against pages that moved while they were filled
}

// ParseHandover reads a Handover. A field it does not know is an error: host and
// guest are built together, so it means that they were not.
func ParseHandover(b []byte) (Handover, error) {
	var h Handover
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return Handover{}, fmt.Errorf("parse the handover: %w", err)
	}
	switch _, err := dec.Token(); {
	case err != io.EOF:
		return Handover{}, fmt.Errorf("parse the handover: more follows after it")
	case h.Nonce == "":
		return Handover{}, fmt.Errorf("the handover has no nonce")
	case h.Now <= 0:
		return Handover{}, fmt.Errorf("the handover has no time")
	case len(h.Entropy) < MinEntropy:
		return Handover{}, fmt.Errorf("the handover has %d bytes of entropy, want %d", len(h.Entropy), MinEntropy)
	case len(h.Archives) > MaxHandoverArchives:
		return Handover{}, fmt.Errorf("the handover has %d archives, more than %d", len(h.Archives), MaxHandoverArchives)
	}
	for _, a := range h.Archives {
		if a.Size < 0 {
			return Handover{}, fmt.Errorf("the handover has an archive of %d bytes", a.Size)
		}
	}
	return h, nil
}
