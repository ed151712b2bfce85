package qemu

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
)

// A row is all that an architecture needs: each is whole, and each gives a
// command line.
func TestEveryArch(t *testing.T) {
	for _, name := range goarch.Names() {
		a, err := LookupArch(name)
		if err != nil {
			t.Fatal(err)
		}
		for what, s := range map[string]string{
			"binary": a.Binary, "package": a.Package, "machine": a.Machine, "console": a.Console,
			"CPU under TCG": a.CPU[TCG], "CPU on KVM": a.CPU[KVM], "bus": a.Bus.Name,
		} {
			if s == "" {
				t.Errorf("%s has no %s", name, what)
			}
		}
		m := Machine{Arch: a, Accel: TCG, Kernel: "/k", Initrd: "/i", Nonce: "n0"}
		lines := 1
		if a.Results != "" {
			lines = 2
		}
		if got := group(m.Args(), "-serial"); len(got) != lines {
			t.Errorf("%s has the serial lines %v, want %d", name, got, lines)
		}
		if c := m.Cmdline(); !strings.HasPrefix(c, "console="+a.Console+" ") || strings.Contains(c, "bkc.results=") != (a.Results != "") || strings.Contains(c, "  ") {
			t.Errorf("%s: command line %q", name, c)
		}
	}
}

// The documentation's table of architectures says what the rows say.
func TestArchesAreInTheTable(t *testing.T) {
	b, err := os.ReadFile("../../.github/docs/machines.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "\n## Architectures\n")
	rows := map[string][]string{}
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, " |"); strings.HasPrefix(line, "|") {
			rows[strings.TrimPrefix(strings.TrimPrefix(cells[0], "|"), " ")] = cells[1:]
		} else if len(rows) > 0 {
			break
		}
	}
	for i, name := range goarch.Names() {
		a, err := LookupArch(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSpace(rows[""][i]); got != name {
			t.Errorf("column %d is of %q, want %s", i, got, name)
		}
		bytes := ""
		if a.MaxCmdline > 0 {
			bytes = strconv.Itoa(a.MaxCmdline - 1)
		}
		for row, want := range map[string]string{
			"QEMU, 5.0 or newer": a.Binary, "its Debian packages": a.Package, "machine": a.Machine,
			"CPU under emulation": a.CPU[TCG], "CPU if an emulator's fault is suspected": a.PlainCPU[TCG],
			"console": a.Console, "a command line's bytes": bytes,
		} {
			if i >= len(rows[row]) || !strings.Contains(strings.ReplaceAll(rows[row][i], "`", ""), want) {
				t.Errorf("%s: %q of %s, want %q", name, rows[row], row, want)
			}
		}
		if own := strings.Contains(rows["results"][i], "own"); own != (a.Results != "") {
			t.Errorf("%s: results %q", name, rows["results"][i])
		}
	}
}

// Kernels cut a command line, and with it what was asked for.
func TestCommandLineFits(t *testing.T) {
	a, err := LookupArch("riscv64")
	if err != nil {
		t.Fatal(err)
	}
	m := Machine{Arch: a, Accel: TCG, Nonce: "n"}
	fill := func(n int) {
		m.Append = []string{strings.Repeat("x", n-len(Machine{Arch: a, Accel: TCG, Nonce: "n"}.Cmdline())-1)}
	}
	if fill(1023); m.Check() != nil {
		t.Error(m.Check())
	}
	if fill(1024); m.Check() == nil {
		t.Error("a command line of 1024 bytes was taken")
	}
}

// Under TCG an amd64 kernel that can do without never uses cmpxchg16b, nor does any where the emulator is in doubt.
func TestAvoids(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*Machine)
		want bool
	}{
		{"usual", func(*Machine) {}, true},
		{"a kernel that needs it", func(m *Machine) { m.Avoid = false }, false},
		{"a kernel that needs it, and the emulator is in doubt", func(m *Machine) { m.Avoid, m.PlainCPU = false, true }, true},
		{"sure", func(m *Machine) { m.Conservative = true }, true},
		{"saved", func(m *Machine) { m.Snapshot = true }, true},
		{"KVM", func(m *Machine) { m.Accel = KVM }, false},
		{"arm64", func(m *Machine) { m.Arch, _ = LookupArch("arm64") }, false},
	} {
		m := machine(t)
		m.Avoid = true
		tt.set(&m)
		if got := strings.Contains(m.Cmdline()+" ", " clearcpuid=141 "); got != tt.want {
			t.Errorf("%s: %s", tt.name, m.Cmdline())
		}
	}
}

func TestArgsOfArm64(t *testing.T) {
	a, err := LookupArch("arm64")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		accel        Accel
		sure         bool
		machine, cpu string
	}{
		{TCG, false, "virt", "max,pauth=off"},
		{TCG, true, "virt", "cortex-a72"},
		{KVM, false, "virt,gic-version=host", "host"},
		{KVM, true, "virt,gic-version=host", "host"},
	} {
		args := Machine{Arch: a, Accel: tt.accel, Conservative: tt.sure}.Args()
		if m, c := group(args, "-M"), group(args, "-cpu"); len(m) != 1 || m[0] != tt.machine || len(c) != 1 || c[0] != tt.cpu {
			t.Errorf("%v, sure %v: -M %v -cpu %v, want %s and %s", tt.accel, tt.sure, m, c, tt.machine, tt.cpu)
		}
	}
}

func TestSandboxAndNet(t *testing.T) {
	m := machine(t)
	if got := group(m.Args(), "-sandbox"); got != nil {
		t.Errorf("-sandbox %v without one", got)
	}
	m.Sandbox, m.Net = Sandbox, true
	args := m.Args()
	if got := group(args, "-sandbox"); len(got) != 1 || !strings.Contains(got[0], "spawn=deny") {
		t.Errorf("-sandbox %v", got)
	}
	if n, d := group(args, "-netdev"), group(args, "-device"); len(n) != 1 || len(d) != 1 || !strings.Contains(d[0], "netdev=net") || !strings.Contains(m.Cmdline(), " bkc.net=user") {
		t.Errorf("-netdev %v -device %v, %s", n, d, m.Cmdline())
	}
}

// What a QEMU does not have is done without.
func TestProbe(t *testing.T) {
	x86, err := LookupArch("amd64")
	if err != nil {
		t.Fatal(err)
	}
	arm, err := LookupArch("arm64")
	if err != nil {
		t.Fatal(err)
	}
	const rom = "qboot.rom"
	for _, tt := range []struct {
		name, script string
		arch         Arch
		accel        Accel
		want         Features
	}{
		{"all", "exit 0", x86, TCG, Features{Sandbox, rom}},
		{"nothing", "echo 'invalid option' >&2; exit 1", x86, TCG, Features{"", ""}},
		{"no filter", `case "$*" in *-sandbox*) exit 1;; esac`, x86, TCG, Features{"", rom}},
		{"no firmware", `case "$*" in *-bios*) exit 1;; esac`, x86, TCG, Features{Sandbox, ""}},
		{"KVM", "exit 0", x86, KVM, Features{Sandbox, ""}},
		{"an architecture that has none", "exit 0", arm, TCG, Features{Sandbox, ""}},
	} {
		if got := Probe(t.Context(), script(t, tt.script), tt.arch, tt.accel); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestFirmware(t *testing.T) {
	m := machine(t)
	if got := group(m.Args(), "-bios"); got != nil {
		t.Errorf("-bios %v without one", got)
	}
	m.Firmware = "qboot.rom"
	if got := group(m.Args(), "-bios"); len(got) != 1 || got[0] != "qboot.rom" {
		t.Errorf("-bios %v", got)
	}
}

func TestWhoMayOpenSaysWhatToDo(t *testing.T) {
	device := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := (host{}).whoMayOpen(device); !strings.Contains(got, "mode 0600") || strings.Contains(got, "usermod") || !strings.Contains(got, `KERNEL=="kvm"`) {
		t.Errorf("for its owner alone: %s", got)
	}
	if os.Geteuid() != 0 {
		return // chown needs it
	}
	const group = 12 // of some name or none
	if err := os.Chown(device, 0, group); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(device, 0o660); err != nil {
		t.Fatal(err)
	}
	if got := (host{}).whoMayOpen(device); !strings.Contains(got, "mode 0660") || !strings.Contains(got, "usermod -aG ") {
		t.Errorf("for a group: %s", got)
	}
}
