package libbpf

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
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
		if len(o.Programs()) == 0 {
			t.Errorf("%s: no programs", f)
		}
		o.Close()
	}
	o, err := Open("../testdata/odd.bpf.o", Options{Program: p})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if got, want := o.Programs()[3], (Program{"optional", "fentry/no_such_function", ebpf.Tracing, ebpf.AttachTraceFEntry, false}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := o.Maps()[0], (Map{"pinned", ebpf.Array, 8, 1, 0, false}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	var built string
	end, err := o.c.call("ask", openTimeout, func(p packet) error { built = p.str(); return p.done() }, "version")
	if end.or(err) != nil || "libbpf "+strings.TrimPrefix(built, "v") != wire.LibbpfVersion {
		t.Errorf("the C program has libbpf %s, %v; want %s", built, err, wire.LibbpfVersion)
	}
	bad := filepath.Join(t.TempDir(), "bad.o")
	if err := os.WriteFile(bad, []byte("\x7fELF and then nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = Open(bad, Options{Program: p})
	var refused *Error
	if !errors.As(err, &refused) || refused.Errno == 0 || len(refused.Messages) == 0 {
		t.Errorf("%v: want libbpf's words", err)
	}
	if _, err := Open("/does/not/exist", Options{Program: p}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v: want ENOENT", err)
	}
	if _, err := Open(bad, Options{Program: "/bin/true"}); !errors.Is(err, ErrCrashed) || !strings.Contains(err.Error(), "exit status 0") {
		t.Errorf("%v: want a crash", err)
	}
}

// Whatever an object holds, it is opened, or refused by libbpf, or libbpf is said
// to have crashed.
func FuzzOpen(f *testing.F) {
	for _, name := range []string{"../testdata/odd.bpf.o", "../testdata/trace.bpf.o", "testdata/settings.bpf.o"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	p := program(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x.o")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		o, err := Open(path, Options{Program: p, Variant: wire.Variant{{Name: "config.on", Value: "true"}}})
		var refused *Error
		switch {
		case err == nil:
			o.Close()
		case !errors.As(err, &refused) && !errors.Is(err, ErrCrashed) && !strings.Contains(err.Error(), "read the object's types"):
			t.Error(err)
		}
	})
}
