package vm

import (
	"io"
	"slices"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// Case is what the judge has to know about a VM beforehand.
type Case struct {
	ID        string   // of the kernel
	Allowed   *Allowed // splats that are no crash
	Payload   bool     // a payload is to run
	SkipsPass bool     // a kernel passes if its tests are all skipped

	Programs []Program // that run one after the other; nil where the payload is one without a name
	Others   []string  // names of the payload's programs, which run in other VMs of the kernel; Programs' may be among them
}

// Observation is all that is known of one VM.
type Observation struct {
	Case

	Records  []wire.Record
	Findings []console.Finding
	Exit     qemu.Exit
	Tail     string        // the console's last lines
	words    string        // why init did not come up, of more than the tail: Go tells its goroutines after it
	Boot     time.Duration // from QEMU's start to the first record

	nonce   string
	stats   wire.Stats
	wireErr error // why the result stream broke off
	stopped stopReason
	limits  Limits
	helloAt int64   // bytes of console that had come when init was up; 0 if not known
	begunAt []int64 // the same when each of the programs began

	streams    bool   // the payload's output was passed on as it came
	chunks     uint64 // of it that came, in order
	chunksLost bool   // some did not
}

// stopReason says why the watchdog ended a VM.
type stopReason uint8

const (
	notStopped  stopReason = iota
	stopBoot               // no sign of init in time
	stopVM                 // the whole VM took too long
	stopCrash              // the kernel crashed and did not end by itself
	stopOff                // the end record came and the power did not go off
	stopSilence            // init gave no sign of life for too long
	stopHalt               // the kernel has stopped as it was told to, and the machine did not go off
)

// BootTimedOut says whether the VM was ended because init did not start in time.
func (o Observation) BootTimedOut() bool { return o.stopped == stopBoot }

// SawInit says whether init has started: any record proves it.
func (o Observation) SawInit() bool { return len(o.Records) > 0 }

// withLog adds to the console's findings what only the kernel's log has: a
// payload that runs as root can turn the console off, or its time stamps.
func withLog(found []console.Finding, records []wire.Record) []console.Finding {
	for _, r := range records {
		if r.Log == nil {
			continue
		}
		var s console.Scanner
		_, _ = io.WriteString(&s, r.Log.Text)
		found = addLogged(found, s.Findings())
	}
	return found
}

// addLogged adds the findings of a log that were not found before.
func addLogged(found, logged []console.Finding) []console.Finding {
	for _, f := range logged {
		if !slices.ContainsFunc(found, func(other console.Finding) bool { return same(f, other) }) {
			f.Offset = 0 // of the log
			found = append(found, f)
		}
	}
	return found
}

// same says whether two findings are of one thing that the kernel said.
func same(a, b console.Finding) bool {
	return a.Title == b.Title || a.Kind == b.Kind && a.Location != "" && a.Location == b.Location
}
