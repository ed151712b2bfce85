package output

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// parseJUnit is parse for a program that wrote XML files.
func parseJUnit(text, framework string, status int, files ...string) (tests []Test, cut string) {
	p := New("prog", func(t Test) { tests = append(tests, t) })
	p.ExpectJUnit(framework)
	_, _ = p.Write([]byte(text))
	for i, f := range files {
		p.ReadJUnit(fmt.Sprintf("/%d.xml", i), []byte(f))
	}
	cut = p.Finish(fmt.Sprintf("exit status %d", status), status, time.Second)
	return tests, cut
}

type junitRecord struct {
	name, framework string
	status          int
	xml             string
}

var junitTitle = regexp.MustCompile(`^(.+: .+), (\S+): (\d+)$`)

func junitRecords(t testing.TB) (list []junitRecord) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/junit.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		m := junitTitle.FindStringSubmatch(f.Name)
		_, text, ok := bytes.Cut(f.Data, []byte("\n\n"))
		if m == nil || !ok || f.Data[0] != '$' {
			t.Fatalf("the file %q", f.Name)
		}
		status, _ := strconv.Atoi(m[3])
		list = append(list, junitRecord{m[1], strings.TrimPrefix(m[2], "-"), status, string(text)})
	}
	return list
}

func TestJUnitFrameworks(t *testing.T) {
	want := map[string][]string{
		"GoogleTest: fail": {
			"pass Some.Passes", "fail Some.Fails: gtest.cc:3", "skip Some.Skips: gtest.cc:4", "skip Some.DISABLED_Off: status: notrun",
			"pass Many/P.Odd/0", "fail Many/P.Odd/1: gtest.cc:7",
		},
		"GoogleTest: pass": {"pass Some.Passes"},
		"GoogleTest: none": {"fail prog: no test ran: its JUnit XML has none; exit status 0"},
		"Catch2: fail": {
			"pass catch2.global.passes", "pass catch2.global.passes/one", "pass catch2.global.passes/two <&>",
			"fail catch2.global.fails: 1 == 2", "fail catch2.global.throws: FAILED:", "skip catch2.global.may fail: TEST_CASE tagged with !mayfail",
		},
		"Catch2: pass": {"pass catch2.global.passes", "pass catch2.global.passes/one", "pass catch2.global.passes/two <&>"},
		"Catch2: none": {"fail prog: no test ran: its JUnit XML has none; exit status 0"},
		"doctest: fail": {
			"pass doctest.cc.passes/one", "pass doctest.cc.passes/two", "fail doctest.cc.fails: 1 == 2", "fail doctest.cc.throws: exception",
		},
		"doctest: pass": {"pass doctest.cc.passes/one", "pass doctest.cc.passes/two"},
		"pytest: fail": {
			"pass test_py.test_passes", "fail test_py.test_fails: AssertionError: why <&> #x1B[31m", "skip test_py.test_skips: no BTF", "skip test_py.test_xfail: known",
			`fail test_py.test_setup: failed on setup with "RuntimeError: setup"`, `fail test_py.test_teardown: failed on teardown with "RuntimeError: teardown"`,
			"fail test_py.test_both: assert False", `fail test_py.test_both#01: failed on teardown with "RuntimeError: teardown"`,
			"pass test_py.TestA.test_param[a b]", "pass test_py.TestA.test_param[c/d]",
		},
		"pytest: pass": {"pass test_py.test_passes", "skip test_py.test_xfail: known", "pass test_py.TestA.test_param[a b]", "pass test_py.TestA.test_param[c/d]"},
		"pytest: none": {"fail prog: exit status 5, and its JUnit XML has no failed test"},
		"bats: fail":   {"pass t.bats.passes", "fail t.bats.fails <&>: (in test file t.bats, line 2)", "skip t.bats.skips: no BTF"},
		"CTest: fail": {
			"pass passes", "fail fails: status: fail", "skip skips: SKIP_RETURN_CODE=77", "fail absent: Unable to find executable", "skip off: status: disabled", "fail slow: status: fail",
		},
		"CTest: pass":           {"pass passes"},
		"cmocka: fail":          {"pass first/test_passes", "fail first/test_fails: 0x1 != 0x2", "skip first/test_skips"},
		"cmocka: pass":          {"pass second/test_passes"},
		"cmocka: group setup":   {`fail prog: JUnit XML: /0.xml: <testsuite name="second"> counts errors=1, and has 0: tests are missing from it`},
		"Criterion: fail":       {"skip some/skips: status: skipped", "pass some/passes", "fail some/fails: 1 assertion(s) failed.", "fail other/crashes: The test crashed."},
		"Criterion: pass":       {"pass some/passes", "skip some/skips: status: skipped", "skip some/fails: status: skipped", "skip other/crashes: status: skipped"},
		"Boost.Test: fail":      {"pass some.passes", "fail some.fails: ASSERTION FAILURE:", "fail some.throws: unexpected exception", "skip some.skips"},
		"Boost.Test: pass":      {"pass some.passes", "skip some.fails", "skip some.throws", "skip some.skips"},
		"go-junit-report: fail": {"pass example.com/p.TestA", "fail example.com/p.TestB: b_test.go:5: why <&>", "skip example.com/p.TestC: Skipped"},
		"nextest: fail":         {"pass probe.tests::passes", "pass probe.tests::flaky", "fail probe.tests::fails: thread 'tests::fails' panicked at src/lib.rs:5:5"},
		"Maven: fail":           {"pass probe.SomeTest.passes", "fail probe.SomeTest.throwsIt: why", "skip probe.SomeTest.skips: no BTF"},
	}
	for _, r := range junitRecords(t) {
		got, cut := parseJUnit("", r.framework, r.status, r.xml)
		if d := cmp.Diff(want[r.name], brief(got)); d != "" {
			t.Errorf("%s: (-want +got)\n%s", r.name, d)
		}
		if whole := !strings.Contains(r.name, "group setup"); whole != (cut == "") {
			t.Errorf("%s: cut short: %q", r.name, cut)
		}
		delete(want, r.name)
		// A failure that the exit status does not tell of, and the other way round.
		other := 1
		if r.status != 0 {
			other = 0
		}
		if got, _ := parseJUnit("", r.framework, other, r.xml); verdictOf(got) != wire.TestFail {
			t.Errorf("%s: with exit status %d: %q", r.name, other, brief(got))
		}
	}
	for name := range want {
		t.Errorf("%s is not recorded", name)
	}
}

const junitPass = `<testsuite name="s" tests="1"><testcase classname="c" name="a" time="0.25"/></testsuite>`

// No such file is a pass, and what is wrong with it is said.
func TestJUnitHostile(t *testing.T) {
	deep := strings.Repeat("<testsuite>", 100) + strings.Repeat("</testsuite>", 100)
	one := func(inside string) string {
		return `<testsuite><testcase name="a">` + inside + `</testcase><testcase name="b"/></testsuite>`
	}
	counts := func(attrs string) string { return `<testsuite name="s" ` + attrs + `><testcase name="a"/></testsuite>` }
	tests := map[string]struct{ xml, want string }{
		"empty":                          {"", "it is empty"},
		"blank":                          {" \n\t", "it is empty"},
		"only a declaration":             {`<?xml version="1.0"?>`, "it has no element"},
		"only a comment":                 {`<!-- <testsuite/> -->`, "it has no element"},
		"text":                           {"PASS\n", "text outside"},
		"JSON":                           {`{"tests":1}`, "text outside"},
		"text behind":                    {junitPass + "ok", "text outside"},
		"HTML":                           {"<html></html>", "its root is <html>"},
		"libcheck's own":                 {`<testsuites xmlns="http://check.sourceforge.net/ns"><suite><title>core</title><test result="success"/></suite></testsuites>`, "no test ran"},
		"cut in an element":              {junitPass[:60], "in the middle"},
		"cut between elements":           {`<testsuite><testcase name="a"/>`, "in the middle"},
		"cut in CDATA":                   {`<testsuite><testcase name="a"><failure><![CDATA[x`, "syntax error"},
		"wrong end":                      {`<testsuite><testcase name="a"></testsuite>`, "syntax error"},
		"no quotes":                      {`<testsuite name=s><testcase/></testsuite>`, "syntax error"},
		"document type":                  {`<!DOCTYPE testsuite>` + junitPass, "document type"},
		"entity of its own":              {`<!DOCTYPE testsuite [<!ENTITY a "aa">]><testsuite><testcase name="&a;"/></testsuite>`, "document type"},
		"billion laughs":                 {`<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]><testsuite name="&c;"/>`, "document type"},
		"file entity":                    {`<!DOCTYPE l [<!ENTITY f SYSTEM "file:///etc/passwd">]><testsuite name="&f;"/>`, "document type"},
		"entity in the middle":           {`<testsuite><!ENTITY a "b"><testcase name="a"/></testsuite>`, "document type"},
		"unknown entity":                 {`<testsuite><testcase name="&nbsp;"/></testsuite>`, "invalid character entity"},
		"illegal character":              {`<testsuite><testcase name="&#0;"/></testsuite>`, "syntax error"},
		"UTF-16":                         {"\xff\xfe<\x00t\x00", "UTF-16"},
		"UTF-16 declared":                {`<?xml version="1.0" encoding="UTF-16"?>` + junitPass, "written as UTF-8"},
		"UTF-7":                          {`<?xml version="1.0" encoding="UTF-7"?>` + junitPass, "written as UTF-8"},
		"XML 1.1":                        {`<?xml version="1.1"?>` + junitPass, "unsupported version"},
		"deep suites":                    {deep, "deep"},
		"deep elements":                  {one(strings.Repeat("<x>", 100) + strings.Repeat("</x>", 100)), "deep"},
		"no test":                        {"<testsuites/>", "no test ran"},
		"a testcase as root":             {`<testcase name="a"/>`, "its root is <testcase>"},
		"a testcase in a testcase":       {one(`<testcase name="c"/>`), "<testcase> in a <testcase>"},
		"a suite in a testcase":          {one(`<testsuite/>`), "<testsuite> in a <testcase>"},
		"a testcase in properties":       {`<testsuite><testcase name="b"/><properties><testcase name="a"/></properties></testsuite>`, "<testcase> in a <properties>"},
		"failure without words":          {one("<failure/>"), "a"},
		"error":                          {one(`<error message="why"/>`), "why"},
		"failure in system-out":          {one(`<system-out><failure/></system-out>`), "a"},
		"failure in properties":          {one(`<properties><property><failure/></property></properties>`), "a"},
		"failure in capitals":            {one("<FAILURE/>"), "a"},
		"failure with a namespace":       {`<testsuite xmlns:x="y"><testcase name="a"><x:failure/></testcase></testsuite>`, "a"},
		"another word for it":            {one("<assertionFailed/>"), "a"},
		"failure of a suite":             {`<testsuite name="s"><testcase name="a"/><error message="setup"/></testsuite>`, "s failed: setup"},
		"skipped and failed":             {one("<skipped/><failure/>"), "a"},
		"Catch2's words without Catch2":  {one(`<skipped message="TEST_CASE tagged with !mayfail"/><failure/>`), "a"},
		"status fail":                    {`<testsuite><testcase name="a" status="fail"/></testsuite>`, "status: fail"},
		"result unknown":                 {`<testsuite><testcase name="a" status="run" result="exploded"/></testsuite>`, "result: exploded"},
		"tests are missing":              {counts(`tests="2"`), "counts tests=2, and has 1 case"},
		"more tests than counted":        {counts(`tests="0"`), "counts tests=0"},
		"failures without one":           {counts(`tests="1" failures="1"`), "counts failures=1"},
		"errors without one":             {counts(`errors="3"`), "counts errors=3"},
		"skipped without one":            {counts(`skipped="1"`), "counts skipped=1"},
		"disabled without one":           {counts(`disabled="1"`), "counts skipped=0"},
		"a failure that is not counted":  {`<testsuite failures="0"><testcase name="a"><failure/></testcase></testsuite>`, "counts failures=0"},
		"negative":                       {counts(`tests="-1"`), "which is no number"},
		"no number":                      {counts(`tests="many"`), "which is no number"},
		"a number that is too large":     {counts(`failures="99999999999999999999"`), "which is no number"},
		"counted only at the top":        {`<testsuites tests="3"><testsuite tests="1"><testcase name="a"/></testsuite></testsuites>`, "counts tests=3"},
		"the second root":                {junitPass + `<testsuite><testcase name="b"><failure/></testcase></testsuite>`, "b"},
		"a failure in bytes of no UTF-8": {one("<failure>\xff\xfe\x00</failure>"), "a"},
		"a hidden failure":               {"<testsuite><testcase name='a'><\x01failure/></testcase></testsuite>", "syntax error"},
	}
	if len(tests) < 30 {
		t.Errorf("%d files", len(tests))
	}
	for name, tt := range tests {
		got, _ := parseJUnit("", "", 0, tt.xml)
		said := strings.Join(brief(got), "\n")
		if verdictOf(got) != wire.TestFail || !strings.Contains(said, tt.want) {
			t.Errorf("%s: %s, want a failure that says %q", name, said, tt.want)
		}
		// A good file beside it helps nothing.
		if got, _ := parseJUnit("", "", 0, junitPass, tt.xml); verdictOf(got) != wire.TestFail && tt.want != "no test ran" {
			t.Errorf("%s, beside another file: %q", name, brief(got))
		}
	}
}

func TestJUnit(t *testing.T) {
	many := `<testsuite>` + strings.Repeat(`<testcase name="a"/>`, MaxTests+5) + `</testsuite>`
	long := `<testsuite><testcase name="` + strings.Repeat("n", 2000) + `"><failure message="` + strings.Repeat("m", 1<<20) + `"/></testcase></testsuite>`
	for name, tt := range map[string]struct {
		text, framework string
		status          int
		files           []string
		want            []string // the last ones
		cut             string
	}{
		"pass":         {files: []string{junitPass}, want: []string{"pass c.a"}},
		"mark of UTF8": {files: []string{"\ufeff" + junitPass}, want: []string{"pass c.a"}},
		"Latin-1": {
			files: []string{`<?xml version="1.0" encoding="ISO-8859-1"?>` + "<testsuite><testcase name='\xe4'/></testsuite>"},
			want:  []string{`fail prog: JUnit XML: /0.xml: xml: opening charset "ISO-8859-1": have it written as UTF-8`}, cut: "JUnit XML: /0.xml",
		},
		"ASCII":       {files: []string{`<?xml version='1.0' encoding='us-ascii'?>` + junitPass}, want: []string{"pass c.a"}},
		"escape":      {status: 1, files: []string{"<testsuite><testcase name='a'><failure>\x1b[31mred</failure></testcase></testsuite>"}, want: []string{"fail a: \ufffd[31mred"}},
		"no file":     {cut: "", want: []string{"fail prog: no test ran: its JUnit XML has none; exit status 0"}},
		"two files":   {files: []string{junitPass, junitPass}, want: []string{"pass c.a", "pass c.a#01"}},
		"all skipped": {files: []string{`<testsuite><testcase name="a"><skipped>why</skipped></testcase></testsuite>`}, want: []string{"skip a: why"}},
		"exit status, no failure": {
			status: 3, files: []string{junitPass}, want: []string{"pass c.a", "fail prog: exit status 3, and its JUnit XML has no failed test"},
		},
		"signal": {
			status: 139, text: "x\n", files: []string{junitPass}, want: []string{"pass c.a", "fail prog: exit status 139, and its JUnit XML has no failed test"},
		},
		"exit status 0, a failure": {
			files: []string{`<testsuite><testcase name="a"><failure/></testcase></testsuite>`},
			want:  []string{"fail a", "fail prog: it ended with exit status 0, and its JUnit XML has 1 failed test"},
		},
		"assertions, no framework": {
			files: []string{`<testsuite tests="4"><testcase name="a"/></testsuite>`}, want: []string{"pass a", `fail prog: JUnit XML: /0.xml: <testsuite name=""> counts tests=4, and has 1 case: tests are missing from it; Catch2 and doctest count assertions: say so by --framework`},
			cut: "JUnit XML: /0.xml",
		},
		"assertions": {framework: "doctest", files: []string{`<testsuite tests="4"><testcase name="a"/></testsuite>`}, want: []string{"pass a"}},
		"a test's text is not the program's": {
			text: "=== RUN   TestA\n--- PASS: TestA (0.00s)\nPASS\n", files: []string{junitPass}, want: []string{"pass c.a"},
		},
		"the text tells of the same failure": {
			text:   "[==========] Running 1 test\n[ RUN      ] S.F\nx\n[  FAILED  ] S.F (0 ms)\n[==========] 1 test ran.\n[  FAILED  ] 1 test, listed below:\n[  FAILED  ] S.F\n",
			status: 1, files: []string{`<testsuite><testcase classname="S" name="F"><failure>why</failure></testcase></testsuite>`}, want: []string{"fail S.F: why"},
		},
		"the text tells of another failure": {
			text:   "[==========] Running 1 test\n[ RUN      ] S.F\nx\n[  FAILED  ] S.F (0 ms)\n[==========] 1 test ran.\n[  FAILED  ] 1 test, listed below:\n[  FAILED  ] S.F\n",
			status: 1, files: []string{`<testsuite><testcase classname="S" name="G"><failure>why</failure></testcase></testsuite>`}, want: []string{"fail S.G: why", "fail S.F: x"},
		},
		"the text has no end": {
			text: "[==========] Running 1 test\n[ RUN      ] S.F\n", files: []string{junitPass}, want: []string{"pass c.a", "fail S.F: it started and did not end: exit status 0"},
			cut: "S.F started and did not end",
		},
		"the summary counts as many":                  {text: "== 1 failed in 0.1s ==\n", status: 1, files: []string{`<testsuite><testcase name="a"><failure/></testcase></testsuite>`}, want: []string{"fail a"}},
		"what is wrong with the program is no test's": {text: "[==========] Running 2 tests\n", status: 1, files: []string{`<testsuite><testcase classname="S" name="prog"><failure/></testcase></testsuite>`}, want: []string{"fail S.prog", "fail prog: its output ends without a summary: exit status 1"}, cut: "its output ends without a summary"},

		"pytest stops":                   {text: "!!!!!!!! stopping after 1 failures !!!!!!!!\n", status: 1, files: []string{`<testsuite><testcase name="a"><failure/></testcase></testsuite>`}, want: []string{"fail a"}, cut: "stopping after 1 failures"},
		"Criterion counts a crash twice": {text: "[====] Synthesis: Tested: 3 | Passing: 1 | Failing: 2 | Crashing: 1\n", status: 1, files: []string{`<testsuite><testcase name="a"><failure/></testcase><testcase name="b"><error/></testcase></testsuite>`}, want: []string{"fail a", "fail b"}},
		"bats prints the time":           {text: "1..1\nnot ok 1 a b # in 12 ms\n", status: 1, files: []string{`<testsuite><testcase classname="t.bats" name="a b"><failure/></testcase></testsuite>`}, want: []string{"fail t.bats.a b"}},
		"CTest without a program":        {framework: "ctest", status: 8, files: []string{`<testsuite skipped="1" failures="0"><testcase name="a" status="notrun"><skipped message="Unable to find executable"/></testcase></testsuite>`}, want: []string{"fail a: Unable to find executable"}},
		"the summary counts a second":    {text: "== 2 failed in 0.1s ==\n", status: 1, files: []string{`<testsuite><testcase name="a"><failure/></testcase></testsuite>`}, want: []string{"fail a", "fail prog: pytest: == 2 failed in 0.1s =="}},
		"a summary that Catch2 does not print beside its XML": {
			framework: "catch2", text: "Randomness seeded to: 1\ntest cases: 2 | 1 passed | 1 failed\n", status: 1, files: []string{`<testsuite><testcase name="a"><failure/></testcase></testsuite>`}, want: []string{"fail a"},
			cut: "Catch2: test cases: 2 | 1 passed | 1 failed: what writes JUnit XML does not print this",
		},
		"the same, and it is not known what wrote the XML": {
			text: "[doctest] test cases: 2 | 1 passed | 1 failed | 0 skipped\n[doctest] Status: FAILURE!\n", status: 1, files: []string{`<testsuite><testcase name="a"><failure/></testcase></testsuite>`}, want: []string{"fail a"},
			cut: "doctest: ",
		},
		"another framework's summary":  {framework: "catch2", text: "== 1 failed in 0.1s ==\n", status: 1, files: []string{`<testsuite><testcase name="a"><failure/></testcase></testsuite>`}, want: []string{"fail a"}, cut: "pytest: "},
		"Boost.Test's, beside its XML": {framework: "boost", text: "*** 2 failures are detected in the test module \"prog\"\n", status: 201, files: []string{`<testsuite><testcase name="a"><failure/><failure/></testcase></testsuite>`}, want: []string{"fail a"}},
		"Criterion's, beside its XML":  {framework: "criterion", text: "[====] Synthesis: Tested: 2 | Passing: 1 | Failing: 1 | Crashing: 0 \n", status: 1, files: []string{`<testsuite><testcase name="a"><failure/></testcase></testsuite>`}, want: []string{"fail a"}},
		"nextest prints what it writes": {
			text:   "    Starting 2 tests across 1 binary (run ID: x)\n        PASS [   0.003s] (1/2) probe tests::a\n        FAIL [   0.003s] (2/2) probe tests::b c\n     Summary [   0.004s] 2 tests run: 1 passed, 1 failed, 0 skipped\n        FAIL [   0.003s] (2/2) probe tests::b c\nerror: test run failed\n",
			status: 100, files: []string{`<testsuites><testsuite name="probe"><testcase name="tests::a" classname="probe"/><testcase name="tests::b c" classname="probe"><failure/></testcase></testsuite></testsuites>`},
			want: []string{"pass probe.tests::a", "fail probe.tests::b c"},
		},
		"another test of TAP's": {text: "1..1\nnot ok 1 a b\n", status: 1, files: []string{`<testsuite><testcase name="a.b"><failure/></testcase></testsuite>`}, want: []string{"fail a.b", "fail a b"}},
		"pytest's error after a test, in a suite of another name": {
			framework: "pytest", status: 1, files: []string{`<testsuite name="mine" tests="3" errors="1" failures="0"><testcase classname="c" name="a"/><testcase classname="c" name="b"><error message="teardown"/></testcase></testsuite>`},
			want: []string{"pass c.a", "fail c.b: teardown"},
		},
		"very many": {files: []string{many}, want: []string{"pass prog: further tests"}},
		"very long": {status: 1, files: []string{long}, want: []string{"fail " + shorten(strings.Repeat("n", 2000), wire.MaxName) + ": " + strings.Repeat("m", (maxOther-len("\n[... cut ...]\n"))/2)}},
	} {
		got, cut := parseJUnit(tt.text, tt.framework, tt.status, tt.files...)
		lines := brief(got)
		if d := cmp.Diff(tt.want, lines[max(0, len(lines)-max(len(tt.want), 1)):]); d != "" && !(name == "very many" && len(lines) == MaxTests+1) || len(lines) > len(tt.want) && name != "very many" {
			t.Errorf("%s: (-want +got)\n%s", name, d)
		}
		if !strings.HasPrefix(cut, tt.cut) || tt.cut == "" && cut != "" {
			t.Errorf("%s: cut short: %q, want %q", name, cut, tt.cut)
		}
	}
	// However many they are, no failure is told twice.
	var text, xml strings.Builder
	text.WriteString("1..4000\n")
	xml.WriteString("<testsuite>")
	for i := range 4000 {
		fmt.Fprintf(&text, "not ok %d t%d\n", i+1, i)
		fmt.Fprintf(&xml, `<testcase classname="c" name="t%d"><failure/></testcase>`, i)
	}
	xml.WriteString("</testsuite>")
	got, _ := parseJUnit(text.String(), "", 1, xml.String())
	if len(got) != 4000 {
		t.Errorf("4000 tests that failed are %d", len(got))
	}
	got, _ = parseJUnit("", "", 0, junitPass)
	if got[0].Duration != 250*time.Millisecond {
		t.Errorf("it took %v", got[0].Duration)
	}
	for s, want := range map[string]time.Duration{"": 0, "x": 0, "-1": 0, "NaN": 0, "Inf": 365 * 24 * time.Hour, "1e99": 365 * 24 * time.Hour, "1,234.5": 1234500 * time.Millisecond} {
		if got := seconds(s); got != want {
			t.Errorf("seconds(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestJUnitEnds(t *testing.T) {
	for end, want := range map[string]bool{
		"": false, " \n": false, "text": false, "<a>": false, "</a>": false, "/>": false,
		junitPass: true, junitPass + "\n \t\n": true, junitPass[:len(junitPass)-1]: false, "</testsuites>\n": true,
		`<testsuites name="a>b"/>`: true, "<testsuites>": false, `<testsuite><testcase name="a"/>`: false, "</testsuites><!-- -->": false,
		"</testcase>": false, junitPass + `<testsuite name="`: false,
	} {
		if got := JUnitEnds([]byte(end)); got != want {
			t.Errorf("%q: %v", end, got)
		}
	}
}

func FuzzJUnit(f *testing.F) {
	for _, r := range junitRecords(f) {
		f.Add([]byte(r.xml), r.framework, r.status, "")
	}
	f.Add([]byte(junitPass), "", 0, "not ok 1\n")
	f.Add([]byte(`<?xml version="1.0" encoding="ISO-8859-1"?>`+junitPass+junitPass), "", 0, "ok 1\n1..1\n")
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY b "c">]><testsuite><testcase name="&b;"/></testsuite>`), "", 0, "")
	f.Fuzz(func(t *testing.T, b []byte, framework string, status int, text string) {
		got, cut := parseJUnit(text, framework, status, string(b))
		passed, failed := 0, 0
		for _, x := range got {
			switch x.Verdict {
			case wire.TestPass:
				passed++
			case wire.TestFail:
				failed++
			}
			if x.Name == "" || len(x.Name) > wire.MaxName || strings.ContainsAny(x.Name, "\n\x1b\x00") || len(x.Output) > maxOther || x.Duration < 0 {
				t.Errorf("bad record %+v", x)
			}
		}
		if failed > 0 {
			return
		}
		// It passed, or was skipped: then so says the whole file, to another reader.
		if status != 0 || cut != "" || len(got) == 0 {
			t.Errorf("exit status %d, cut %q, and no failure: %q", status, cut, brief(got))
		}
		cases := 0
		d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(legal(b), []byte("\ufeff"))))
		d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
		for {
			token, err := d.Token()
			if err != nil {
				if err.Error() != "EOF" {
					t.Errorf("no failure, and it is no XML: %v", err)
				}
				break
			}
			switch e := token.(type) {
			case xml.Directive:
				t.Error("no failure, and it has a directive")
			case xml.StartElement:
				switch e.Name.Local {
				case "failure", "error":
					if framework != "catch2" {
						t.Error("no failure, and the file has one")
					}
				case "testcase":
					cases++
				}
			}
		}
		if passed > cases || passed > 0 && cases == 0 {
			t.Errorf("%d passed of %d cases", passed, cases)
		}
	})
}
