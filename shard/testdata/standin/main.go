// Command standin stands in for QEMU. It does what its kernel, a file, says for
// the accelerator it is started with: behaviours by name. It shows what the
// runner makes of what QEMU prints and does; that QEMU does so on hardware is
// taken from its source.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// behaviours are what stands for a VM. r sends records; what is printed goes to
// the console.
var behaviours = map[string]func(s *standInVM){
	"passes":        func(s *standInVM) { s.hello(); s.pass() },
	"fails":         func(s *standInVM) { s.hello(); s.fail() },
	"prints no end": func(s *standInVM) { s.hello() },
	"is silent":     func(s *standInVM) { s.hang() },
	"hangs at boot": func(s *standInVM) { s.print("[    0.000000] Linux version 6.1.0\n"); s.hang() },
	"panics at boot": func(s *standInVM) {
		s.print("[    0.500000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b\n[    0.500001] ---[ end Kernel panic - not syncing: Attempted to kill init! exitcode=0x0000000b ]---\n")
	},
	"warns at boot": func(s *standInVM) { s.warn("0.400000", "cpu_init"); s.hello(); s.pass() },
	"warns in a test": func(s *standInVM) {
		s.hello()
		s.warn("3.000000", "bpf_check")
		s.pass()
	},
	"warns at boot and in a test": func(s *standInVM) {
		s.warn("0.400000", "cpu_init")
		s.hello()
		s.warn("3.000000", "bpf_check")
		s.pass()
	},
	"stops with an internal error at boot":   func(s *standInVM) { s.print("[    0.000000] Linux version 6.1.0\n"); s.stopped() },
	"stops with an internal error in a test": func(s *standInVM) { s.hello(); s.stopped() },
	"stops with an internal error, later":    func(s *standInVM) { s.hello(); s.pass(); s.stopped() },
	"is refused": func(s *standInVM) {
		s.stderr("qemu: Error loading uncompressed kernel without PVH ELF Note\n")
		os.Exit(1)
	},
	"cannot use KVM": func(s *standInVM) {
		s.stderr("Could not access KVM kernel module: No such file or directory\nqemu-system-aarch64: -accel kvm: failed to initialize kvm: No such file or directory\n")
		os.Exit(1)
	},
	"gets no vCPU": func(s *standInVM) {
		s.stderr("qemu-system-aarch64: kvm_init_vcpu: kvm_create_vcpu failed (0): Cannot allocate memory\n")
		os.Exit(1)
	},
	"aborts in a test": func(s *standInVM) {
		s.hello()
		s.stderr("qemu: fatal: Trying to execute code outside RAM or ROM at 0x000000008000001c\n")
		s.kill(syscall.SIGABRT)
	},
	"is killed at boot":   func(s *standInVM) { s.kill(syscall.SIGKILL) },
	"is killed in a test": func(s *standInVM) { s.hello(); s.kill(syscall.SIGKILL) },
	"is told to end in a test": func(s *standInVM) {
		s.hello()
		s.stderr("qemu-system-aarch64: terminating on signal 15 from pid 1 (<unknown process>)\n")
	},
	"resets in a test": func(s *standInVM) { s.print("[    0.000000] Linux version 6.1.0\n"); s.hello() },
	"restarts in a test": func(s *standInVM) {
		s.hello()
		s.print("[    3.000000] reboot: Restarting system\n")
	},
	"crashes as only an emulator does":         func(s *standInVM) { s.hello(); s.impossible() },
	"crashes at boot as only an emulator does": func(s *standInVM) { s.impossible() },
	"crashes": func(s *standInVM) {
		s.hello()
		s.warn("3.000000", "bpf_check")
		s.pass()
	},
	"resets at boot": func(s *standInVM) { s.print("[    0.000000] Linux version 6.1.0\n") },
}

// standInVM is the stand-in's VM.
type standInVM struct {
	console *os.File
	frames  *wire.Writer
	nonce   string
}

func main() {
	args := os.Args[1:]
	value := func(flag string) string { return args[slices.Index(args, flag)+1] }
	s := &standInVM{console: os.NewFile(3, "console")}
	for _, p := range strings.Fields(value("-append")) {
		if v, ok := strings.CutPrefix(p, wire.ParamNonce+"="); ok {
			s.nonce = v
		}
	}
	s.frames = wire.NewWriter(s.console, s.nonce)
	path := value("-kernel")
	b, err := os.ReadFile(path)
	// Behaviours by accelerator: those of the first VM, the second and so on, and
	// the last one's for all that follow.
	var does map[string][]string
	if err == nil {
		err = json.Unmarshal(b, &does)
	}
	accel, _, _ := strings.Cut(value("-accel"), ",")
	if err != nil || does[accel] == nil {
		fmt.Fprintf(os.Stderr, "stand-in: %s on %s: %v\n", path, accel, err)
		os.Exit(2)
	}
	log, err := os.OpenFile(path+"."+accel, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(log, strings.Join(args, " "))
	earlier, err := os.ReadFile(log.Name())
	if err != nil {
		panic(err)
	}
	n := strings.Count(string(earlier), "\n")
	does1 := does[accel][min(n, len(does[accel]))-1]
	if does1 == "is killed at boot" {
		s.kill(syscall.SIGKILL)
	}
	if strings.Contains(does1, "=") {
		s.programs(strings.Fields(does1))
		return
	}
	behaviours[does1](s)
}

// programs runs programs, each as name=outcome, in order.
func (s *standInVM) programs(list []string) {
	s.hello()
	passed, failed := 0, 0
	for i, p := range list {
		name, outcome, _ := strings.Cut(p, "=")
		mark := func(end *wire.End) {
			s.send(wire.Record{Type: wire.TypeProgram, At: 2 * time.Second, Program: &wire.ProgramMark{Name: name, Index: i, End: end}})
		}
		mark(nil)
		end, test, code := &wire.End{Tests: 1, Complete: true}, wire.TestPass, 0
		switch outcome {
		case "pass":
			end.Passed, passed = 1, passed+1
		case "fail":
			end.Failed, failed, test, code = 1, failed+1, wire.TestFail, 1
		case "crash":
			s.print("[    3.000000] Kernel panic - not syncing: x\n[    3.000001] ---[ end Kernel panic - not syncing: x ]---\n")
			return
		case "impossible":
			s.impossible()
			return
		case "killed":
			s.kill(syscall.SIGKILL)
		}
		s.send(wire.Record{Type: wire.TypeTest, Test: &wire.Test{Name: name + "/T", Verdict: test}},
			wire.Record{Type: wire.TypeExit, Exit: &wire.Exit{Code: code}})
		mark(end)
	}
	s.send(wire.Record{Type: wire.TypeEnd, End: &wire.End{Nonce: s.nonce, Tests: passed + failed, Passed: passed, Failed: failed, Complete: true}})
}

func (s *standInVM) print(text string)  { fmt.Fprint(s.console, text) }
func (s *standInVM) stderr(text string) { fmt.Fprint(os.Stderr, text) }
func (s *standInVM) hang()              { select {} }

func (s *standInVM) kill(sig syscall.Signal) {
	// Go would print its stacks before it ends by the signal.
	err := syscall.Exec("/bin/sh", []string{"sh", "-c", fmt.Sprintf("kill -%d $$", sig)}, nil)
	panic(err)
}

func (s *standInVM) send(records ...wire.Record) {
	for _, r := range records {
		if err := s.frames.Write(r); err != nil {
			panic(err)
		}
	}
}

func (s *standInVM) hello() {
	s.send(wire.Record{Type: wire.TypeHello, At: time.Second, Hello: &wire.Hello{Release: "6.1.0"}})
}

func (s *standInVM) pass() {
	s.send(wire.Record{Type: wire.TypeTest, Test: &wire.Test{Name: "A", Verdict: wire.TestPass}},
		wire.Record{Type: wire.TypeExit, Exit: &wire.Exit{}},
		wire.Record{Type: wire.TypeEnd, End: &wire.End{Nonce: s.nonce, Tests: 1, Passed: 1, Complete: true}})
}

func (s *standInVM) fail() {
	s.send(wire.Record{Type: wire.TypeTest, Test: &wire.Test{Name: "A", Verdict: wire.TestFail}},
		wire.Record{Type: wire.TypeExit, Exit: &wire.Exit{Code: 1}},
		wire.Record{Type: wire.TypeEnd, End: &wire.End{Nonce: s.nonce, Tests: 1, Failed: 1, Complete: true}})
}

func (s *standInVM) warn(at, function string) {
	for _, l := range []string{
		"------------[ cut here ]------------",
		"WARNING: CPU: 0 PID: 1 at kernel/x.c:1 " + function + "+0x1/0x2",
		"---[ end trace 0000000000000000 ]---",
	} {
		s.print("[    " + at + "] " + l + "\n")
	}
}

// impossible is a crash that no kernel makes on a processor.
func (s *standInVM) impossible() {
	for _, l := range []string{
		"Internal error: Oops - Undefined instruction: 0000000002000000 [#1] SMP",
		"pc : foo+0x14/0x40",
		"Code: aa0003e8 d503201f (8b010000)",
		"---[ end trace 0000000000000000 ]---",
	} {
		s.print("[    3.000000] " + l + "\n")
	}
}

// stopped is a VM that QEMU has stopped for good, while QEMU lives on.
func (s *standInVM) stopped() {
	s.stderr("KVM internal error. Suberror: 1\nextra data[0]: 0x0000000000000001\nemulation failure\n PC=ffff800010081234 X00=0000000000000000 X01=0000000000000001\n")
	s.hang()
}
