package source

import (
	"errors"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

func TestCheckGlobs(t *testing.T) {
	if err := CheckGlobs([]string{"*", "6.[1-9]*"}); err != nil {
		t.Error(err)
	}
	for _, g := range []string{"[", "a[", `x\`, ""} {
		var usage *kernel.UsageError
		if err := CheckGlobs([]string{g}); !errors.As(err, &usage) {
			t.Errorf("CheckGlobs(%q): %v, want a UsageError", g, err)
		}
	}
}
