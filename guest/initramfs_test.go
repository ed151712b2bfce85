package guest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/u-root/u-root/pkg/cpio"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

func samplePayload() Payload {
	return Payload{
		Job: wire.Job{Args: []string{"/payload/x", "-v"}, Name: "x", Timeout: time.Minute},
		Files: []File{
			{Path: "/payload/x", Mode: 0o755, Data: []byte("program")},
			{Path: "/etc/deep/down/file", Mode: 0o600, Data: []byte("data")},
			{Path: "/etc/a", Mode: 0o644},
		},
	}
}

func TestInitramfsIsReproducible(t *testing.T) {
	want, err := Initramfs([]byte("init"), samplePayload())
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		p := samplePayload()
		rand.Shuffle(len(p.Files), func(i, j int) { p.Files[i], p.Files[j] = p.Files[j], p.Files[i] })
		got, err := Initramfs([]byte("init"), p)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatal("the same payload in another order gives other bytes")
		}
	}
}

func TestInitramfsHoldsWhatTheKernelNeeds(t *testing.T) {
	b, err := Initramfs([]byte("init"), samplePayload())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	seen := map[string]bool{"": true, ".": true}
	r := bytes.NewReader(b)
	for part := range 2 {
		records, err := cpio.ReadAllRecords(cpio.Newc.Reader(r))
		if err != nil {
			t.Fatalf("archive %d: %v", part, err)
		}
		for _, rec := range records {
			if dir := filepath.Dir(rec.Name); !seen[dir] {
				t.Errorf("%s stands before its directory: the kernel passes over it", rec.Name)
			}
			seen[rec.Name] = true
			if rec.MTime != 0 || rec.UID != 0 {
				t.Errorf("%s: mtime %d, uid %d, want 0", rec.Name, rec.MTime, rec.UID)
			}
			got = append(got, rec.Name)
		}
		// The next archive follows the first one's trailer.
		end := bytes.Index(b, []byte("TRAILER!!!"))
		b = bytes.TrimLeft(b[end+len("TRAILER!!!"):], "\x00")
		r = bytes.NewReader(b)
	}
	want := []string{
		"dev", "proc", "sys", "tmp", "run", "root", "dev/console", "init",
		"etc", "etc/a", "etc/deep", "etc/deep/down", "etc/deep/down/file", "payload", "payload/x", "job.json",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("records (-want +got):\n%s", d)
	}
}

func TestWritePayloadRefuses(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{"relative", "clean absolute path"},
		{"/", "clean absolute path"},
		{"/a/../b", "clean absolute path"},
		{"/a\nb", "clean absolute path"},
		{"/init", "replace init"},
		{wire.JobPath, "stands twice"},
	} {
		err := WritePayload(&bytes.Buffer{}, Payload{Files: []File{{Path: tt.path}}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: got %v, want %q", tt.path, err, tt.want)
		}
	}
}

// build compiles a program of one line.
func build(t *testing.T, arch string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	src := filepath.Join(dir, "main.go")
	if err := os.WriteFile(src, []byte("package main\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "program")
	cmd := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), src)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	return out
}

func TestReadExecutable(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode fs.FileMode, data string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(data), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	static := build(t, "amd64")
	noX := write("no-x", 0o644, "")
	b, err := os.ReadFile(static)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(noX, b, 0o644); err != nil {
		t.Fatal(err)
	}
	// A dynamically linked program: the one thing that is in every Linux.
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path, want string // want: a regular expression; "": accepted
	}{
		{"static", static, ""},
		{"not there", filepath.Join(dir, "nothing"), `does not exist: give the path`},
		{"directory", dir, `is not a regular file`},
		{"an artifact, without its mode", noX, ""},
		{"empty", write("empty", 0o755, ""), `is no ELF executable`},
		{"script", write("script", 0o755, "#!/bin/sh\n"), `is no ELF executable: .*scripts only with their interpreter, as in --rootfs debian:bookworm$`},
		{"ELF magic alone", write("magic", 0o755, "\x7fELF"), `is no ELF executable`},
		{"other architecture", build(t, "arm64"), `is built for arm64: the kernels are for amd64`},
		{"dynamic", sh, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadExecutable(tt.path, "amd64")
			var pe *PayloadError
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && !errors.As(err, &pe):
				t.Errorf("got %v, want a PayloadError", err)
			case tt.want != "" && !regexp.MustCompile(tt.want).MatchString(err.Error()):
				t.Errorf("got %q, want %s", err, tt.want)
			case tt.want != "" && (strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), tt.path)):
				t.Errorf("%q is not one line that names the file", err)
			}
		})
	}
}

// What a restored VM is told of an archive is what stands there.
func TestHandOver(t *testing.T) {
	p := Payload{Job: wire.Job{Name: "n"}, Files: []File{
		{Path: "/one/two/a", Mode: 0o755, Data: []byte("abc")},
		{Path: "/one/empty", Mode: 0o600},
		{Path: "/one/two/b", Mode: 0o400, Data: bytes.Repeat([]byte("b"), 5000)},
	}}
	var b bytes.Buffer
	if err := WritePayload(&b, p); err != nil {
		t.Fatal(err)
	}
	archive := b.Bytes()
	h, err := HandOver(bytes.NewReader(archive), int64(len(archive)))
	if err != nil || h.Size != int64(len(archive)) || h.Sum != xxhash.Sum64(archive) {
		t.Fatalf("%+v, %v", h, err)
	}
	got := map[string]string{}
	for _, f := range h.Files {
		got[string(f.Name)] = fmt.Sprintf("%o %s", f.Mode, archive[f.Offset:f.Offset+f.Size])
	}
	for name, want := range map[string]string{
		"one": "40755 ", "one/two": "40755 ", "one/two/a": "100755 abc", "one/empty": "100600 ", "one/two/b": "100400 " + string(p.Files[2].Data),
	} {
		if got[name] != want {
			t.Errorf("%s is %.40q, want %.40q", name, got[name], want)
		}
	}
	if len(got) != 6 || len(got) != len(h.Files) { // and the job
		t.Errorf("%d files, %d names", len(h.Files), len(got))
	}
	// Init takes it as it is.
	whole := wire.Handover{Nonce: "n", Now: 1, Entropy: make([]byte, wire.MinEntropy), Archives: []wire.HandoverPackage{h}}
	if back, err := wire.ParseHandover(wire.PackHandover(whole)); err != nil || !reflect.DeepEqual(back, whole) {
		t.Errorf("%+v, %v", back, err)
	}
	// Cut anywhere before its trailer's end it is none.
	for n := range bytes.LastIndex(archive, []byte(cpio.Trailer)) + len(cpio.Trailer) {
		if h, err := HandOver(bytes.NewReader(archive[:n]), int64(n)); err == nil {
			t.Fatalf("%d bytes of an archive: %+v", n, h)
		}
	}
}
