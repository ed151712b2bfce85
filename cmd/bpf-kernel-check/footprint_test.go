package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// footprint is the most that a run of a thousand kernels may have in memory, in
// MiB. Each of its VMs has a gigabyte.
const footprint = 150

// A thousand kernels take no more memory than ten: nothing of a kernel stays but
// its result. The VMs are stand-ins; QEMU's own memory is QEMU's.
func TestFootprint(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute, and the race detector has memory of its own")
	}
	const n = 1000
	if got := peakOfRun(t, n, 2); got > footprint {
		t.Errorf("a run of %d kernels had %d MiB in memory, want at most %d", n, got, footprint)
	}
}

// peakOfRun runs n kernels on VMs that are none, and returns the most memory
// that the command had, in MiB.
func peakOfRun(t testing.TB, n, jobs int) int64 {
	t.Helper()
	dir := t.TempDir()
	fake := filepath.Join(dir, "bin")
	for _, d := range []string{filepath.Join(fake, "roms"), filepath.Join(dir, "kernels", "debian")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", filepath.Join(fake, "qemu-system-x86_64"), "../../shard/testdata/fakeqemu")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i := range n {
		// A boot header with nothing to unpack.
		b := make([]byte, 5*512)
		b[0x1f1] = 4
		copy(b[0x1fe:], "\x55\xaa")
		copy(b[0x202:], "HdrS\x0f\x02")
		b[0x236] = 1
		copy(b[0x20e:], "\x00\x03")
		copy(b[0x500:], fmt.Sprintf("6.1.%d (someone) #1\x00", i))
		if err := os.WriteFile(filepath.Join(dir, "kernels", "debian", fmt.Sprintf("vmlinuz-6.1.%d", i)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bin, err := exec.LookPath("bpf-kernel-check-measured") // put there by testscript.Main
	if err != nil {
		t.Fatal(err)
	}
	peak := filepath.Join(dir, "peak")
	cmd := exec.CommandContext(t.Context(), bin, "run", "--cache", filepath.Join(dir, "cache"), "--kernels", filepath.Join(dir, "kernels"),
		"--objects", "../../shard/preflight/testdata/*.o", "--accel", "tcg", "-j", fmt.Sprint(jobs), "--out", filepath.Join(dir, "out"))
	cmd.Env = append(os.Environ(), "PATH="+fake+":"+os.Getenv("PATH"), "TMPDIR="+dir, "PEAK="+peak)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out[max(0, len(out)-2000):])
	}
	b, err := os.ReadFile(peak)
	if err != nil {
		t.Fatal(err)
	}
	kib, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil || kib <= 0 {
		t.Fatalf("%q: %v", b, err)
	}
	t.Logf("%d kernels: %d MiB, user %v, system %v", n, kib>>10, cmd.ProcessState.UserTime(), cmd.ProcessState.SystemTime())
	return kib >> 10
}

// measuredMain is main, and leaves in the file that PEAK names how much of its
// memory was resident at most, in KiB. What wait says of a child is no measure:
// it counts what the child was forked from, and what it started.
func measuredMain() {
	saveMemory()
	code := run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv)
	status, err := os.ReadFile("/proc/self/status")
	peak := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(status)
	if err != nil || peak == nil {
		fmt.Fprintln(os.Stderr, "the system does not tell how much memory a process had")
		os.Exit(1)
	}
	if err := os.WriteFile(os.Getenv("PEAK"), peak[1], 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}
