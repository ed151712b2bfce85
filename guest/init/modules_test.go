package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// A module that is there already is another one than the user's.
func TestLoadOwn(t *testing.T) {
	dir := t.TempDir()
	file := dir + "/own.ko"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	hang := make(chan error)
	defer close(hang)
	for _, tt := range []struct {
		load func() error
		want string
	}{
		{func() error { return nil }, ""},
		{func() error { return unix.EEXIST }, "a module of this name is loaded already"},
		{func() error { return unix.EINVAL }, "own: invalid argument"},
		{func() error { return <-hang }, "its start has not ended after 1ms"},
	} {
		limit := time.Minute
		if strings.Contains(tt.want, "1ms") {
			limit = time.Millisecond
		}
		got := loadOwnFrom(dir, []wire.OwnModule{{Name: "own"}}, limit, func(string, []byte, string) error { return tt.load() })
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
