package qemu

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// stoppedVM matches the line of stderr that goes before vm_stop with
// RUN_STATE_INTERNAL_ERROR in QEMU's accel/kvm, target/i386/kvm and target/arm:
// QEMU lives on then, with a guest that never runs again. A failed emulation in
// user mode looks the same and only that program is lost, which no program
// deserves either. The registers, which follow in each case, stand for messages
// of other versions. What is not here is survived ("KVM: injection failed"), or
// QEMU ends by it.
var stoppedVM = regexp.MustCompile(`KVM internal error|KVM: entry failed|KVM: unknown exit|KVM: exception \d+ exit|kvm run failed|Failed to (?:get|put) registers|KVM unable to emulate|` + registers)

const registers = `^[RE]AX=[0-9a-f]{8,16} [RE]BX=|^ ?PC=[0-9a-f]{16} +X00=`

// deciding matches lines that say why QEMU ended, among others.
var deciding = regexp.MustCompile(`KVM internal error|KVM: |kvm run failed|KVM unable to emulate|failed to [gs]et MSR|fatal|Assertion|^ERROR:|terminating on signal`)

// noise matches lines that say nothing about it: warnings, and registers.
var noise = regexp.MustCompile(`warning: |^[ A-Z0-9]{2,6}=|^Code=|extra data\[`)

// msr matches what QEMU prints when it gives up over a register of the CPU. That
// the host lacks a feature which a register tells of is a warning and does no
// harm.
var msr = regexp.MustCompile(`failed to [gs]et MSR`)

// MSR returns the line that names a register of the CPU which KVM does not
// have and QEMU died on, "" when there is none.
func (e Exit) MSR() string {
	for line := range strings.Lines(e.Stderr) {
		if msr.MatchString(line) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// message is the line of stderr that says most about QEMU's end.
func message(stderr string) string {
	last := ""
	for line := range strings.Lines(stderr) {
		line = strings.TrimRight(line, "\r\n")
		switch {
		case deciding.MatchString(line) && !strings.Contains(line, "warning: host "):
			return strings.TrimSpace(line)
		case strings.TrimSpace(line) != "" && !noise.MatchString(line):
			last = strings.TrimSpace(line)
		}
	}
	return last
}

var terminating = regexp.MustCompile(`terminating on signal (\d+)`)

// caughtSignal is the name of a signal that QEMU took as the wish to end, with
// status 0.
func caughtSignal(stderr string) string {
	m := terminating.FindStringSubmatch(stderr)
	if m == nil {
		return ""
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return ""
	}
	return unix.SignalName(unix.Signal(n))
}

// faultWatch calls found at the first line of stderr that says that the VM was
// stopped.
type faultWatch struct {
	found func()

	line []byte
	done bool
}

func (f *faultWatch) Write(p []byte) (int, error) {
	const most = 1 << 10 // of a line
	n := len(p)
	for !f.done && len(p) > 0 {
		line, rest, whole := bytes.Cut(p, []byte("\n"))
		f.line = append(f.line, line[:min(len(line), most-len(f.line))]...)
		p = rest
		if !whole {
			break
		}
		if stoppedVM.Match(f.line) {
			f.done = true
			f.found()
		}
		f.line = f.line[:0]
	}
	return n, nil
}
