package image

import "fmt"

// MissingOption is why a kernel cannot be tested, or not fully.
type MissingOption struct {
	What  string // "CONFIG_BLK_DEV_INITRD is off"
	Then  string // what follows from it, to be read after "so" or a colon
	Fatal bool   // the kernel cannot be tested at all
}

// String puts it in words.
func (o MissingOption) String() string { return o.What + ": " + o.Then }

// need is an option that tests rely on.
type need struct {
	option string
	arch   string // the architecture that needs it; "": all
	module bool   // a module will do
	fatal  bool
	then   string
}

// needs are in the order that they matter in.
func needs() []need {
	return []need{
		{"BLK_DEV_INITRD", "", false, true, "it cannot be given the initramfs with the payload, and panics without a root file system"},
		{"64BIT", "", false, true, "it runs no programs of 64 bits"},
		{"BINFMT_ELF", "", false, true, "it cannot run any program"},
		{"FUTEX", "", false, true, "init, as every Go program, does not start"},
		{"EPOLL", "", false, true, "init, as every Go program, does not start"},
		{"EVENTFD", "", false, true, "init, as every Go program, does not start"},
		{"TTY", "", false, true, "it has no console"},
		{"PRINTK", "", false, true, "nothing is said on the console, so that a crash could not be seen"},
		{"SERIAL_8250", "amd64", false, true, "it has no driver for the serial lines that console and results come on"},
		{"SERIAL_8250_CONSOLE", "amd64", false, true, "nothing is said on the serial console, so that a crash could not be seen"},
		{"SERIAL_AMBA_PL011", "arm64", false, true, "it has no driver for the serial line that console and results come on"},
		{"SERIAL_AMBA_PL011_CONSOLE", "arm64", false, true, "nothing is said on the serial console, so that a crash could not be seen"},
		{"SERIAL_8250", "riscv64", false, true, "it has no driver for the serial line that console and results come on"},
		{"SERIAL_8250_CONSOLE", "riscv64", false, true, "nothing is said on the serial console, so that a crash could not be seen"},
		{"SERIAL_OF_PLATFORM", "riscv64", false, true, "it does not find the serial line that console and results come on"},
		{"SCLP_VT220_TTY", "s390x", false, true, "it has no driver for the terminal that console and results come on"},
		{"SCLP_VT220_CONSOLE", "s390x", false, true, "nothing is said on the console, so that a crash could not be seen"},
		{"HVC_CONSOLE", "ppc64le", false, true, "it has no driver for the terminals that console and results come on"},
		{"PROC_FS", "", false, true, "the guest cannot read its command line"},
		{"PROC_SYSCTL", "", false, true, "its taint cannot be read, without which a crash could go unseen"},
		{"BPF_SYSCALL", "", false, false, "no BPF program can be loaded"},
		{"DEBUG_INFO_BTF", "", false, false, "programs that need the kernel's types (CO-RE, fentry, BPF LSM) do not load"},
		{"BPF_EVENTS", "", false, false, "kprobes and tracepoints take no BPF programs"},
		{"KPROBE_EVENTS", "", false, false, "kprobes cannot be attached by perf events"},
		{"FTRACE_SYSCALLS", "", false, false, "there are no tracepoints of system calls"},
		{"DYNAMIC_FTRACE_WITH_DIRECT_CALLS", "", false, false, "fentry and fexit programs cannot be attached"},
		{"BPF_JIT", "", false, false, "programs are interpreted; fentry, fexit and BPF LSM need the JIT"},
		{"BPF_LSM", "", false, false, "BPF LSM programs do not load"},
		{"CGROUP_BPF", "", false, false, "cgroup programs cannot be attached"},
		{"SYSFS", "", false, false, "the kernel's BTF cannot be read"},
		{"DEVTMPFS", "", false, false, "init makes the device nodes that sysfs tells of; devices that come later have none"},
		{"TMPFS", "", false, false, "the guest runs from a ramfs, without a limit of its own"},
		{"TMPFS_XATTR", "", false, false, "files of the guest have no extended attributes of users"},
		{"CGROUPS", "", false, false, "there are no control groups"},
		{"KALLSYMS", "", false, false, "back traces have addresses for names, and kprobes on functions cannot be attached"},
		{"OVERLAY_FS", "", true, false, "tests of containers are skipped"},
	}
}

// Need is an option that tests rely on, for those who want to know before.
type Need struct {
	Option, Arch string // Arch as in GOARCH; "": all
	Then         string // what follows where it is off
	Fatal        bool   // the kernel cannot be tested then
}

// Needs are the options in the order that they matter in, the fatal ones first.
func Needs() (list []Need) {
	for _, fatal := range []bool{true, false} {
		for _, n := range needs() {
			if n.fatal == fatal {
				list = append(list, Need{n.option, n.arch, n.then, fatal})
			}
		}
	}
	return list
}

// MissingOptions says what in a kernel's configuration speaks against testing it,
// the fatal ones first. arch is as in GOARCH.
func (c Config) MissingOptions(arch string) []MissingOption {
	var fatal, others []MissingOption
	for _, n := range needs() {
		if n.arch != "" && n.arch != arch || c.Has(n.option, n.module) {
			continue
		}
		o := MissingOption{What: fmt.Sprintf("CONFIG_%s is off", n.option), Then: n.then, Fatal: n.fatal}
		if c[n.option] == "m" {
			o.What = fmt.Sprintf("CONFIG_%s is a module", n.option)
		}
		if n.fatal {
			fatal = append(fatal, o)
		} else {
			others = append(others, o)
		}
	}
	return append(fatal, others...)
}

// NoBoot is what in a kernel's configuration can keep init from starting or
// from being heard; nil when nothing does.
func (c Config) NoBoot(arch string) []MissingOption {
	var out []MissingOption
	for _, o := range c.MissingOptions(arch) {
		if o.Fatal {
			out = append(out, o)
		}
	}
	return out
}

// ShareOptions are the options that having the host's root needs, in
// the order they build on each other, as modules or built in. bus is that of
// virtio's bus.
func ShareOptions(bus string) []string {
	return []string{"VIRTIO", bus, "NET_9P", "NET_9P_VIRTIO", "9P_FS", "OVERLAY_FS"}
}

// Missing are those of the options that are off.
func (c Config) Missing(options []string) []string {
	var missing []string
	for _, o := range options {
		if !c.Has(o, true) {
			missing = append(missing, o)
		}
	}
	return missing
}
