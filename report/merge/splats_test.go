package merge

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/junit"
	"github.com/elastic/bpf-kernel-check/report/markdown"
)

var (
	entryA = report.AllowEntry{Pattern: "WARNING in a", Reason: "known <since> 6.1", Link: "https://example.org/a"}
	entryB = report.AllowEntry{Pattern: "WARNING in b", Kernels: "debian/*", Reason: "known"}
	entryC = report.AllowEntry{Pattern: "WARNING in c", Reason: "known"}
)

// allowedSet is a set of three shards with three entries, of which the first is
// used in one shard and the second in another.
func allowedSet() *testSet {
	s := newSet(3, 6)
	for _, f := range s.files {
		f.plan.Allow = []report.AllowEntry{entryA, entryB, entryC}
	}
	s.file(1).kernel(0).Splats = []report.Splat{{Title: "WARNING in a", Location: "a.c:1", Allowed: entryA}}
	s.file(3).kernel(1).Splats = []report.Splat{{Title: "WARNING in b", Allowed: entryB}, {Title: "WARNING in a", Allowed: entryA}}
	return s
}

func TestMergeKnowsUnusedEntries(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testSet)
		unused []report.AllowEntry
		want   report.Verdict
		refuse string
	}{
		{name: "used in any shard", unused: []report.AllowEntry{entryC}, want: report.Pass},
		{name: "with a failure", unused: []report.AllowEntry{entryC}, want: report.Fail, change: func(s *testSet) { s.file(2).fail(0) }},
		{name: "a kernel without a result", want: report.Missing, change: func(s *testSet) {
			k := s.file(2).kernel(0)
			k.Verdict, k.Cause = report.Infra, &report.Cause{Title: "x"}
		}},
		{name: "a shard is missing", want: report.Missing, change: func(s *testSet) { s.files = s.files[:2] }, refuse: "left no shard file"},
		{name: "lists differ", want: report.Missing, change: func(s *testSet) { s.file(2).plan.Allow = nil }, refuse: `its list of allowed splats is "none"`},
		{name: "an entry that the shard did not have", want: report.Missing, change: func(s *testSet) { s.file(1).kernel(0).Splats[0].Allowed.Pattern = "x" }, refuse: "allowed by an entry that its plan does not have"},
		{name: "an entry without a reason", want: report.Missing, change: func(s *testSet) { s.file(1).kernel(0).Splats[0].Allowed.Reason = " " }, refuse: "allowed without a reason"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := allowedSet()
			if tt.change != nil {
				tt.change(s)
			}
			m := s.merge(t, testOptions())
			if m.Verdict != tt.want {
				t.Errorf("%v, want %v; %v", m.Verdict, tt.want, m.Refusals)
			}
			if d := cmp.Diff(tt.unused, m.Unused); d != "" {
				t.Errorf("unused (-want +got):\n%s", d)
			}
			var reasons []string
			for _, r := range m.Refusals {
				reasons = append(reasons, r.Reason)
			}
			if all := strings.Join(reasons, "\n"); tt.refuse == "" && all != "" || !strings.Contains(all, tt.refuse) {
				t.Errorf("refusals:\n%s\nwant %q", all, tt.refuse)
			}
		})
	}
}

func TestAllowedSplatsAreShown(t *testing.T) {
	m := allowedSet().merge(t, testOptions())
	var md, out bytes.Buffer
	if err := markdown.Write(&md, m, markdown.Options{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- **Allowed splat:** `WARNING in a` on 2 kernels: `known <since> 6.1`, `https://example.org/a`\n",
		"- **Allowed splat:** `WARNING in b` on 1 kernel: `known`\n",
		"- **Allows nothing any more:** the entry `WARNING in c`\n",
	} {
		if !strings.Contains(md.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, md.String())
		}
	}
	if err := junit.Write(&out, m); err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(out.Bytes(), new(struct{})); err != nil {
		t.Error(err)
	}
	if want := `<property name="allowed-splat" value="WARNING in a (known &lt;since&gt; 6.1)">`; !strings.Contains(out.String(), want) {
		t.Errorf("junit.xml lacks %s:\n%.3000s", want, out.String())
	}
}
