package merge

import (
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/junit"
	"github.com/elastic/bpf-kernel-check/report/markdown"
)

// A crash that was the emulator's is no failure, and is seen in every report; one
// that came again is one attempt among two.
func TestEmulatorFailed(t *testing.T) {
	const why = report.EmulatorFailed + ": EFLAGS is 04db92c2, which cannot be (PANIC: double fault in foo)"
	m := &report.Merged{Schema: report.Schema, Verdict: report.Fail, Kernels: []report.Result{
		{ID: "debian/6.12.1__1", Verdict: report.Pass, Accel: "tcg", Attempts: 2, History: []report.Attempt{{Attempt: 1, Verdict: report.Infra, Accel: "tcg", Cause: why}}},
		{
			ID: "debian/6.12.2__1", Verdict: report.Crash, Accel: "tcg", Attempts: 2, Cause: &report.Cause{Title: "PANIC: double fault in foo"},
			History: []report.Attempt{{Attempt: 1, Verdict: report.Crash, Accel: "tcg", Cause: "PANIC: double fault in foo"}},
		},
	}}
	for i := range m.Kernels {
		if err := m.Kernels[i].Check(); err != nil {
			t.Error(err)
		}
	}
	var md, xml strings.Builder
	if err := markdown.Write(&md, m, markdown.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := junit.Write(&xml, m); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ what, in, want string }{
		{"the comment", md.String(), "**The emulator failed once** with 1 kernel, which ran again on another CPU: `debian/6.12.1__1`"},
		{"JUnit", xml.String(), `<flakyError message="attempt 1 of 2 gave no result: attempt 1 on TCG: infra: ` + why},
		{"JUnit", xml.String(), `<rerunError message="attempt 1 of 2: attempt 1 on TCG: crash: PANIC: double fault in foo"`},
	} {
		if !strings.Contains(tt.in, tt.want) {
			t.Errorf("%s lacks %q:\n%s", tt.what, tt.want, tt.in)
		}
	}
	if strings.Contains(md.String(), "**Flaky:**") {
		t.Errorf("the emulator's failure is taken for the kernel's:\n%s", md.String())
	}
	if strings.Contains(md.String(), "**Tried again:**") {
		t.Errorf("a crash is taken for no result:\n%s", md.String())
	}
	if o := m.Outcome(); o.Passed != 1 || o.Failed != 1 {
		t.Errorf("%+v", o)
	}
}
