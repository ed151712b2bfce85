package main

import (
	"debug/elf"
	"fmt"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// gdbWords says how to attach a debugger.
func gdbWords(p shard.Prepared, e plan.Entry) string {
	var b strings.Builder
	b.WriteString("The kernel waits for a debugger. In another terminal:\n")
	command := []string{"gdb", "-ex", "target remote " + p.Machine.Extras.GDB}
	if f, err := elf.Open(p.Vmlinux); err == nil {
		f.Close()
		command = append(command, p.Vmlinux)
	}
	fmt.Fprintf(&b, "    %s\nThere, break with hbreak, such as hbreak *ADDRESS, and let it run with continue. nokaslr is on the\n"+
		"kernel's command line: addresses are those of the file.\n", shellquote.Join(command...))
	release := p.Image.Release
	switch {
	case hasSection(p.Vmlinux, ".debug_info"):
	case e.Distro == "debian" && release != "":
		fmt.Fprintf(&b, "This vmlinux has no debug information. Debian's package linux-image-%s-dbg has one that has, where the\n"+
			"archive still holds that version: give gdb /usr/lib/debug/boot/vmlinux-%s in its place.\n", release, release)
	default:
		b.WriteString("This vmlinux has no debug information: give gdb one of the same build that has, from your distribution's\npackage of debug symbols.\n")
	}
	return b.String()
}

func hasSection(path, name string) bool {
	if path == "" {
		return false
	}
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return f.Section(name) != nil
}
