package report

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	entryA = AllowEntry{Pattern: "WARNING in a", Reason: "known <since> 6.1", Link: "https://example.org/a"}
	entryB = AllowEntry{Pattern: "WARNING in b", Kernels: "debian/*", Reason: "known"}
	entryC = AllowEntry{Pattern: "WARNING in c", Reason: "known"}
)

// allowedSet is a set of three shards with three entries, of which the first is
// used in one shard and the second in another.
func allowedSet() *testSet {
	s := newSet(3, 6)
	for _, f := range s.files {
		f.plan.Allow = []AllowEntry{entryA, entryB, entryC}
	}
	s.file(1).kernel(0).Splats = []Splat{{Title: "WARNING in a", Location: "a.c:1", Allowed: entryA}}
	s.file(3).kernel(1).Splats = []Splat{{Title: "WARNING in b", Allowed: entryB}, {Title: "WARNING in a", Allowed: entryA}}
	return s
}

func TestMergeKnowsUnusedEntries(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testSet)
		unused []AllowEntry
		want   Verdict
		refuse string
	}{
		{name: "used in any shard", unused: []AllowEntry{entryC}, want: Pass},
		{name: "with a failure", unused: []AllowEntry{entryC}, want: Fail, change: func(s *testSet) { s.file(2).fail(0) }},
		{name: "a kernel without a result", want: Missing, change: func(s *testSet) {
			k := s.file(2).kernel(0)
			k.Verdict, k.Cause = Infra, &Cause{Title: "x"}
		}},
		{name: "a shard is missing", want: Missing, change: func(s *testSet) { s.files = s.files[:2] }, refuse: "left no shard file"},
		{name: "lists differ", want: Missing, change: func(s *testSet) { s.file(2).plan.Allow = nil }, refuse: `its list of allowed splats is "none"`},
		{name: "an entry that the shard did not have", want: Missing, change: func(s *testSet) { s.file(1).kernel(0).Splats[0].Allowed.Pattern = "x" }, refuse: "allowed by an entry that its plan does not have"},
		{name: "an entry without a reason", want: Missing, change: func(s *testSet) { s.file(1).kernel(0).Splats[0].Allowed.Reason = " " }, refuse: "allowed without a reason"},
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
	var md, junit bytes.Buffer
	if err := WriteMarkdown(&md, m, MarkdownOptions{}); err != nil {
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
	if err := WriteJUnit(&junit, m); err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(junit.Bytes(), new(struct{})); err != nil {
		t.Error(err)
	}
	if want := `<property name="allowed-splat" value="WARNING in a (known &lt;since&gt; 6.1)">`; !strings.Contains(junit.String(), want) {
		t.Errorf("junit.xml lacks %s:\n%.3000s", want, junit.String())
	}
}
