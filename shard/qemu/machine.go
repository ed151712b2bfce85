package qemu

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Machine is one VM, as a value: the same machine always gives the same
// command line.
type Machine struct {
	Arch   Arch
	Accel  Accel // TCG or KVM
	Kernel string
	Initrd string
	Memory int    // MiB; 0 for DefaultMemory
	CPUs   int    // 0: one. More than the host has cost time under TCG
	TSC    int    // the host's time stamp counter in kHz, see TSC; 0 if not known
	Nonce  string // seeds the result frames' checksums
	Append []string

	Conservative bool   // take the CPU that every kernel starts on, not the fastest
	PlainCPU     bool   // take a plain old CPU, which needs less of the emulator; implies Avoid
	Avoid        bool   // give the kernel Arch.Avoid: it is older than Arch.Needs
	Sandbox      string // -sandbox, as Probe found it; "" for none
	Firmware     string // -bios, as Probe found it, for kernels with a PVH entry; "" for the machine's own
	Net          bool   // a network by QEMU's user-mode stack

	Extras Extras // for debugging, and the host's files as a root

	Snapshot bool   // boots to the point where it waits to be handed its work, without a nonce
	Files    []File // handed to the guest by fw_cfg

	Input *os.File // what the guest reads on the results' line; nil: nothing. Run closes it

	Root       string // how init gets the user's root file system, see wire.ParamRoot; "": there is none
	Disk       string // path of a raw image, for wire.RootDisk; "" for no disk
	DiskDevice string // QEMU's name of it, with its options
}

// File is a file that QEMU hands to the guest.
type File struct {
	Name string // as the guest knows it
	Path string
}

// DefaultMemory is a VM's memory in MiB, as the predecessor's users know it.
const DefaultMemory = 1024

// File descriptors of the QEMU process that carry the serial lines out.
const (
	consoleFD = 3
	resultsFD = 4
)

// Name is QEMU's name of the machine, such as "pc".
func (m Machine) Name() string {
	name, _, _ := strings.Cut(m.machine(), ",")
	return name
}

// Args returns QEMU's arguments.
func (m Machine) Args() []string {
	args := []string{
		// Nothing but what is named here: no config files, network, display,
		// and a VM that ends when its kernel restarts.
		"-no-user-config", "-nodefaults", "-display", "none", "-no-reboot",
		"-name", "bpf-kernel-check",
		"-M", m.machine(),
		"-accel", m.accel(),
		"-cpu", m.cpu(),
		"-smp", strconv.Itoa(max(1, m.CPUs)),
		"-m", strconv.Itoa(m.memory()) + "M",
		"-kernel", m.Kernel,
		"-initrd", m.Initrd,
		"-append", m.Cmdline(),
	}
	if m.Sandbox != "" {
		args = append(args, "-sandbox", m.Sandbox)
	}
	if m.Firmware != "" {
		args = append(args, "-bios", m.Firmware)
	}
	if m.Net {
		// restrict is off: a payload that asks for a network gets the host's.
		card := m.Arch.Bus.Device("net") + ",netdev=net"
		if m.Arch.Bus == pci {
			card += ",romfile=" // nothing to boot from
		}
		args = append(args, "-netdev", "user,id=net", "-device", card)
	}
	// A file character device writes without dropping bytes when the reader is
	// slow, which one made of a socket or pty does.
	for _, l := range m.lines() {
		if m.Input != nil && l.fd == m.inputFD() {
			// As a file one, and QEMU reads its own standard input beside it.
			args = append(args, "-chardev", "stdio,id="+l.id+",signal=off", "-serial", "chardev:"+l.id)
			continue
		}
		args = append(args, serial(l.id, l.fd)...)
	}
	for _, f := range m.Files {
		args = append(args, "-fw_cfg", "name="+f.Name+",file="+escape(f.Path))
	}
	if m.Disk != "" {
		args = append(args, "-drive", "file="+escape(m.Disk)+",format=raw,if=none,readonly=on,id=root", "-device", m.DiskDevice+",drive=root")
	}
	return append(args, m.Extras.Args(m.Arch.Bus)...)
}

// line is a serial line and the descriptor that carries it out.
type line struct {
	id string
	fd int
}

func (m Machine) lines() []line {
	lines := []line{{"console", consoleFD}}
	if m.Arch.Results != "" {
		lines = append(lines, line{"results", resultsFD})
	}
	return lines
}

// inputFD is the descriptor of the line that the guest reads Input on: that of the
// results, which may be the console.
func (m Machine) inputFD() int {
	lines := m.lines()
	return lines[len(lines)-1].fd
}

// machine is the value of -M.
func (m Machine) machine() string {
	name := m.Arch.Machine
	if o := m.Arch.Options[m.Accel]; o != "" {
		name += "," + o
	}
	if m.Snapshot {
		name += ",memory-backend=ram"
	}
	return name
}

// RAMSize is the size of the machine's memory in bytes.
func (m Machine) RAMSize() int64 { return int64(m.memory()) << 20 }

// TranslatedMiB bounds the code that QEMU has translated, which takes memory
// beside the guest's: 1 GiB unless it is told. A tracer with all its tests makes
// 92 MiB of it; with 64 its check takes a fifteenth longer, since what is full
// is emptied.
const TranslatedMiB = 128

// accel is the value of -accel.
func (m Machine) accel() string {
	if m.Accel == TCG {
		return fmt.Sprintf("%v,tb-size=%d", m.Accel, TranslatedMiB)
	}
	return m.Accel.String()
}

func (m Machine) cpu() string {
	if c := m.Arch.PlainCPU[m.Accel]; m.PlainCPU && c != "" {
		return c
	}
	if c := m.Arch.ConservativeCPU[m.Accel]; m.Conservative && c != "" {
		return c
	}
	return m.Arch.CPU[m.Accel]
}

func serial(id string, fd int) []string {
	n := strconv.Itoa(fd)
	return []string{
		"-add-fd", "fd=" + n + ",set=" + n,
		"-chardev", "file,id=" + id + ",append=on,path=/dev/fdset/" + n, // without append=on QEMU truncates, which a pipe refuses
		"-serial", "chardev:" + id,
	}
}

func (m Machine) memory() int {
	if m.Memory > 0 {
		return m.Memory
	}
	return DefaultMemory
}

// Check says why the machine cannot be started.
func (m Machine) Check() error {
	if n := len(m.Cmdline()); m.Arch.MaxCmdline > 0 && n >= m.Arch.MaxCmdline {
		return fmt.Errorf("the kernel's command line has %d bytes, and kernels for %s take %d: give less with --append", n, m.Arch.Name, m.Arch.MaxCmdline-1)
	}
	return m.Extras.Check()
}

// Cmdline returns the kernel's command line.
func (m Machine) Cmdline() string {
	params := []string{
		"console=" + m.Arch.Console,
		// Time stamps tell the kernel's lines from the payload's. Warnings are
		// printed, and with them WARN() and its back trace; what is less
		// important costs time until init has all printed for the payload.
		"printk.time=1", "loglevel=5",
		// A kernel that is not whole any more must not go on to a verdict.
		"oops=panic", "panic=-1",
		"rcupdate.rcu_expedited=1", "cryptomgr.notests", "raid=noautodetect",
		"random.trust_cpu=on", "nokaslr",
	}
	if m.Arch.Append != "" {
		params = append(params, m.Arch.Append)
	}
	var avoid, fast, fastOne string
	if !m.Conservative {
		fast = m.Arch.FastParams[m.Accel]
		if m.CPUs <= 1 {
			fastOne = m.Arch.FastOneCPU[m.Accel]
		}
	}
	if m.Avoid || m.PlainCPU {
		avoid = m.Arch.Avoid[m.Accel]
	}
	for _, p := range []string{avoid, m.Arch.Clock[m.Accel], fast, fastOne} {
		if p != "" {
			params = append(params, p)
		}
	}
	if m.Accel == TCG && m.Arch.TSC != "" && m.TSC > 0 {
		params = append(params, m.Arch.TSC+"="+strconv.Itoa(m.TSC))
	}
	params = append(params, watchdogLimits[m.Accel].params()...)
	if m.Snapshot {
		params = append(params, wire.ParamHandover+"=1")
	} else {
		params = append(params, wire.ParamNonce+"="+m.Nonce)
	}
	if m.Arch.Results != "" {
		params = append(params, wire.ParamResults+"="+m.Arch.Results)
	}
	if m.Net {
		params = append(params, wire.ParamNet+"=user")
	}
	if m.Root != "" {
		params = append(params, wire.ParamRoot+"="+m.Root)
	}
	return strings.Join(append(params, m.Append...), " ")
}
