// Package wire is the protocol between guest and host: the job the host hands
// to init, the records a payload reports to init, and the frames in which init
// sends records to the host.
//
// The channel is a serial line that anything in the guest can write to, so the
// host believes a frame only when its checksum, which is seeded with a nonce
// only init and the host know, is right, and believes a run only when no frame
// is missing between the first and the end record.
package wire

import "time"

// Limits of the protocol. Both sides hold them: the guest so that nothing is
// lost silently, the host because the guest is not trusted.
const (
	MaxLine    = 1 << 20  // bytes of one frame, newline included
	MaxOutput  = 64 << 10 // bytes of a test's output in its record
	MaxRecords = 100_000  // records of one VM
	MaxName    = 512      // bytes of a test's name
)

// Verdicts of a single test. The empty string is unknown and never a pass.
const (
	TestPass = "pass"
	TestFail = "fail"
	TestSkip = "skip"
)

// Record is one message. Type says which of the pointers is set.
type Record struct {
	Type string        `json:"type"`
	At   time.Duration `json:"at_ns,omitempty"` // since the guest's kernel started

	Hello  *Hello  `json:"hello,omitempty"`
	Kernel *Kernel `json:"kernel,omitempty"`
	Mount  *Mount  `json:"mount,omitempty"`
	Module *Module `json:"module,omitempty"`
	Phase  *Phase  `json:"phase,omitempty"`
	Test   *Test   `json:"test,omitempty"`
	File   *File   `json:"file,omitempty"`
	Exit   *Exit   `json:"exit,omitempty"`
	Done   *Done   `json:"done,omitempty"`
	End    *End    `json:"end,omitempty"`
	Run    *Run    `json:"run,omitempty"`
	Log    *Log    `json:"log,omitempty"`
	Chunk  *Chunk  `json:"chunk,omitempty"`

	Program *ProgramMark `json:"program,omitempty"`
	BPF     *BPFProgram  `json:"bpf,omitempty"`
}

// Types of records.
const (
	TypeHello   = "hello"   // init is up; always the first
	TypeKernel  = "kernel"  // the kernel's fingerprint
	TypeMount   = "mount"   // a mount that failed
	TypeModule  = "module"  // a module that did not load, or was asked for and is not there
	TypePhase   = "phase"   // a phase has ended
	TypeTest    = "test"    // a test has ended
	TypeFile    = "file"    // a piece of a file for the results directory
	TypeExit    = "exit"    // the payload has ended
	TypeDone    = "done"    // payload to init only: it reported all it had to report
	TypeEnd     = "end"     // always the last
	TypeRun     = "run"     // a test runs, or stands still
	TypeLog     = "log"     // init to host only: what the kernel logged, when some of it is a warning
	TypeProgram = "program" // init to host only: one of several programs begins or has ended
	TypeBPF     = "bpf"     // a BPF program that the kernel holds
	TypeAlive   = "alive"   // init to host only: init still runs; every AlivePeriod
)

// Hello tells the host which kernel it really booted.
type Hello struct {
	Release string `json:"release"` // uname -r
	Version string `json:"version"` // uname -v
	Machine string `json:"machine"` // uname -m
}

// Mount is a file system that this kernel would not mount.
type Mount struct {
	Target string `json:"target"`
	Type   string `json:"fstype"`
	Error  string `json:"error"`
}

// Module is a kernel module that this kernel did not load or did not come with, or
// the network that a driver would have served.
type Module struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

// Phase is a named part of the payload's time, such as "load" for the time
// from a tracer's start to its being ready.
type Phase struct {
	Name     string        `json:"name"`
	Duration time.Duration `json:"duration_ns"`
}

// Test is the outcome of one test.
type Test struct {
	Name     string        `json:"name"`
	Verdict  string        `json:"verdict"`
	Duration time.Duration `json:"duration_ns"`
	Output   string        `json:"output,omitempty"` // reason of a skip, details of a failure; at most MaxOutput bytes
	Insns    int           `json:"insns,omitempty"`  // instructions the verifier processed; 0: not known or none
	Loader   string        `json:"loader,omitempty"` // of BPF objects: what loaded it, such as "libbpf 1.8"
}

// BPFProgram is a BPF program that the kernel held while the payload ran, and
// what it cost. Numbers are 0 where they are not known.
type BPFProgram struct {
	Name       string `json:"name"`           // of its function where the kernel has BTF of it, else at most 15 bytes of it
	Type       string `json:"type"`           // as in "bpftool prog": kprobe, tracing
	Tag        string `json:"tag"`            // 16 hexadecimal digits, a digest of its instructions
	Test       string `json:"test,omitempty"` // that it is the program of
	Insns      int    `json:"insns,omitempty"`
	States     int    `json:"states,omitempty"`      // of the verifier, in all
	PeakStates int    `json:"peak_states,omitempty"` // and at the same time
	Stack      int    `json:"stack,omitempty"`       // bytes, of all frames
	Jited      int    `json:"jited,omitempty"`       // bytes of native code
	MapMemory  int64  `json:"map_memory,omitempty"`  // bytes of all maps it uses
}

// Exit says how the payload ended.
type Exit struct {
	Code     int           `json:"code"`             // exit status; -1 when it did not exit by itself
	Signal   string        `json:"signal,omitempty"` // the signal that ended it
	Error    string        `json:"error,omitempty"`  // why it could not be started
	Timeout  bool          `json:"timeout,omitempty"`
	OOM      bool          `json:"oom,omitempty"` // the kernel's OOM killer chose it
	Duration time.Duration `json:"duration_ns"`
	Limit    time.Duration `json:"limit_ns,omitempty"` // with Timeout: what it exceeded
	Tests    []string      `json:"tests,omitempty"`    // with Timeout: those that ran, at most MaxRunning; the one whose limit it was comes first
	OfTest   bool          `json:"of_test,omitempty"`  // with Timeout: Limit is a single test's
	Stuck    bool          `json:"stuck,omitempty"`    // with Timeout: not even SIGKILL ended it
	Chunks   uint64        `json:"chunks,omitempty"`   // of a job with Stream: how many the guest has sent
}

// Run says that a test runs from now on or, when it is Paused, that it waits
// for others or has nothing left to do but report. It decides no verdict: it is
// what names the test that hangs.
type Run struct {
	Name   string `json:"name"`
	Paused bool   `json:"paused,omitempty"`
}

// MaxRunning is how many running tests an Exit names.
const MaxRunning = 20

// AlivePeriod is how often init tells that it runs.
const AlivePeriod = 5 * time.Second

// Log is what the kernel itself logged while the payload ran, whether it came to
// the console or not: a payload that runs as root can turn the console off. Text
// that programs write to the log is no part of it.
type Log struct {
	Text string `json:"text"`           // lines with time stamps, at most MaxLog bytes
	Lost int    `json:"lost,omitempty"` // lines that did not fit
}

// MaxLog is how much of the kernel's log is reported, in bytes.
const MaxLog = 64 << 10

// Done ends what a reporting payload has to say. Without it, or when its count
// is not the number of test records seen, the payload's report is incomplete.
type Done struct {
	Tests      int    `json:"tests"`
	Incomplete string `json:"incomplete,omitempty"` // why tests can be missing: what the payload printed has no end; "": none is
}

// End is the proof that the guest ran to its end: it repeats the nonce and
// counts what was sent before it. Complete is false when a reporting payload
// did not finish its report, or says itself that tests can be missing: failures
// that were expected never excuse that.
type End struct {
	Nonce    string `json:"nonce"`
	Tests    int    `json:"tests"`
	Passed   int    `json:"passed"`
	Failed   int    `json:"failed"`
	Skipped  int    `json:"skipped"`
	Complete bool   `json:"complete"`
	Taint    uint64 `json:"taint"`             // of the kernel, as in /proc/sys/kernel/tainted; bits that came since Hello
	Problem  string `json:"problem,omitempty"` // why Complete is false
	Unready  string `json:"unready,omitempty"` // why init could not come to the payload
}
