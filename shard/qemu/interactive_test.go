package qemu

import (
	"slices"
	"strings"
	"testing"
)

// A machine on a terminal is the machine that run boots, but for where its
// serial lines go.
func TestTerminalArgs(t *testing.T) {
	arch, err := LookupArch("amd64")
	if err != nil {
		t.Fatal(err)
	}
	m := Machine{Arch: arch, Accel: TCG, Kernel: "k", Initrd: "i", Nonce: "n"}
	got := m.TerminalArgs()
	var serials, others []string
	for i, all := 0, got; i < len(all); i++ {
		switch all[i] {
		case "-serial", "-chardev", "-mon":
			serials = append(serials, all[i]+" "+all[i+1])
			i++
		case "-add-fd":
			t.Errorf("%q has no descriptors to give", got)
		default:
			others = append(others, all[i])
		}
	}
	want := []string{"-chardev stdio,id=terminal,mux=on,signal=off", "-serial chardev:terminal", "-mon chardev=terminal,mode=readline", "-serial null"}
	if !slices.Equal(serials, want) {
		t.Errorf("%q, want %q", serials, want)
	}
	for _, a := range others {
		if !slices.Contains(m.Args(), a) {
			t.Errorf("%q is not an argument of run", a)
		}
	}
	arch.Results = ""
	m.Arch = arch
	if slices.Contains(m.TerminalArgs(), "null") {
		t.Error("a machine with one line gets two")
	}
}

func TestExtras(t *testing.T) {
	if got := (Extras{}).Args(pci); len(got) > 0 {
		t.Errorf("nothing is asked for: %q", got)
	}
	line := strings.Join(Machine{Arch: Arch{Bus: pci}, Extras: Extras{GDB: "/tmp/a,b/gdb.sock", Share: "/"}}.Args(), " ")
	for _, want := range []string{
		" -S -gdb unix:path=/tmp/a,,b/gdb.sock,server=on,wait=off",
		" -fsdev local,id=host,security_model=none,readonly=on,multidevs=remap,path=/ -device virtio-9p-pci,fsdev=host,mount_tag=bkc-host",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("%q has no %q", line, want)
		}
	}
	line = strings.Join(Machine{Root: "disk", Disk: "/tmp/a,b/root.ext4", DiskDevice: "nvme,serial=root"}.Args(), " ")
	for _, want := range []string{
		" -drive file=/tmp/a,,b/root.ext4,format=raw,if=none,readonly=on,id=root -device nvme,serial=root,drive=root", " bkc.root=disk ",
	} {
		if !strings.Contains(line+" ", want) {
			t.Errorf("%q has no %q", line, want)
		}
	}
	if err := (Extras{GDB: "/" + strings.Repeat("x", 107)}).Check(); err == nil || !strings.Contains(err.Error(), "TMPDIR") {
		t.Error(err)
	}
	if err := (Extras{GDB: "/" + strings.Repeat("x", 106)}).Check(); err != nil {
		t.Error(err)
	}
}
