package snapshot

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// What does not fit is no fault of the snapshot, which is kept then.
func TestHandOverTooMuch(t *testing.T) {
	s := &Store{Config: Config{Now: time.Now, Random: rand.Reader}}
	for _, size := range []int{100, wire.MaxHandover} {
		job := json.RawMessage(`"` + strings.Repeat("x", size) + `"`)
		_, err := s.handOver(t.TempDir(), "nonce", "", job)
		var no *NotSupportedError
		if fits := size < wire.MaxHandover; fits != (err == nil) || fits == errors.As(err, &no) {
			t.Errorf("a job of %d bytes: %v", size, err)
		}
	}
}
