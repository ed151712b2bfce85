package qemu

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func amd64(t testing.TB) Arch {
	t.Helper()
	a, err := LookupArch("amd64")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func machine(t testing.TB) Machine {
	return Machine{Arch: amd64(t), Accel: TCG, Kernel: "/k/vmlinux", Initrd: "/k/initrd", Nonce: "n0"}
}

// group returns the values of an option, in order.
func group(args []string, option string) []string {
	var vs []string
	for i, a := range args {
		if a == option && i+1 < len(args) {
			vs = append(vs, args[i+1])
		}
	}
	return vs
}

func TestArgs(t *testing.T) {
	args := machine(t).Args()
	for option, want := range map[string][]string{
		"-M":       {"pc"},
		"-accel":   {"tcg,tb-size=128"},
		"-cpu":     {"max,-erms,-fsrm"},
		"-smp":     {"1"},
		"-m":       {"1024M"},
		"-kernel":  {"/k/vmlinux"},
		"-initrd":  {"/k/initrd"},
		"-display": {"none"},
		"-add-fd":  {"fd=3,set=3", "fd=4,set=4"},
		"-serial":  {"chardev:console", "chardev:results"},
		"-netdev":  nil,
		"-nic":     nil,
	} {
		if d := cmp.Diff(want, group(args, option)); d != "" {
			t.Errorf("%s (-want +got):\n%s", option, d)
		}
	}
	for _, flag := range []string{"-nodefaults", "-no-user-config", "-no-reboot"} {
		if !strings.Contains(" "+strings.Join(args, " ")+" ", " "+flag+" ") {
			t.Errorf("%s is missing", flag)
		}
	}
	kvm := machine(t)
	kvm.Accel, kvm.CPUs, kvm.Memory = KVM, 2, 512
	args = kvm.Args()
	for option, want := range map[string]string{"-accel": "kvm", "-cpu": "host", "-smp": "2", "-m": "512M"} {
		if got := group(args, option); len(got) != 1 || got[0] != want {
			t.Errorf("%s %v, want %s", option, got, want)
		}
	}
}

func TestCmdline(t *testing.T) {
	m := machine(t)
	m.Append = []string{"last=1"}
	m.TSC = 2_300_000
	fields := strings.Fields(m.Cmdline())
	for _, want := range []string{
		"console=ttyS0", "printk.time=1", "oops=panic", "panic=-1", "loglevel=5", "clocksource=acpi_pm", "tsc_early_khz=2300000",
		"bkc.nonce=n0", "bkc.results=ttyS1",
	} {
		n := 0
		for _, f := range fields {
			if f == want {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s stands %d times in %q", want, n, m.Cmdline())
		}
	}
	if fields[len(fields)-1] != "last=1" {
		t.Errorf("what is appended does not come last: %q", m.Cmdline())
	}
}

func TestTSC(t *testing.T) {
	a, b := TSC(), TSC()
	if a == 0 && runtime.GOARCH != "amd64" {
		t.Skip("no time stamp counter on " + runtime.GOARCH)
	}
	// The kernel takes no frequency that is off by more than a hundredth.
	if a == 0 || max(a, b)-min(a, b) > a/1000 {
		t.Errorf("measured %d and %d kHz", a, b)
	}
}

func TestLookupArchNamesTheChoices(t *testing.T) {
	if _, err := LookupArch("sparc64"); err == nil || !strings.Contains(err.Error(), "amd64") {
		t.Errorf("got %v", err)
	}
	if _, err := ParseAccel("hvf"); err == nil || !strings.Contains(err.Error(), "auto, kvm or tcg") {
		t.Errorf("got %v", err)
	}
}

// script writes a program that stands in for QEMU where its own behaviour is
// what the test is about: how its process ends.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu")
	// A program that another test starts meanwhile would hold the file open for
	// writing until it is executed, and this one could not be: go.dev/issue/22315.
	syscall.ForkLock.RLock()
	err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunReportsHowTheProcessEnded(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		check      func(Exit) bool
	}{
		{"clean", "echo con >&3; echo res >&4", func(e Exit) bool { return e.Clean() }},
		{"status", "echo oh dear >&2; exit 3", func(e Exit) bool { return !e.Clean() && e.Code == 3 && strings.Contains(e.String(), "oh dear") }},
		{"signal", "kill -9 $$", func(e Exit) bool { return !e.Clean() && e.Signal == "SIGKILL" && !e.Killed }},
		{"loud", "yes 0123456789 | head -c 10000000 >&2", func(e Exit) bool { return e.Clean() && len(e.Stderr) <= 16<<10 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var con, res bytes.Buffer
			e, err := Run(t.Context(), script(t, tt.text), machine(t), &con, &res)
			if err != nil || !tt.check(e) {
				t.Errorf("got %+v, %v", e, err)
			}
			if tt.name == "clean" && (con.String() != "con\n" || res.String() != "res\n") {
				t.Errorf("console %q, results %q", con.String(), res.String())
			}
		})
	}
	if _, err := Run(t.Context(), "/does/not/exist", machine(t), &bytes.Buffer{}, &bytes.Buffer{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want not exist", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	for _, text := range []string{
		"exec sleep 1000",
		"trap '' TERM; while :; do sleep 1; done", // has to be killed
	} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(200*time.Millisecond, cancel)
		e, err := Run(ctx, script(t, text), machine(t), &bytes.Buffer{}, &bytes.Buffer{})
		if err != nil || !e.Killed || e.Clean() {
			t.Errorf("%s: %+v, %v", text, e, err)
		}
	}
}

// failing refuses what is written to it.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestRunDrainsWhenAWriterFails(t *testing.T) {
	e, err := Run(t.Context(), script(t, "head -c 1000000 /dev/zero >&3"), machine(t), failing{}, &bytes.Buffer{})
	if err != nil || !e.Clean() {
		t.Errorf("got %+v, %v: the guest must not be stopped by a full disk", e, err)
	}
}

func TestProveKVM(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for device, want := range map[string]string{
		filepath.Join(dir, "nothing"): "there is no ",
		file:                          "does not run a guest",
		"/dev/null":                   "does not run a guest",
	} {
		err := ProveKVM(t.Context(), device)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", device, err, want)
		}
		accel, why, err := Choose(t.Context(), Auto, amd64(t), device)
		if err != nil || accel != TCG || !strings.Contains(why, want) {
			t.Errorf("auto on %s: %v, %q, %v; want tcg and why", device, accel, why, err)
		}
		if accel, _, err := Choose(t.Context(), KVM, amd64(t), device); err == nil || accel != Unknown {
			t.Errorf("kvm on %s: %v, %v; want an error", device, accel, err)
		}
	}
	if accel, why, err := Choose(t.Context(), TCG, amd64(t), DefaultKVM); accel != TCG || why != "" || err != nil {
		t.Errorf("tcg: %v, %q, %v", accel, why, err)
	}
}

// Whatever this machine has, the probe comes to an end and a verdict, and one
// that agrees with itself.
func TestProveKVMHere(t *testing.T) {
	start := time.Now()
	accel, why, err := Choose(t.Context(), Auto, amd64(t), DefaultKVM)
	if err != nil || accel == TCG && why == "" || accel == KVM && why != "" {
		t.Errorf("got %v, %q, %v", accel, why, err)
	}
	if d := time.Since(start); d > 2*proofLimit {
		t.Errorf("took %v", d)
	}
	t.Logf("%v: %s", accel, why)
}
