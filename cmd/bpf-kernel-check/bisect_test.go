package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/bisect"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

func TestBisectLines(t *testing.T) {
	var entries []plan.Entry
	for _, name := range []string{
		"6.1.0-9-amd64__6.1.27-1", "6.1.0-56-amd64__6.1.192-2", "6.1.0-56-cloud-amd64__6.1.192-2", "6.12.115+deb13.1-cloud-amd64__6.12.115-2",
		"6.12.115+deb13-cloud-amd64__6.12.115-1", "6.12.9+deb13-cloud-amd64__6.12.9-1",
	} {
		entries = append(entries, plan.Entry{Ref: kernel.Ref{Distro: "debian", Name: name}})
	}
	const cloud = "6.1.0-56-cloud-amd64__6.1.192-2 6.12.9+deb13-cloud-amd64__6.12.9-1 6.12.115+deb13-cloud-amd64__6.12.115-1 6.12.115+deb13.1-cloud-amd64__6.12.115-2 "
	for _, tt := range []struct {
		good, bad string
		want      []string // of each line, its name and its kernels
		err       string
	}{
		{"", "", []string{"debian amd64: 6.1.0-9-amd64__6.1.27-1 6.1.0-56-amd64__6.1.192-2 ", "debian cloud-amd64: " + cloud}, ""},
		{"6.12.9*", "", []string{"debian cloud-amd64: " + cloud}, ""},
		{"6.12.115+deb13-cloud-amd64", "debian/6.1.0-56-cloud-amd64__6.1.192-2", []string{"debian cloud-amd64: " + strings.TrimSuffix(cloud, "6.12.115+deb13.1-cloud-amd64__6.12.115-2 ")}, ""}, // what is outside does not matter
		{"6.1.0-9-amd64", "6.12.9+*", nil, "--good debian/6.1.0-9-amd64__6.1.27-1 is of debian amd64, and --bad debian/6.12.9+deb13-cloud-amd64__6.12.9-1 of debian cloud-amd64: want two of one distribution and flavour"},
		{"[", "", nil, "--good: kernel glob \"[\" is not valid: expected *, ?, [a-z] or text, such as 'debian/6.1*' or '*cloud*', after a ! what is to be left out"},
	} {
		lines, err := bisectLines(entries, tt.good, tt.bad)
		var got []string
		for _, l := range lines {
			s := l.name + ": "
			for _, e := range l.entries {
				s += e.Name + " "
			}
			got = append(got, s)
		}
		said := ""
		if err != nil {
			said = err.Error()
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || said != tt.err {
			t.Errorf("--good %q --bad %q: %s\n%s", tt.good, tt.bad, said, diff)
		}
	}
}

// What is not known to have failed is never bad, and what did not pass never good.
func TestOutcomeOf(t *testing.T) {
	want := map[report.Verdict]bisect.Outcome{report.Pass: bisect.Good, report.Fail: bisect.Bad, report.Crash: bisect.Bad, report.Timeout: bisect.Bad}
	for v := report.Unknown; v <= report.Missing; v++ {
		w, ok := want[v]
		if !ok {
			w = bisect.Skipped
		}
		if got := outcomeOf(v); got != w {
			t.Errorf("%v is %d, want %d", v, got, w)
		}
	}
}

// What is given the wrong way round is asked, and only then.
func TestTellNotAsGiven(t *testing.T) {
	l := kernelLine{good: 1, bad: 0}
	for _, name := range []string{"6.1.1", "6.1.2"} {
		l.entries = append(l.entries, plan.Entry{Ref: kernel.Ref{Distro: "d", Name: name}})
	}
	for _, tt := range []struct {
		good, bad bisect.Outcome
		want      string
	}{
		{bisect.Bad, bisect.Good, "\n--good d/6.1.2 fails, and --bad d/6.1.1 passes: is it the other way round?\n"},
		{bisect.Bad, bisect.Bad, "\n--good is d/6.1.2, which does not pass: give another\n"},
		{bisect.Skipped, bisect.Unknown, "\n--good is d/6.1.2, which does not pass: give another\n"},
		{bisect.Good, bisect.Good, "\n--bad is d/6.1.1, which does not fail: give another\n"},
		{bisect.Good, bisect.Skipped, "\n--bad is d/6.1.1, which does not fail: give another\n"},
	} {
		var out strings.Builder
		b := &listBisection{bisection: &bisection{command: &command{stdout: &out}}}
		b.tell(t.Context(), l, &bisect.Bisection{Outcomes: []bisect.Outcome{tt.bad, tt.good}}, bisect.NotAsGiven)
		if out.String() != tt.want {
			t.Errorf("good is %d, bad %d: %q, want %q", tt.good, tt.bad, out.String(), tt.want)
		}
	}
}

func TestBisectCode(t *testing.T) {
	for _, tt := range []struct {
		ends []bisect.End
		want error
	}{
		{[]bisect.End{bisect.Found}, nil},
		{[]bisect.End{bisect.Alike, bisect.Found}, nil},
		{[]bisect.End{bisect.Alike, bisect.Alike}, exitError(report.ExitFail)},
		{[]bisect.End{bisect.Found, bisect.NotNarrowed}, exitError(report.ExitNotTested)},
		{[]bisect.End{bisect.TooMany}, exitError(report.ExitNotTested)},
		{[]bisect.End{bisect.NotAsGiven}, exitError(report.ExitNotTested)},
		{[]bisect.End{bisect.NotNarrowed, bisect.Alike}, exitError(report.ExitNotTested)},
	} {
		if got := bisectCode(tt.ends); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.ends, got, tt.want)
		}
	}
}

func TestMentioning(t *testing.T) {
	for _, tt := range []struct {
		line, name string
		want       bool
	}{
		{"fs: rename vfs_unlink() to vfs_unlink_one()", "vfs_unlink", true},
		{"fs: call vfs_unlink_one()", "vfs_unlink", false},
		{"sched: remove task_struct::state", "struct task_struct.state", true},
		{"net: struct sock", "struct sk.sk", false},
	} {
		if got := mentioning([]string{tt.name}).MatchString(tt.line); got != tt.want {
			t.Errorf("%q mentions %q: %v", tt.line, tt.name, got)
		}
	}
}
