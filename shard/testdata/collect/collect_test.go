package collect

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestMain(m *testing.M) {
	if os.Getenv("CRASH") != "" {
		Crash()
	}
	os.Exit(m.Run())
}

func TestBranch(t *testing.T) {
	var uts syscall.Utsname
	if err := syscall.Uname(&uts); err != nil {
		t.Fatal(err)
	}
	Branch(string([]byte{byte(uts.Release[0]), byte(uts.Release[1])}))
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Random bytes do not compress: the host makes the same.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestFiles(t *testing.T) {
	write(t, "/tmp/out/plain.txt", []byte("plain\n"))
	write(t, "/tmp/out/deep/er/random.bin", random(2<<20))
	write(t, "/tmp/out/zeros.bin", make([]byte, 20<<20))
	write(t, "/tmp/out/empty", nil)
	write(t, "/tmp/large/large.bin", random(17<<20))
	write(t, "/tmp/out/Case", nil)
	write(t, "/tmp/out/case", nil)
	write(t, "/tmp/odd/new\nline", []byte("newline"))
	write(t, "/tmp/odd/..dots", []byte("dots"))
	write(t, "/tmp/odd/\xff\xfe", []byte("bytes"))
	write(t, "/tmp/odd/"+strings.Repeat("l", 250), []byte("long"))
	for _, err := range []error{
		os.Symlink("/etc", "/tmp/odd/link"), os.Symlink("/tmp/out/plain.txt", "/tmp/link.txt"), syscall.Mkfifo("/tmp/odd/fifo", 0o600),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

// A program in a root of its own, of which the core pattern's path would mean
// another directory.
func TestCrash(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	write(t, "/jail/crasher", self)
	if err := os.Chmod("/jail/crasher", 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/crasher")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: "/jail"}
	cmd.Env = []string{"CRASH=1", "GOTRACEBACK=crash"}
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "aborted") {
		t.Errorf("the crasher: %v\n%s", err, &out)
	}
}
