package shard

import (
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
)

// The newest arm64 kernel that Debian has for clouds: the smallest download.
var setUpArm64 = sync.OnceValues(func() (*lab, error) {
	return newLab("arm64", "debian:sid:cloud-arm64", "debian/[7-9].*")
})

func arm64Lab(t *testing.T) *lab {
	t.Helper()
	if testing.Short() {
		t.Skip("boots VMs")
	}
	l, err := setUpArm64()
	if err != nil {
		t.Fatalf("set up the VM tests for arm64: %v", err)
	}
	return l
}

// On arm64 the results share the console with the kernel and with whatever the
// payload writes there.
func TestGuestsArm64(t *testing.T) {
	tests := []struct {
		name    string
		args    string
		verdict report.Verdict
		cause   string // regular expression; "" for a pass
		console string // regular expression
		broken  bool   // copies of frames that were cut stay in the console's file
	}{
		{name: "passes", args: "pass", verdict: report.Pass, console: `\nhello from the payload\r\n`},
		{name: "reads the command line", args: "cmdline", verdict: report.Pass},
		{name: "panics the kernel while it prints", args: "sysrq-loop-c", verdict: report.Crash, cause: `Kernel panic - not syncing: sysrq triggered crash`},
		{name: "prints the success text and frames", args: "claim-success", verdict: report.Fail, cause: `^hostile: exit status 1`, broken: true},
		{name: "has a test that prints a crash", args: "stamps", verdict: report.Fail, cause: `^TestStamps`},
		{name: "floods the kernel's log", args: "flood", verdict: report.Pass, console: `a flood, message \d+\r\n`, broken: true},
		// What comes through is a pass and what does not is a failure; it is
		// never a pass of less than everything.
		{name: "cuts into frames", args: "console-frames", broken: true},
		{name: "takes the console away", args: "unbind-arm64"},
		{name: "closes all it has", args: "close-all", verdict: report.Fail, cause: `exit status 3`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := arm64Lab(t)
			p, err := guest.TestPayload(t.Context(), l.hostile, strings.Fields(tt.args), "/", "arm64", far)
			if err != nil {
				t.Fatal(err)
			}
			r := l.runner(t, p)
			if tt.verdict == report.Unknown {
				r.Limits.Payload, r.Limits.Grace, r.Limits.Off = 15*time.Second, time.Second, 5*time.Second
			}
			k, console := l.run(t, r)
			t.Logf("%v, %+v", k.Verdict, k.Cause)
			switch {
			case tt.verdict == report.Unknown:
				if k.Verdict == report.Pass && (len(k.Tests) != 1 || k.Tests[0].Verdict != wire.TestPass) || k.Verdict == report.Crash || k.Verdict == report.NoBoot {
					t.Errorf("%v with %d tests: %+v", k.Verdict, len(k.Tests), k.Cause)
				}
			case k.Verdict != tt.verdict:
				t.Errorf("verdict %v, want %v", k.Verdict, tt.verdict)
			case tt.cause == "" && k.Cause != nil:
				t.Errorf("cause %q, want none", k.Cause.Title)
			case tt.cause != "" && (k.Cause == nil || !regexp.MustCompile(tt.cause).MatchString(k.Cause.Title)):
				t.Errorf("cause %+v, want %s", k.Cause, tt.cause)
			}
			if tt.args == "flood" && len(k.Tests) != 20 {
				t.Errorf("%d tests came through, want 20", len(k.Tests))
			}
			if tt.console != "" && !regexp.MustCompile(tt.console).MatchString(console) {
				t.Errorf("the console has nothing like %s", tt.console)
			}
			if !tt.broken && strings.Contains(console, "@bkc:") {
				t.Error("frames stand in the console's file")
			}
			if !strings.HasSuffix(k.Release, "-cloud-arm64") || k.Accel != "tcg" || k.Attempts != 1 {
				t.Errorf("release %q, accel %q, attempts %d", k.Release, k.Accel, k.Attempts)
			}
		})
	}
}

// The embedded tracer passes all of its tests on an emulated arm64.
func TestTracerArm64(t *testing.T) {
	t.Parallel()
	tracerPasses(t, arm64Lab(t), "arm64")
}

// tracerPasses runs the built-in tracer with all its tests.
func tracerPasses(t *testing.T, l *lab, arch string) {
	t.Helper()
	tracer, err := guest.Program(t.Context(), arch, guest.Tracer)
	if err != nil {
		t.Fatal(err)
	}
	p, err := guest.EventsTracePayload(t.Context(), arch, tracer, far)
	if err != nil {
		t.Fatal(err)
	}
	k, _ := l.run(t, l.runner(t, p))
	passed := 0
	for _, test := range k.Tests {
		if test.Verdict == wire.TestPass {
			passed++
		} else {
			t.Errorf("%s: %s: %.500s", test.Name, test.Verdict, test.Output)
		}
	}
	if k.Verdict != report.Pass || passed < 22 {
		t.Errorf("verdict %v, %d tests passed, %+v", k.Verdict, passed, k.Cause)
	}
}
