package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// MaxName is the longest name in bytes: file systems allow 255, and reports
// add a suffix.
const MaxName = 200

// SafeName makes a name from elsewhere safe as one element of a relative path,
// in a workflow command and in an uploaded artifact. It keeps [A-Za-z0-9._+~-]
// and writes every other byte as "_xx" in hex: the colon too, which artifacts
// do not allow. A leading "-" or "." is written so as well. A name of more than
// 200 bytes is cut, and ends in 16 hex digits of its SHA-256. The empty name
// becomes "_". Names that differ can become equal; sources tell those apart by
// digest.
func SafeName(s string) string {
	if s == "" {
		return "_"
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if image.SafeByte(c) && !(i == 0 && (c == '-' || c == '.')) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('_')
		b.WriteString(hex.EncodeToString([]byte{c}))
	}
	out := b.String()
	if len(out) > MaxName {
		sum := sha256.Sum256([]byte(s))
		tail := "_" + hex.EncodeToString(sum[:8])
		out = out[:MaxName-len(tail)] + tail
	}
	return out
}
