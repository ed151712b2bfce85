package page

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
)

// detail is what is shown of a kernel when it is opened: its record, as
// report.json has it, without what the list shows. The script has a place for
// the members that it knows and shows all others by their names.
type detail map[string]json.RawMessage

func (b *builder) detail(i int) detail {
	k := *b.places[i].Result
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if k.Reused != nil {
		note("it was not booted in this run: it %s", line(k.Reused.Words()))
	}
	excerpt := ""
	if k.Cause != nil {
		excerpt = cutOutput(report.Text(k.Cause.Excerpt))
	}
	tests, cut := testsByNeed(k.Tests)
	if n := len(k.Tests) - len(tests); n > 0 {
		note("%d of its %d tests are left out, none that failed before one that passed", n, len(k.Tests))
	}
	if cut > 0 {
		note("the output of %d tests is left out: it is too long; %s has it", cut, report.ReportName)
	}
	// It is for people to paste, so a result's own word for it is not enough.
	if _, err := report.CommandWords(k.Reproduce); err != nil {
		k.Reproduce = ""
	}
	if k.Facts != nil {
		facts := *k.Facts
		facts.Deps = nil // the failures name those that matter
		k.Facts = &facts
	}
	programs := programDetails(k.Programs)
	costs := costDetails(k)
	k.Programs, k.BPF = nil, nil
	d := membersOf(k)
	if len(programs) > 0 {
		d["programs"] = mustJSON(programs)
	}
	for _, name := range slices.Sorted(maps.Keys(d)) {
		if n := len(d[name]); n > maxMember {
			delete(d, name)
			note("its member %s is left out: it has %d bytes; %s has it", name, n, report.ReportName)
		}
	}
	add := func(name string, v any, is bool) {
		if is {
			d[name] = mustJSON(v)
		}
	}
	add("excerpt", excerpt, excerpt != "")
	add("tests", tests, len(tests) > 0)
	add("costs", costs, len(costs) > 0)
	add("notes", notes, len(notes) > 0)
	if b.o.History != nil {
		past := b.o.History.of(k.ID)
		add("past", past, len(past) > 0)
	}
	return d
}

// membersOf are the members of a kernel's record but for those that the list of
// kernels shows, and those that are looked at one by one.
func membersOf(k report.Result) detail {
	k.Tests, k.Cause, k.Phases, k.Reused = nil, nil, nil, nil
	var d detail
	if err := json.Unmarshal(mustJSON(k), &d); err != nil {
		panic("page: " + err.Error()) // it was just written
	}
	for _, name := range []string{"id", "verdict", "attempts", "accel", "tests_only"} {
		delete(d, name)
	}
	return d
}

// testsByNeed are a kernel's tests fit to be shown, those that failed first when
// there are more than are shown. cut is how many are without their output.
func testsByNeed(tests []report.Test) (shown []report.Test, cut int) {
	if len(tests) > maxKernelTests {
		tests = slices.Clone(tests)
		slices.SortStableFunc(tests, report.FailedFirst)
		tests = tests[:maxKernelTests]
	}
	room := maxKernelOutput
	for _, t := range tests {
		t.Insns = 0 // its program has them
		t.Name, t.Verdict, t.Output = line(t.Name), report.TestVerdict(t), cutOutput(report.Text(t.Output))
		if len(t.Output) > room {
			cut++
			t.Output = ""
		}
		room -= len(t.Output)
		shown = append(shown, t)
	}
	return shown, cut
}
