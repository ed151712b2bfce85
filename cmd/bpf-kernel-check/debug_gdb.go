package main

import (
	"debug/elf"
	"fmt"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
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

// checkShare says why a kernel cannot mount the host's root.
func (c *command) checkShare(p shard.Prepared) error {
	config, err := p.Image.ReadConfig(p.Vmlinux)
	if err != nil {
		c.warn("--host-root: " + err.Error() + "; it may not work")
		return nil
	}
	if missing := config.Missing(image.ShareOptions()); len(missing) > 0 {
		all := append(missing, config.Missing(image.VirtioOptions())...)
		return usagef("--host-root: %s cannot mount it: its config lacks CONFIG_%s; build-kernels makes kernels that have them", p.Image.ID(), strings.Join(all, ", CONFIG_"))
	}
	var modules []string
	for _, o := range image.ShareOptions() {
		if config[o] == "m" {
			modules = append(modules, "CONFIG_"+o)
		}
	}
	if len(modules) > 0 && !p.Image.HasModules() {
		return usagef("--host-root: %s cannot mount it: %s are modules, and it came without them", p.Image.ID(), strings.Join(modules, ", "))
	}
	if missing := config.Missing(image.VirtioOptions()); len(missing) > 0 {
		c.warn("the kernel's config lacks CONFIG_" + strings.Join(missing, ", CONFIG_") + ", which the host's root does not need")
	}
	return nil
}
