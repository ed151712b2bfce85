package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/summary"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// process is the command, run on one real kernel.
type process struct {
	cmd    *exec.Cmd
	out    string // --out
	tmp    string // its TMPDIR
	stderr bytes.Buffer
}

// startRun starts a run whose payload is a Go program, and returns when its
// VM's console has the text.
func startRun(t *testing.T, source, text string, shell ...string) *process {
	t.Helper()
	if testing.Short() {
		t.Skip("boots VMs")
	}
	cache, err := kernel.DefaultCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	id, err := newestKernel(t.Context(), cache)
	if err != nil {
		t.Fatal(err)
	}
	bin, err := exec.LookPath("bpf-kernel-check")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &process{out: filepath.Join(dir, "out"), tmp: filepath.Join(dir, "tmp")}
	if err := os.Mkdir(p.tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	payload := filepath.Join(dir, "payload")
	if err := os.WriteFile(payload+".go", []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", payload, payload+".go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GO111MODULE=off")
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	args := append(shell, bin, "run", "--cache", cache, "--kernels", "debian:bookworm:cloud-amd64", "--kernel", id, "--test", payload, "--out", p.out)
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Env = append(os.Environ(), "TMPDIR="+p.tmp)
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill() // the test has failed already
			_ = p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("stderr:\n%s", p.stderr.String())
		}
	})
	console := filepath.Join(p.out, "results", id+".txt")
	deadline := time.After(5 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if b, err := os.ReadFile(console); err == nil && bytes.Contains(b, []byte(text)) {
			return p
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the console does not say %q", text)
		}
	}
}

// exitCode waits for the end.
func (p *process) exitCode(t *testing.T) int {
	t.Helper()
	var exit *exec.ExitError
	if err := p.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// A signal ends the VMs, and what is known is written.
func TestSignals(t *testing.T) {
	const sleeps = `package main

import (
	"fmt"
	"time"
)

func main() {
	fmt.Println("the payload sleeps")
	time.Sleep(time.Hour)
}
`
	// Under nohup a child ignores the signal from its start, unless this process
	// handles it.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			p := startRun(t, sleeps, "the payload sleeps")
			if n := vmsOf(t, p.tmp); n != 1 {
				t.Fatalf("%d VMs run before the signal", n)
			}
			if err := p.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if code := p.exitCode(t); code != 128+int(sig) {
				t.Errorf("exit code %d, want %d", code, 128+int(sig))
			}
			if want := "bpf-kernel-check: interrupted by " + unix.SignalName(sig) + "\n"; !strings.HasSuffix(p.stderr.String(), want) {
				t.Errorf("stderr does not end with %q", want)
			}
			summary, err := os.ReadFile(filepath.Join(p.out, summary.Name))
			if err != nil || !bytes.Contains(summary, []byte("[MISSING] debian/")) {
				t.Errorf("%v; summary:\n%s", err, summary)
			}
			shard, err := os.ReadFile(filepath.Join(p.out, "shard-001-of-001.attempt-1.ndjson"))
			if err != nil || bytes.Count(shard, []byte("\n")) != 2 || !bytes.Contains(shard, []byte(`"cut":{"reason":"the run was interrupted"}`)) {
				t.Errorf("%v; the shard file should hold its plan, and why it ended:\n%s", err, shard)
			}
			if n := vmsOf(t, p.tmp); n != 0 {
				t.Errorf("%d VMs are left", n)
			}
			if left, err := os.ReadDir(p.tmp); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// nohup means that a hangup does not end the run.
func TestHangupIsIgnoredUnderNohup(t *testing.T) {
	const waits = `package main

import (
	"fmt"
	"time"
)

func main() {
	fmt.Println("the payload waits")
	time.Sleep(2 * time.Second)
}
`
	p := startRun(t, waits, "the payload waits", "sh", "-c", `trap "" HUP; exec "$@"`, "sh")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if code := p.exitCode(t); code != report.ExitPass {
		t.Errorf("exit code %d", code)
	}
}

// vmsOf counts the QEMU processes whose files are in tmp.
func vmsOf(t *testing.T, tmp string) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, path := range lines {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		program, _, _ := strings.Cut(string(b), "\x00")
		if strings.HasPrefix(filepath.Base(program), "qemu-") && bytes.Contains(b, []byte(tmp)) {
			n++
		}
	}
	return n
}
