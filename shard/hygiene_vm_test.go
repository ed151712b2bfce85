package shard

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// nobody is an ordinary user that every system has.
const nobody = 65534

const noRootDir = "BPF_KERNEL_CHECK_TEST_NO_ROOT" // tells the child where its files are

// A VM needs no root: this test starts itself again as an ordinary user.
func TestNeedsNoRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this is no root: the other tests show it")
	}
	t.Parallel()
	l := theLab(t)
	image, err := l.entry.Source.Open(t.Context(), l.entry.Ref)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // the directory above is for its owner alone
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for to, from := range map[string]string{"kernels/debian/vmlinuz-6.1.0": image.Kernel, "hostile": l.hostile, "test": self} {
		copyFile(t, filepath.Join(dir, to), from)
	}
	if err := os.WriteFile(filepath.Join(dir, "init"), l.init, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(dir, "tmp"), nobody, nobody); err != nil {
		t.Fatal(err)
	}
	l.slots <- struct{}{}
	defer func() { <-l.slots }()
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "test"), "-test.run", "^TestAsOrdinaryUser$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), noRootDir+"="+dir, "HOME="+dir, "TMPDIR="+filepath.Join(dir, "tmp"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestAsOrdinaryUser") {
		t.Errorf("%v\n%s", err, out)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v: left behind in the directory for temporary files", left, err)
	}
}

func copyFile(t *testing.T, to, from string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}

// TestAsOrdinaryUser is the part of TestNeedsNoRoot that is not root.
func TestAsOrdinaryUser(t *testing.T) {
	dir := os.Getenv(noRootDir)
	if dir == "" {
		t.Skip("TestNeedsNoRoot starts it")
	}
	cache, err := kernel.NewCache(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, err := source.Parse(filepath.Join(dir, "kernels"), cache)
	if err != nil {
		t.Fatal(err)
	}
	list, err := plan.New(t.Context(), []kernel.Source{src}, nil)
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	l, err := newTools("amd64")
	if err != nil {
		t.Fatal(err)
	}
	l.cache, l.init = cache, read("init")
	r := l.runner(t, guest.Payload{
		Job:   wire.Job{Args: []string{"/hostile", "pass"}, Name: "hostile", Timeout: far},
		Files: []guest.File{{Path: "/hostile", Mode: 0o755, Data: read("hostile")}},
	})
	results, err := r.Run(t.Context(), list)
	if err != nil || len(results) != 1 || results[0].Verdict != report.Pass {
		t.Errorf("%v, %+v", err, results)
	}
}

// A VM has no network unless it is given one.
func TestNet(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, on := range []bool{false, true} {
		t.Run(map[bool]string{false: "none", true: "given"}[on], func(t *testing.T) {
			l := theLab(t)
			// The host, as the guest of QEMU's user-mode network sees it.
			p, err := guest.TestPayload(t.Context(), l.hostile, []string{"net", "10.0.2.2:" + port}, "/", l.arch.Name, far)
			if err != nil {
				t.Fatal(err)
			}
			r := l.runner(t, p)
			r.Net = on
			if on {
				r.Payload.Modules = append(r.Payload.Modules, NetModules(r.Arch)...)
			}
			k, _ := l.run(t, r)
			if got := k.Verdict == report.Pass; got != on || !on && !strings.Contains(k.Cause.Excerpt, "unreachable") {
				t.Errorf("%v, %+v, modules %v", k.Verdict, k.Cause, k.Modules)
			}
		})
	}
}
