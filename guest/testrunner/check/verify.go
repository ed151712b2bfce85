// Package check holds what must be true of EventsTrace's output: the table of
// tests, and the functions that hold a test against the events of a run. It is
// pure: the same log, outputs and facts give the same results, whether they
// come from a live run or from captured files.
package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Names of the two tests that are about the tracer as a whole.
const (
	StartTest  = "Start"  // the tracer started and said that it is ready
	StreamTest = "Stream" // all it printed was whole, and it ran to the end
)

// Run is all that is known about one run of the tracer.
type Run struct {
	Build   Build
	Facts   Facts
	Outputs map[string]Output // by generator
	Log     *Log
	Stderr  string // what the tracer printed there, or its beginning and end
	Ended   string // why the tracer is gone; empty: it runs
	Running string // what ran when it ended, in words
	Silent  string // why the end of its events was not seen, though it runs
	Fence   int    // line of the marker's first event, after which none may come; 0: not seen
}

// Result is the outcome of a test.
type Result struct {
	Name    string
	Verdict string        // of package wire; "": it could not be judged, see Details
	Details string        // lines: why it did not pass, or what it was not held to
	Missing bool          // an event is missing, which may still be on its way
	Last    time.Duration // when the last of its events was read
}

// older tells whether the run is of a build that prints less, or otherwise.
func (r Run) older() bool { return older(r.Build, r.Log) != "" }

// incomplete tells why events may be missing that happened; "" when all have come.
func (r Run) incomplete() string {
	switch {
	case r.Ended != "":
		return "EventsTrace ended"
	case r.Silent != "":
		return "EventsTrace stopped printing"
	}
	return ""
}

// NotJudged names tests that could not be judged, in one line.
func NotJudged(tests []string) string {
	if len(tests) == 1 {
		return "not judged: " + tests[0]
	}
	return fmt.Sprintf("not judged: %d tests: %s", len(tests), strings.Join(tests, ", "))
}

// VerifyAll holds tests, and the stream as a whole, against a run. unknown are tests that could
// not be judged.
func VerifyAll(tests []Test, r Run) (results []Result, unknown []string) {
	for _, t := range tests {
		if res := Verify(t, r); res.Verdict != "" {
			results = append(results, res)
		} else {
			unknown = append(unknown, t.Name)
		}
	}
	return append(results, verifyStream(r, unknown)), unknown
}

// Verify holds one test against a run.
func Verify(t Test, r Run) Result {
	if reason := unknown(t, r); reason != "" {
		return Result{Name: t.Name, Verdict: wire.TestSkip, Details: reason}
	}
	if t.IPv6 && !r.Facts.IPv6 {
		return Result{Name: t.Name, Verdict: wire.TestSkip, Details: "this kernel has no IPv6 (no /proc/sys/net/ipv6)"}
	}
	if t.Generator == "" {
		return verifyInit(t, r)
	}
	v := verifier{test: t, run: r}
	out, ran := r.Outputs[t.Generator]
	why := r.incomplete()
	notJudged := Result{Name: t.Name, Details: fmt.Sprintf("not judged: %s, see %s", why, StreamTest)}
	if !ran && why != "" {
		return notJudged
	}
	if !ran {
		v.fail("the generator %s did not run", t.Generator)
		return v.result()
	}
	var err error
	if v.printed, err = out.Parse(); err != nil {
		if t.Overlayfs && !r.Facts.Overlayfs {
			return Result{Name: t.Name, Verdict: wire.TestSkip, Details: fmt.Sprintf("no overlayfs on this kernel, neither built in nor as a loaded module: %s", err)}
		}
		v.fail("the generator %s: %s", t.Generator, err)
		return v.result()
	}
	for i, e := range t.Expect {
		v.expect(i, e)
	}
	v.order()
	if v.missing && !v.wrong && why != "" {
		return notJudged
	}
	return v.result()
}

// unknown tells why the binary under test cannot print what a test needs.
func unknown(t Test, r Run) string {
	for _, e := range t.Expect {
		if o := option(e.Type); !r.Build.Has(o) {
			return fmt.Sprintf("this EventsTrace does not know %s events: its --help has no --%s", e.Type, o)
		}
	}
	if len(t.Init) == 0 {
		return ""
	}
	if !r.Build.Has("print-features-on-init") {
		return "this EventsTrace prints no features: its --help has no --print-features-on-init"
	}
	if r.Log.Init != nil && r.Log.Init.Old {
		return "this EventsTrace prints no features: its init line is the one of builds before 2022-09"
	}
	return ""
}

func verifyInit(t Test, r Run) Result {
	v := verifier{test: t, run: r}
	if r.Log.Init == nil {
		v.fail("no init line was seen")
		return v.result()
	}
	rows := v.compare(t.Init, r.Log.Init.Fields)
	if wrong(rows) {
		v.fail("the init line, line %d, is not as expected:", r.Log.Init.Line)
		v.table(rows)
	}
	v.relaxed(rows)
	return v.result()
}

// verifier gathers what is wrong with one test.
type verifier struct {
	test    Test
	run     Run
	printed Object
	found   []*Event // by index of Expect; nil: not found
	details []string
	missing bool     // an event did not come
	wrong   bool     // one that came is not as it should be
	lax     []string // what an older build was not held to
	last    time.Duration
}

func (v *verifier) fail(format string, args ...any) {
	v.details = append(v.details, fmt.Sprintf(format, args...))
}

func (v *verifier) result() Result {
	res := Result{Name: v.test.Name, Verdict: wire.TestPass, Missing: v.missing, Last: v.last}
	if len(v.details) > 0 {
		res.Verdict = wire.TestFail
		if why := v.run.incomplete(); v.missing && why != "" {
			v.fail("an event may be missing because %s, see %s", why, StreamTest)
		}
		if v.printed != nil {
			v.fail("%s printed: %s", v.test.Generator, show(map[string]any(v.printed)))
		}
		res.Details = strings.Join(v.details, "\n")
	} else if len(v.lax) > 0 {
		res.Details = "an older build, not held to: " + strings.Join(v.lax, ", ")
	}
	return res
}

// want resolves what a field must be. ok is false when there is nothing to
// hold it against.
func (v *verifier) want(f Field) (want any, ok bool, err error) {
	ref, isRef := f.Want.(Ref)
	if !isRef {
		return f.Want, true, nil
	}
	switch ref.From {
	case FromGenerator:
		if w, ok := v.printed.Lookup(ref.Path); ok {
			return w, true, nil
		}
		if ref.Else != nil {
			return ref.Else, true, nil
		}
		return nil, false, fmt.Errorf("the generator %s did not print %q", v.test.Generator, ref.Path)
	case FromFacts:
		w, ok := v.run.Facts.value(ref.Path)
		return w, ok, nil
	case FromEvent:
		if ref.Expect >= len(v.found) || v.found[ref.Expect] == nil {
			return nil, false, fmt.Errorf("not looked for: the event it follows from is missing")
		}
		w, ok := v.found[ref.Expect].Fields().Lookup(ref.Path)
		if !ok {
			return nil, false, fmt.Errorf("not looked for: %s is missing in the event it follows from", ref.Path)
		}
		return w, true, nil
	}
	return nil, false, fmt.Errorf("the table of tests has a reference to nowhere: %+v", ref)
}

// expect looks for one event and says what is wrong with it.
func (v *verifier) expect(i int, e Expect) {
	v.found = append(v.found, nil)
	pid, selector, err := v.process(e)
	if err != nil {
		v.fail("%s: %s", e.Type, err)
		return
	}
	// All events of this type and process, and those among them that are
	// meant by this Expect.
	var own []*Event
	var meant []match
	for _, ev := range v.run.Log.Of(e.Type, pid) {
		if got, ok := ev.Fields().Lookup(selector.Path); !ok || !equal(got, pid) {
			continue
		}
		own = append(own, ev)
		if m := v.match(e, ev); m.identified() {
			meant = append(meant, m)
		}
	}
	if len(meant) == 0 {
		if e.Newer && v.run.older() {
			v.lax = append(v.lax, fmt.Sprintf("%s of %s", e.Type, e.What))
			return
		}
		v.missing = true
		v.notSeen(e, pid)
		return
	}
	before := len(v.details)
	first := meant[0]
	v.found[i] = first.Event
	v.relaxed(first.rows)
	v.last = max(v.last, first.At)
	if wrong(first.rows) {
		v.fail("%s, line %d, is not as expected:", e.Type, first.Line)
		v.show(first)
	}
	if len(meant) > 1 {
		var events []*Event
		for _, m := range meant {
			events = append(events, m.Event)
		}
		v.fail("%s came %d times, want once: lines %s. The second:", e.Type, len(meant), lines(events))
		v.show(meant[1])
	}
	v.late(e, pid, meant[len(meant)-1])
	if !e.Others && i == v.lastOf(e.Type) {
		v.strangers(e, own)
	}
	v.wrong = v.wrong || len(v.details) > before
}

// late reports an event that came behind one which only happened after it. All
// pass through one ring buffer, so a tracer must have held it back.
func (v *verifier) late(e Expect, pid int64, m match) {
	var behind *Event
	why := ""
	if exits := v.run.Log.Of("PROCESS_EXIT", pid); len(exits) > 0 && exits[len(exits)-1].Line < m.Line {
		behind, why = exits[len(exits)-1], "the end of the same process"
	} else if v.run.Fence > 0 && v.run.Fence < m.Line {
		behind, why = v.run.Log.at(v.run.Fence), "the first event of a process that was started after the generator had ended"
	}
	if behind == nil {
		return
	}
	after := ""
	if ms := (m.At - behind.At).Milliseconds(); ms > 0 {
		after = fmt.Sprintf(", %d ms later", ms)
	}
	v.fail("%s came late: line %d is behind line %d%s, %s", e.Type, m.Line, behind.Line, after, why)
	v.show(m)
}

// process resolves the field that selects the process of an event.
func (v *verifier) process(e Expect) (int64, Field, error) {
	for _, f := range e.Fields {
		if !f.ID || !strings.HasSuffix(f.Path, "tgid") {
			continue
		}
		w, _, err := v.want(f)
		if err != nil {
			return 0, f, err
		}
		pid, ok := asInt(w)
		if !ok {
			return 0, f, fmt.Errorf("%s is to be %s, which is no pid", f.Path, show(w))
		}
		return pid, f, nil
	}
	return 0, Field{}, fmt.Errorf("the table of tests names no process for it")
}

// relaxed notes what of an event an older build was not held to.
func (v *verifier) relaxed(rows []row) {
	for _, r := range rows {
		if r.lax {
			v.lax = append(v.lax, r.path)
		}
	}
}

func (v *verifier) lastOf(event string) int {
	last := -1
	for i, e := range v.test.Expect {
		if e.Type == event {
			last = i
		}
	}
	return last
}

// strangers reports events of the expected type and process that no Expect
// means. When one is missing, they were already shown as what came instead.
func (v *verifier) strangers(e Expect, own []*Event) {
	var meant []Expect
	for i, other := range v.test.Expect {
		if other.Type != e.Type {
			continue
		}
		if i >= len(v.found) || v.found[i] == nil && !(other.Newer && v.run.older()) {
			return
		}
		meant = append(meant, other)
	}
	for _, ev := range own {
		if slices.ContainsFunc(meant, func(other Expect) bool { return v.match(other, ev).identified() }) {
			continue
		}
		v.fail("%s, line %d, is one more of its type than expected of this process:", e.Type, ev.Line)
		v.fail("  the line: %s", clip(string(ev.Raw), maxRaw))
	}
}

func (v *verifier) order() {
	if !v.test.Ordered || v.missing {
		return
	}
	found := slices.DeleteFunc(slices.Clone(v.found), func(e *Event) bool { return e == nil })
	if !slices.IsSortedFunc(found, func(a, b *Event) int { return a.Line - b.Line }) {
		v.fail("the events came in a wrong order: lines %s, want them ascending", lines(found))
		v.wrong = true
	}
}

func lines(events []*Event) string {
	var numbers []string
	for _, e := range events {
		numbers = append(numbers, strconv.Itoa(e.Line))
	}
	return strings.Join(numbers, ", ")
}
