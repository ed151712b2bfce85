package analysis

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
)

// of makes a result of kernels such as "1=pass" or "1=pass@bytes", sorted by id.
func of(kernels ...string) *report.Merged {
	return &report.Merged{Kernels: results(kernels)}
}

func results(kernels []string) (all []report.Result) {
	for _, s := range kernels {
		id, rest, _ := strings.Cut(s, "=")
		verdict, digest, _ := strings.Cut(rest, "@")
		v, err := report.ParseVerdict(verdict)
		if err != nil {
			panic(err)
		}
		all = append(all, report.Result{ID: "d/" + id, Verdict: v, Digest: digest})
	}
	return all
}

func TestNewChange(t *testing.T) {
	represents := func(m *report.Merged, id, by string) *report.Merged {
		m.Represented = append(m.Represented, report.Represented{ID: "d/" + id, By: "d/" + by})
		return m
	}
	for name, tt := range map[string]struct {
		base, now *report.Merged
		want      report.Change
	}{
		"nothing": {of("1=pass", "2=fail", "3=infra"), of("1=pass", "2=crash", "3=infra"), report.Change{}},
		"new and gone": {
			of("1=pass", "2=pass"), of("2=pass", "3=pass", "4=infra"),
			report.Change{New: []string{"d/3", "d/4"}, Gone: []string{"d/1"}},
		},
		"rebuilt": {
			of("1=pass@a", "2=pass@a", "3=missing", "4=fail@a"), of("1=fail@b", "2=missing", "3=missing@b", "4=pass@a"),
			report.Change{Rebuilt: []string{"d/1"}, NewlyFail: []string{"d/1"}, Fixed: []string{"d/4"}, TestedBefore: []string{"d/2"}},
		},
		"tested for the first time": {
			of("1=infra", "2=no-boot", "3=missing", "4=fail"), of("1=pass", "2=fail", "3=infra", "4=pass"),
			report.Change{FirstTested: []string{"d/1", "d/2"}, Fixed: []string{"d/4"}},
		},
		"not the first time after a day without": {
			&report.Merged{Kernels: results([]string{"1=infra", "2=infra"}), Change: &report.Change{TestedBefore: []string{"d/1"}}},
			of("1=pass", "2=infra"),
			report.Change{},
		},
		"a second day without": {
			&report.Merged{Kernels: results([]string{"1=infra"}), Change: &report.Change{TestedBefore: []string{"d/1"}}},
			of("1=infra"),
			report.Change{TestedBefore: []string{"d/1"}},
		},
		"represented": {
			represents(represents(of("1=pass", "4=pass"), "2", "1"), "3", "1"),
			represents(represents(of("1=pass", "2=pass"), "4", "1"), "5", "1"),
			report.Change{New: []string{"d/5"}, Gone: []string{"d/3"}, FirstTested: []string{"d/2"}, TestedBefore: []string{"d/4"}},
		},
		"back on the mirror": {
			&report.Merged{Kernels: results([]string{"1=pass"}), Gone: []string{"d/2", "d/3"}},
			of("1=pass", "2=pass", "3=infra"),
			report.Change{FirstTested: []string{"d/2"}},
		},
		"left out": {
			of("1=pass", "2=infra", "3=pass"),
			&report.Merged{Kernels: results([]string{"4=fail"}), Earlier: &report.Earlier{Kernels: results([]string{"1=pass", "2=infra"})}},
			report.Change{New: []string{"d/4"}, Gone: []string{"d/3"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(&tt.want, NewChange(tt.base, tt.now, 0)); d != "" {
				t.Error(d)
			}
		})
	}
}
