// Package report holds the records of a run: verdicts and results of kernels, the
// plan, the shard file that a run appends to, and the merged result. It owns
// their formats and the limits that hostile ones must keep, and says what results
// come to: the one verdict and its counts.
//
// It knows neither VMs nor sources of kernels, and nothing of how results are
// merged, analysed or shown.
package report

import (
	"fmt"
	"slices"
)

// Verdict is the judgement on one kernel. The zero value is unknown, which is
// never a pass.
type Verdict uint8

// The verdicts.
const (
	Unknown Verdict = iota
	Pass            // proven: the guest ran to its end and every test passed
	Fail            // a test failed, or the payload exited non-zero
	Crash           // the kernel panicked, oopsed or printed a splat
	Timeout         // the payload or the VM did not end in time
	NoBoot          // no sign of init
	Infra           // QEMU, the disk, the download: nothing is known about the kernel
	Missing         // planned and never reported
)

var verdictNames = [...]string{"unknown", "pass", "fail", "crash", "timeout", "no-boot", "infra", "missing"}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// ParseVerdict is the inverse of String.
func ParseVerdict(s string) (Verdict, error) {
	if i := slices.Index(verdictNames[:], s); i > 0 {
		return Verdict(i), nil
	}
	return Unknown, fmt.Errorf("verdict %q: want one of %v", s, verdictNames[1:])
}

// MarshalText refuses Unknown: a result without a judgement is a bug.
func (v Verdict) MarshalText() ([]byte, error) {
	if v == Unknown || int(v) >= len(verdictNames) {
		return nil, fmt.Errorf("%v is no verdict", v)
	}
	return []byte(v.String()), nil
}

// UnmarshalText accepts what MarshalText writes.
func (v *Verdict) UnmarshalText(b []byte) (err error) {
	*v, err = ParseVerdict(string(b))
	return err
}

// Tested says whether the kernel itself was put to the test, whatever came of it.
func (v Verdict) Tested() bool {
	switch v {
	case Pass, Fail, Crash, Timeout:
		return true
	default:
		return false
	}
}

// Badness orders verdicts: the worst of several decides. What is not known is worse
// than all that is.
func (v Verdict) Badness() int {
	known := [...]Verdict{Pass, Missing, Infra, NoBoot, Fail, Timeout, Crash}
	if i := slices.Index(known[:], v); i >= 0 {
		return i
	}
	return len(known)
}

// Exit codes of the command.
const (
	ExitPass      = 0 // all passed
	ExitFail      = 1 // a kernel failed, crashed or timed out
	ExitUsage     = 2 // wrong usage or input; nothing was tested
	ExitNotTested = 3 // something was not tested
)

// Failed says whether a kernel was tested and did not pass.
func (v Verdict) Failed() bool { return v.Tested() && v != Pass }
