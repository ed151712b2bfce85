package analysis

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/reporttest"
)

func TestSeriesAndFlavour(t *testing.T) {
	for name, want := range map[string][3]string{
		"5.10.102-99.473.amzn2.x86_64__0935484e__06f8":   {"5.10", "amzn.x86_64", "5.10.102-99.473.amzn2.x86_64"},
		"6.1.0-56-cloud-amd64__6.1.192-2":                {"6.1", "cloud-amd64", "6.1.0-56-cloud-amd64"},
		"6.12.117+deb13-cloud-amd64__6.12.117-1":         {"6.12", "cloud-amd64", "6.12.117+deb13-cloud-amd64"},
		"6.12.90+deb12.1-cloud-amd64__6.12.90-2~bpo12+1": {"6.12", "cloud-amd64", "6.12.90+deb12.1-cloud-amd64"},
		"5.11.12-300.fc34.x86_64__b52e":                  {"5.11", "fc.x86_64", "5.11.12-300.fc34.x86_64"},
		"4.18.0-553.16.1.el8_10.x86_64__1":               {"4.18", "el.x86_64", "4.18.0-553.16.1.el8_10.x86_64"},
		"5.15.0-91-generic__2":                           {"5.15", "generic", "5.15.0-91-generic"},
		"mainline-v5.13.4":                               {"5.13", "", "v5.13.4"},
		"mainline-v6.1-rc3":                              {"6.1", "", "v6.1-rc3"},
		"5.10.0-8u1-amd64":                               {"5.10", "8u1-amd64", "5.10.0-8u1-amd64"},
		"broken":                                         {"other", "", "broken"},
		"v7":                                             {"other", "", "v7"},
		"":                                               {"other", "", ""},
		"123456.7":                                       {"other", "", "123456.7"},
	} {
		v, _ := parseVersion(name)
		if got := [3]string{v.series, v.flavour, v.release}; got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestVersionOrder(t *testing.T) {
	// Ascending; those in one row are of one version.
	rows := [][]string{
		{"4.18.0-553.el8_10.x86_64"},
		{"4.18.0-553.16.1.el8_10.x86_64"},
		{"5.4.0-9-generic", "5.4.0-9-aws"},
		{"5.4.0-150-generic"},
		{"5.10.29-27.126.amzn2.x86_64__27", "5.10.29-27.126.amzn2.x86_64__99"},
		{"5.10.29-27.128.amzn2.x86_64__1"},
		{"5.10.102-99.473.amzn2.x86_64__09"},
		{"mainline-v5.13-rc2"},
		{"mainline-v5.13-rc10"},
		{"mainline-v5.13", "mainline-v5.13.0"},
		{"mainline-v5.13.4"},
		{"6.1.0-rc3-amd64"},
		{"6.1.0-1-amd64", "6.1.0-1-rt-amd64"},
		{"99999999999999999999999999.1"},
	}
	type named struct {
		row  int
		name string
		v    version
	}
	var all []named
	for i, row := range rows {
		for _, name := range row {
			v, ok := parseVersion(name)
			if !ok {
				t.Fatalf("%s has no version", name)
			}
			all = append(all, named{i, name, v})
		}
	}
	for _, a := range all {
		for _, b := range all {
			got := a.v.compareTo(b.v)
			if want := a.row - b.row; got < 0 != (want < 0) || got > 0 != (want > 0) {
				t.Errorf("%s and %s: %d", a.name, b.name, got)
			}
		}
	}
}

func FuzzVersion(f *testing.F) {
	f.Add("5.10.102-99.473.amzn2.x86_64__09", "mainline-v6.1-rc3", "1.2-3a")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		var vs []version
		for _, name := range []string{a, b, c} {
			v, _ := parseVersion(name)
			vs = append(vs, v)
		}
		for _, x := range vs {
			for _, y := range vs {
				if x.compareTo(y) != -y.compareTo(x) {
					t.Fatalf("%q and %q have no order", x.release, y.release)
				}
				for _, z := range vs {
					if x.compareTo(y) <= 0 && y.compareTo(z) <= 0 && x.compareTo(z) > 0 {
						t.Fatalf("%q <= %q <= %q", x.release, y.release, z.release)
					}
				}
			}
		}
	})
}

// names builds kernels that fail (-), pass (+), or of which nothing is known (?).
func kernelsOf(spec map[string]string) []report.Result {
	var all []report.Result
	for id, s := range spec {
		k := report.Result{ID: id, Tests: []report.Test{{Name: "T", Verdict: report.TestPass}}, Verdict: report.Pass}
		switch s {
		case "-":
			reporttest.Fail(&k, 0, "rejected: x")
		case "?":
			k.Verdict, k.Tests = report.Missing, nil
		case "skip":
			k.Tests[0].Verdict = report.TestSkip
		case "other": // the same test, another reason
			reporttest.Fail(&k, 0, "rejected: y")
		case "elsewhere": // another test; this one passes
			k.Tests = append(k.Tests, report.Test{Name: "U"})
			reporttest.Fail(&k, 1, "rejected: y")
		case "noboot":
			k = report.Result{ID: k.ID, Verdict: report.NoBoot, Cause: &report.Cause{Title: "no sign of init"}}
		case "expected":
			reporttest.Fail(&k, 0, "rejected: z")
			k.TestsOnly, k.Expected = true, []report.Expected{{Test: k.Tests[0].Name, Reason: "known"}}
		case "none":
			k.Tests[0].Name = "Another"
		case "crash":
			k.Verdict, k.Cause = report.Crash, &report.Cause{Title: "BUG: z"}
		}
		all = append(all, k)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

func TestBoundaries(t *testing.T) {
	tests := []struct {
		name string
		spec map[string]string
		want []string
	}{
		{"fails from", map[string]string{"d/5.9.1": "+", "d/5.10.1": "+", "d/5.10.20": "-", "d/6.1.0": "-"}, []string{"d: passes up to 5.10.1, fails from 5.10.20"}},
		{"fails up to", map[string]string{"d/5.9.1": "-", "d/5.10.1": "-", "d/6.1.0": "+"}, []string{"d: fails up to 5.10.1, passes from 6.1.0"}},
		{"all", map[string]string{"d/5.9.1": "-", "d/5.10.1": "-"}, []string{"d: fails on all 2"}},
		{"one", map[string]string{"d/5.9.1": "-", "e/5.9.1": "+"}, []string{"d: fails on the one kernel it was tested on"}},
		{"not monotone", map[string]string{"d/5.9.1": "-", "d/5.10.1": "+", "d/6.1.0": "-"}, []string{"d: fails on 2 of 3"}},
		{"two builds of one version", map[string]string{"d/5.9.1__a": "+", "d/5.9.1__b": "-"}, []string{"d: fails on 1 of 2"}},
		{"no version", map[string]string{"d/abc": "+", "d/def": "-"}, []string{"d: fails on 1 of 2"}},
		{"one with a version", map[string]string{"d/5.9.1": "+", "d/abc": "-"}, []string{"d: fails on 1 of 2"}},
		{"what is not known is no pass", map[string]string{"d/5.9.1": "+", "d/5.10.1": "?", "d/5.11.1": "-"}, []string{"d: passes up to 5.9.1, fails from 5.11.1; 1 between was not tested"}},
		{"a skip is no pass", map[string]string{"d/5.9.1": "skip", "d/5.10.1": "-"}, []string{"d: fails on the one kernel it was tested on; 1 skips it"}},
		{"another reason is no pass", map[string]string{"d/5.9.1": "other", "d/5.10.1": "-"}, []string{"d: fails this way on 1 of 2; 1 fails otherwise"}},
		{"a crash is no pass", map[string]string{"d/5.9.1": "crash", "d/5.10.1": "-"}, []string{"d: fails this way on 1 of 2; 1 fails otherwise"}},
		{"another reason between", map[string]string{"d/6.1.9": "+", "d/6.12.118": "+", "d/6.16.3": "other", "d/6.17.13": "other", "d/6.19.14": "other", "d/7.0.4": "-", "d/7.3.1": "-"}, []string{"d: passes up to 6.12.118, fails this way from 7.0.4; 3 between fail otherwise"}},
		{"another reason between, up to", map[string]string{"d/5.4.1": "-", "d/5.9.1": "other", "d/5.10.1": "+"}, []string{"d: fails this way up to 5.4.1, passes from 5.10.1; 1 between fails otherwise"}},
		{"what was not tested between", map[string]string{"d/6.1.9": "+", "d/6.16.3": "other", "d/6.17.1": "?", "d/6.18.1": "other", "d/7.0.4": "-"}, []string{"d: passes up to 6.1.9, fails this way from 7.0.4; 2 between fail otherwise; 1 between was not tested"}},
		{"some of each between", map[string]string{"d/6.1.9": "+", "d/6.12.1": "skip", "d/6.14.1": "?", "d/6.15.1": "noboot", "d/6.16.3": "other", "d/6.17.13": "crash", "d/7.0.4": "-"}, []string{"d: passes up to 6.1.9, fails this way from 7.0.4; 2 between fail otherwise; 1 between did not boot; 1 between was not tested; 1 between skips it"}},
		{"what is not known on either side", map[string]string{"d/5.4.1": "?", "d/5.10.1": "+", "d/6.1.1": "-", "d/6.2.1": "?", "d/6.3.1": "?", "d/6.4.1": "-"}, []string{"d: passes up to 5.10.1, fails from 6.1.1; 3 were not tested"}},
		{"one of three between", map[string]string{"d/5.4.1": "?", "d/5.10.1": "+", "d/5.15.1": "?", "d/6.1.1": "-", "d/6.2.1": "?"}, []string{"d: passes up to 5.10.1, fails from 6.1.1; 3 were not tested, 1 of them between"}},
		{"expected failures are no passes", map[string]string{"d/5.10.1": "+", "d/6.0.1": "expected", "d/6.1.1": "-"}, []string{"d: passes up to 5.10.1, fails from 6.1.1; 1 between fails as expected"}},
		{"kernels without the test", map[string]string{"d/5.9.1": "none", "d/5.10.1": "+", "d/6.1.1": "-"}, []string{"d: passes up to 5.10.1, fails from 6.1.1; 1 does not run it"}},
		{"the test passes where another fails", map[string]string{"d/5.9.1": "elsewhere", "d/5.10.1": "-"}, []string{"d: passes up to 5.9.1, fails from 5.10.1"}},
		{"each distribution its own", map[string]string{"d/5.9.1": "+", "d/5.10.1": "-", "e/5.15.1": "+", "e/6.1.1": "-", "f/6.2.1": "+"}, []string{"d: passes up to 5.9.1, fails from 5.10.1", "e: passes up to 5.15.1, fails from 6.1.1"}},
		{"mainline", map[string]string{"mainline/mainline-v6.1-rc2": "+", "mainline/mainline-v6.1-rc10": "-", "mainline/mainline-v6.1": "-"}, []string{"mainline: passes up to v6.1-rc2, fails from v6.1-rc10"}},
		{"a flavour", map[string]string{"d/5.10.0-1-amd64": "+", "d/5.10.0-1-rt-amd64": "-", "d/6.1.0-1-amd64": "+", "d/6.1.0-1-rt-amd64": "-"}, []string{"d rt-amd64: fails on all 2"}},
		{"a flavour's boundary", map[string]string{"d/5.10.0-1-amd64": "+", "d/5.10.0-1-rt-amd64": "+", "d/6.1.0-1-amd64": "+", "d/6.1.0-1-rt-amd64": "-", "d/6.2.0-1-amd64": "+"}, []string{"d rt-amd64: passes up to 5.10.0-1-rt-amd64, fails from 6.1.0-1-rt-amd64"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, g := range Groups(&report.Merged{Kernels: kernelsOf(tt.spec)}) {
				if g.Title != "rejected: x" {
					continue
				}
				var got []string
				plain := func(s string) string { return s }
				for _, b := range g.Boundaries {
					got = append(got, b.Name(plain)+": "+b.Text(plain))
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("%q, want %q", got, tt.want)
				}
				return
			}
			t.Error("no group")
		})
	}
}
