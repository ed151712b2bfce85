package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// JobPath is where the payload's archive holds its Job in the guest.
const JobPath = "/job.json"

// TestrunnerPath is the program of the guest that starts tests, and ModprobePath
// what the kernel runs for a module that something asks for.
const (
	TestrunnerPath = "/testrunner"
	ModprobePath   = "/modprobe"
)

// ModulesDir is where a kernel's archive holds the modules that init loads
// before the payload, in the order of their names: NNN-<module>.ko.
const ModulesDir = "/modules"

// Names of the kernel command line's parameters that are meant for init.
const (
	ParamNonce   = "bkc.nonce"   // seeds the frames' checksums
	ParamResults = "bkc.results" // device that carries the frames, such as ttyS1
	ParamScale   = "bkc.scale"   // factor for the job's limits, 1 to MaxScale: a slower machine than they were made for
	ParamNet     = "bkc.net"     // "user": the machine has a network card on QEMU's user-mode network
	ParamRoot    = "bkc.root"    // how the user's root file system comes: RootDisk, RootShare or RootArchive; none: there is none
)

// MaxScale is the largest factor for a job's limits.
const MaxScale = 100

// TestTimeoutEnv names the environment variable in which a payload finds the
// limit for each of its tests, as time.ParseDuration reads it.
const TestTimeoutEnv = "BPF_KERNEL_CHECK_TEST_TIMEOUT"

// Job is the work the host hands to init.
type Job struct {
	Args    []string      `json:"args"`              // the payload's program and arguments; none: nothing to run
	Env     []string      `json:"env,omitempty"`     // K=V, on top of PATH, HOME, TERM and the like
	Modules []string      `json:"modules,omitempty"` // that the kernel should have; those that it has not are reported
	Name    string        `json:"name"`              // of the one test a payload is that does not report
	Reports bool          `json:"reports"`           // the payload speaks to a Reporter's descriptor
	Timeout time.Duration `json:"timeout_ns"`        // of the payload; 0: none

	ReportsBPF bool `json:"reports_bpf,omitempty"` // and reports its BPF programs itself: init lists none

	// TestTimeout is the limit for each test that the payload tells the start
	// of; 0: none.
	TestTimeout time.Duration `json:"test_timeout_ns,omitempty"`

	// Programs run one after the other, each with Env and, where it has none of its
	// own, Timeout and TestTimeout; Args, Name and Cover are empty then.
	Programs []Program `json:"programs,omitempty"`

	Own []OwnModule `json:"own_modules,omitempty"` // loaded first, in this order

	CgroupV1 bool   `json:"cgroup_v1,omitempty"` // control groups of version 1, in place of version 2
	Terminal string `json:"terminal,omitempty"`  // serial device, such as ttyS0, that the payload gets as its controlling terminal; "": none

	Collect []string `json:"collect,omitempty"` // files to collect when the payload has ended: absolute, as path.Match has them
	Cover   string   `json:"cover,omitempty"`   // Go coverage profile that the payload writes, or CoverDir: it gets that as GOCOVERDIR; "": none
	Cores   bool     `json:"cores,omitempty"`   // collect the core dumps of what crashes

	Stream bool   `json:"stream,omitempty"` // what the program reads and writes comes and goes as Chunks
	Here   string `json:"here,omitempty"`   // directory, absolute, at which the files of HereDir are to be seen; "": none
}

// Where payloads leave what init collects by itself.
const (
	CoverProfile = "/run/collect/coverage.out"
	CoverDir     = "/run/collect/covdata"
)

// Collects says whether init collects files when the payload has ended.
func (j *Job) Collects() bool {
	return len(j.Collect) > 0 || j.Cover != "" || j.Cores || slices.ContainsFunc(j.Programs, func(p Program) bool { return p.Cover != "" })
}

// ParseJob reads a Job. A field it does not know is an error: host and guest
// are built together, so it means that they were not.
func ParseJob(b []byte) (Job, error) {
	var j Job
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&j); err != nil {
		return Job{}, fmt.Errorf("parse job: %w", err)
	}
	return j, nil
}
