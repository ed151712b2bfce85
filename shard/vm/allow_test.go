package vm

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/guest/console"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/entries"
)

const allowExample = `# what we know of
- pattern: '^WARNING in bpf_test'
  kernels: 'debian/6.1.*'
  reason: fixed in 6.1.90, and harmless
  link: https://lore.kernel.org/bpf/x
- {pattern: RCU stall, reason: the runners are slow}
`

func TestReadAllowed(t *testing.T) {
	tests := []struct {
		name, text, want string
		entries          int
	}{
		{name: "two entries", text: allowExample, entries: 2},
		{name: "empty"},
		{name: "a comment alone", text: "# nothing\n"},
		{name: "an empty list", text: "[]\n"},
		{name: "no reason", text: "- pattern: x\n- kernels: '*'\n", want: `^a\.yml:1: the entry for "x" has no reason: say why`},
		{name: "an empty reason", text: "- pattern: x\n  reason: ' '\n", want: `^a\.yml:2: a value is empty$`},
		{name: "no pattern", text: "- reason: x\n", want: `^a\.yml:1: the entry has no pattern`},
		{name: "a broken pattern", text: "\n- pattern: 'a('\n  reason: x\n", want: `^a\.yml:2: pattern: error parsing regexp: missing closing \)`},
		{name: "a pattern that matches everything", text: "- pattern: '.*'\n  reason: x\n", want: `^a\.yml:1: pattern "\.\*" matches everything`},
		{name: "any character", text: "- pattern: '.'\n  reason: x\n", want: `matches everything`},
		{name: "any character among words", text: "- pattern: '(BUG|WARNING|.)'\n  reason: x\n", want: `matches everything`},
		{name: "any letter", text: "- pattern: '[a-z]+'\n  reason: x\n", want: `matches everything`},
		{name: "an unknown key", text: "- pattern: x\n  reason: x\n  reasn: y\n", want: `^a\.yml:3: unknown key "reasn"$`},
		{name: "a key twice", text: "- {pattern: x, pattern: y, reason: z}\n", want: `^a\.yml:1: .*(twice|already)`},
		{name: "a number", text: "- pattern: 12\n  reason: x\n", want: `^a\.yml:1: a number or the like is no text: put it in quotes$`},
		{name: "a list in an entry", text: "- pattern: [a]\n  reason: x\n", want: `^a\.yml:1: !!seq cannot stand here`},
		{name: "a broken glob", text: "- pattern: x\n  kernels: '['\n  reason: x\n", want: `^a\.yml:1: kernel glob "\[" is not valid`},
		{name: "a link that is none", text: "- pattern: x\n  link: 'javascript:x'\n  reason: x\n", want: `^a\.yml:1: link "javascript:x": want the address`},
		{name: "the same twice", text: "- {pattern: x, reason: y}\n- {pattern: x, reason: z}\n", want: `^a\.yml:2: pattern "x" has an entry at a\.yml:1 already$`},
		{name: "no list", text: "pattern: x\n", want: `^a\.yml:1: !!map cannot stand here: want a list of entries`},
		{name: "a text", text: "- x\n", want: `^a\.yml:1: .*cannot stand here: want a list of entries`},
		{name: "an alias", text: "- &a {pattern: x, reason: y}\n- *a\n", want: `^a\.yml:2: pattern "x" has an entry at a\.yml:1 already$`},
		{name: "no YAML", text: "- pattern: 'x\n", want: `^a\.yml:\d+: no YAML: `},
		{name: "two documents", text: "[]\n---\n- {pattern: x, reason: y}\n", want: `^a\.yml:1: it has more than one YAML document`},
		{name: "too much", text: "# " + strings.Repeat("x", entries.MaxFile), want: `^a\.yml:1: it has more than 4 MiB`},
		{name: "a long text", text: "- pattern: '" + strings.Repeat("x", entries.MaxText+1) + "'\n", want: `^a\.yml:1: a value has 1001 bytes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var a Allowed
			err := a.Read("a.yml", strings.NewReader(tt.text))
			var ae *entries.Error
			switch {
			case tt.want == "" && (err != nil || len(a.entries) != tt.entries):
				t.Errorf("%v, %d entries, want %d", err, len(a.entries), tt.entries)
			case tt.want != "" && (!errors.As(err, &ae) || !regexp.MustCompile(tt.want).MatchString(err.Error()) || strings.Contains(err.Error(), "\n")):
				t.Errorf("%v, want %s", err, tt.want)
			}
		})
	}
}

func readAllowed(t testing.TB, text string) *Allowed {
	t.Helper()
	var a Allowed
	if err := a.Read("a.yml", strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return &a
}

func TestAllowedCovers(t *testing.T) {
	a := readAllowed(t, allowExample+"- {pattern: NULL pointer, reason: never}\n- {pattern: 'task hung|more than|in_the_excerpt', reason: x}\n")
	const id = "debian/6.1.0-56-cloud-amd64__6.1.192-2"
	tests := []struct {
		name string
		id   string
		f    console.Finding
		want bool
	}{
		{"by its title", id, console.Finding{Kind: console.Splat, Title: "WARNING in bpf_test"}, true},
		{"another kernel", "debian/6.12.1", console.Finding{Kind: console.Splat, Title: "WARNING in bpf_test"}, false},
		{"another title", id, console.Finding{Kind: console.Splat, Title: "WARNING in bpf"}, false},
		{"on any kernel", "debian/6.12.1", console.Finding{Kind: console.Stall, Title: "RCU stall in x"}, true},
		{"by its excerpt", id, console.Finding{Kind: console.Splat, Title: "WARNING in x", Excerpt: "Call Trace:\n in_the_excerpt+0x1\n"}, true},
		{"a hung task", id, console.Finding{Kind: console.HungTask, Title: "task hung in x"}, true},
		{"an oops", id, console.Finding{Kind: console.Oops, Title: "BUG: kernel NULL pointer dereference in x"}, false},
		{"a panic", id, console.Finding{Kind: console.Panic, Title: "NULL pointer"}, false},
		{"of unknown kind", id, console.Finding{Title: "RCU stall in x"}, false},
		{"more than was looked at", id, console.Finding{Kind: console.Splat, Title: "more than 63 different reports", Overflow: true}, false},
	}
	for _, tt := range tests {
		if _, got := a.covers(tt.id, tt.f); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	if _, ok := (*Allowed)(nil).covers(id, tests[0].f); ok {
		t.Error("without a list something is allowed")
	}
}

func TestJudgeAllowed(t *testing.T) {
	splat := console.Finding{Kind: console.Splat, Title: "WARNING in known", Taint: 1 << 9}
	tests := []struct {
		name  string
		with  func(*Observation)
		want  report.Verdict
		cause string
	}{
		{"the known one", func(o *Observation) {}, report.Pass, ""},
		{"with the taint that it makes", func(o *Observation) { o.end().Taint = 1 << 9 }, report.Pass, ""},
		{"with another taint", func(o *Observation) { o.end().Taint = 1<<9 | 1<<7 }, report.Crash, "oops or BUG"},
		{"that makes no taint, with one", func(o *Observation) { o.Findings[0].Taint, o.end().Taint = 0, 1<<9 }, report.Crash, "warning"},
		{"and another one", func(o *Observation) {
			o.Findings = append(o.Findings, console.Finding{Kind: console.Splat, Title: "WARNING in other"})
		}, report.Crash, "WARNING in other"},
		{"and a panic", func(o *Observation) {
			o.Findings = append(o.Findings, console.Finding{Kind: console.Panic, Title: "Kernel panic - not syncing: WARNING in known"})
		}, report.Crash, "Kernel panic"},
		{"and a test that failed", func(o *Observation) { o.Records[1].Test.Verdict = "fail" }, report.Fail, "A failed"},
		{"and the VM had to be ended for it", func(o *Observation) { o.stopped, o.Exit.Killed = stopCrash, true }, report.Crash, "did not come back"},
		{"and no end record", func(o *Observation) { o.Records = o.Records[:4] }, report.Fail, "end record"},
		{"before init", func(o *Observation) { o.Records, o.stopped = nil, stopBoot }, report.NoBoot, "no sign of init"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := passed()
			o.Allowed = readAllowed(t, "- {pattern: WARNING in known, reason: x}")
			o.Findings = []console.Finding{splat}
			tt.with(&o)
			got := o.Judge()
			if got.Verdict != tt.want || (got.Cause == nil) != (tt.cause == "") || got.Cause != nil && !strings.Contains(got.Cause.Title, tt.cause) {
				t.Errorf("got %v (%+v), want %v, %s", got.Verdict, got.Cause, tt.want, tt.cause)
			}
			if len(got.Splats) != 1 || got.Splats[0].Title != splat.Title || got.Splats[0].Allowed.Reason != "x" {
				t.Errorf("allowed splats: %+v", got.Splats)
			}
		})
	}
}

// No text makes it panic; an error is one line that begins with the place, and
// what is accepted has reasons and allows no panic.
func FuzzReadAllowed(f *testing.F) {
	f.Add(allowExample)
	f.Add("- {pattern: x, reason: y}\n- *a\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		var a Allowed
		if err := a.Read("a.yml", strings.NewReader(text)); err != nil {
			if !regexp.MustCompile(`^a\.yml:\d+: [^\n]+$`).MatchString(err.Error()) {
				t.Fatalf("error %q", err)
			}
			return
		}
		for _, e := range a.entries {
			if e.Reason == "" || e.Pattern == "" || len(e.Reason) > entries.MaxText {
				t.Fatalf("entry %+v", e)
			}
		}
		if _, ok := a.covers("debian/6.1", console.Finding{Kind: console.Panic, Title: "Kernel panic"}); ok {
			t.Fatal("a panic is allowed")
		}
	})
}
