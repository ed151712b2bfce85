package libbpf

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest"
)

// program is the C program for this machine.
func program(t testing.TB) string {
	t.Helper()
	b, err := guest.Program(t.Context(), runtime.GOARCH, guest.Libbpf)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "libbpf-loader")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpen(t *testing.T) {
	t.Parallel()
	p := program(t)
	for _, f := range []string{"lsm", "net", "newer", "odd", "rejected", "ringbuf", "trace"} {
		o, err := Open("../testdata/"+f+".bpf.o", Options{Program: p})
		if err != nil {
			t.Error(err)
			continue
		}
		t.Log(f, o.Programs(), o.Maps(), o.Notes())
		o.Close()
	}
	bad := filepath.Join(t.TempDir(), "bad.o")
	if err := os.WriteFile(bad, []byte("\x7fELF and then nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(bad, Options{Program: p})
	var refused *Error
	if !errors.As(err, &refused) || refused.Errno == 0 || len(refused.Messages) == 0 {
		t.Errorf("%v: want libbpf's words", err)
	}
	t.Log(err)
	if _, err := Open("/does/not/exist", Options{Program: p}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v: want ENOENT", err)
	}
	if _, err := Open(bad, Options{Program: "/bin/true"}); !errors.Is(err, ErrCrashed) || !strings.Contains(err.Error(), "exit status 0") {
		t.Errorf("%v: want a crash", err)
	}
}
