package output

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

var update = flag.Bool("update", false, "write what is expected anew")

// differs says which outputs of testdata/tap.txtar are judged otherwise than by
// prove, and why.
var differs = map[string]struct{ verdict, why string }{
	// A pass for what prove fails.
	"version 14":                {"pass", "prove knows version 14 from Test::Harness 3.46 on"},
	"version 14, subtests":      {"pass", "the same"},
	"YAML with an empty line":   {"pass", "YAML explains and does not decide; prove reads a subset of it"},
	"YAML that is none":         {"pass", "the same"},
	"colours":                   {"pass", "programs colour their output for a terminal, which they have here"},
	"colours, the plan too":     {"pass", "the same"},
	"KTAP, no plan":             {"pass", "KTAP does without a plan where the number of tests is not known"},
	"KTAP, two results":         {"pass", "each begins with a version and has a plan of its own, as with cat .../kunit/*/results"},
	"KTAP, out of order":        {"pass", "KTAP does not order them: kernels run some in parallel"},
	"KTAP, expected failure":    {"skip", "a directive of KTAP's"},
	"KUnit of 5.10":             {"pass", "the format of debugfs before KTAP has no plan at its top, and a result for each suite"},
	"KUnit of 5.10, two suites": {"pass", "the same"},
	"skip all, kselftest":       {"skip", "exit status 4 is how kernel selftests skip"},
	"all skipped, kselftest":    {"skip", "the same"},
	"plan with a minus":         {"pass", "it is no plan, and nothing else here is TAP"},
	"text: nothing":             {"pass", "it is no TAP: the exit status counts"},
	"text: ok":                  {"pass", "a word, as many programs print it; two of them and nothing else are TAP"},
	"text: ok at the end":       {"pass", "the same"},
	"text: ok, starting":        {"pass", "the same"},
	"text: ok in steps":         {"pass", "the same"},
	"text: ok then":             {"pass", "the same"},
	"text: not ok, retrying":    {"pass", "the same; without punctuation it is a failure"},
	"text: OK":                  {"pass", "the same"},
	"text: an indented ok":      {"pass", "the same"},

	// A failure for what prove passes.
	"not before a failure":         {"fail", "prove takes the two lines for one, which is no result"},
	"subtests, the inner fails":    {"fail", "prove does not read subtests; TAP 14 lets a failed subtest fail its test"},
	"subtests, the inner is short": {"fail", "the same"},
	"subtests, no result":          {"fail", "the same: subtests are followed by their test"},
	"KTAP, a failure inside":       {"fail", "the same"},
	"KTAP, timeout":                {"fail", "a directive of KTAP's"},
	"kselftest, a failure inside":  {"fail", "the runner of kernel selftests quotes their results"},
}

type tapCase struct {
	name   string
	status int
	prove  string // pass or fail
	text   []byte
}

var tapTitle = regexp.MustCompile(`^(.+?)(?: \(exit status (\d+)\))?: (pass|fail)$`)

func tapCorpus(t testing.TB) (cases []tapCase, archive *txtar.Archive) {
	t.Helper()
	archive, err := txtar.ParseFile("testdata/tap.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		m := tapTitle.FindStringSubmatch(f.Name)
		if m == nil {
			t.Fatalf("the title %q", f.Name)
		}
		status, _ := strconv.Atoi(m[2])
		cases = append(cases, tapCase{m[1], status, m[3], bytes.TrimSuffix(f.Data, []byte("\\\n"))})
	}
	return cases, archive
}

// verdictOf is fail when anything failed, skip when nothing but skips is there.
func verdictOf(tests []Test) string {
	v := wire.TestSkip
	for _, x := range tests {
		switch {
		case x.Verdict == wire.TestFail:
			return wire.TestFail
		case x.Verdict == wire.TestPass:
			v = wire.TestPass
		}
	}
	return v
}

// The corpus is judged as prove judges it, except for what is in differs.
func TestTAPCorpus(t *testing.T) {
	cases, _ := tapCorpus(t)
	if len(cases) < 60 {
		t.Errorf("%d outputs", len(cases))
	}
	unused := map[string]bool{}
	for name := range differs {
		unused[name] = true
	}
	for _, tt := range cases {
		delete(unused, tt.name)
		got := verdictOf(parse(string(tt.text), 1<<20, tt.status))
		want := tt.prove
		if d, ok := differs[tt.name]; ok {
			if want = d.verdict; (want == wire.TestFail) == (tt.prove == wire.TestFail) {
				t.Errorf("%s: prove's verdict is the same: it does not differ", tt.name)
			}
		} else if got == wire.TestSkip {
			got = wire.TestPass // prove passes what was skipped
		}
		if got != want {
			t.Errorf("%s: %s, want %s:\n%s\n%q", tt.name, got, want, tt.text, brief(parse(string(tt.text), 1<<20, tt.status)))
		}
	}
	for name := range unused {
		t.Errorf("%s: not in the corpus", name)
	}
}

// laterProve are outputs that newer versions of prove judge otherwise.
var laterProve = map[string]bool{"version 14": true, "version 14, subtests": true}

// prove's verdicts in the corpus are prove's.
func TestProve(t *testing.T) {
	perl, err := exec.LookPath("perl")
	if err == nil {
		err = exec.Command(perl, "-MApp::Prove", "-e", "1").Run()
	}
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("prove is missing: .github/scripts/install-deps --tests installs it")
		}
		t.Skip("prove is not there, whose verdicts are compared: .github/scripts/install-deps --tests installs it")
	}
	cases, archive := tapCorpus(t)
	dir := t.TempDir()
	// One perl for all, which does for each what the program prove does. An
	// output with exit status 0 is read from its file.
	args := []string{"-MApp::Prove", "-e", `
		for my $test (@ARGV) {
			my @how = $test =~ /\.tap$/ ? ("--source", "File", "--file-option", "extensions=.tap") : ("--exec", "/bin/sh");
			my $prove = App::Prove->new;
			$prove->process_args("--norc", @how, $test);
			my $ok = eval { $prove->run };
			print "\nverdict: ", ($ok ? "pass" : "fail"), "\n";
		}`}
	for i, tt := range cases {
		path := filepath.Join(dir, strconv.Itoa(i)+".tap")
		if err := os.WriteFile(path, tt.text, 0o644); err != nil {
			t.Fatal(err)
		}
		if tt.status != 0 {
			script := fmt.Sprintf("cat %s; exit %d\n", path, tt.status)
			path += ".sh"
			if err := os.WriteFile(path, []byte(script), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		args = append(args, path)
	}
	cmd := exec.Command(perl, args...)
	cmd.Env = append(os.Environ(), "PERL5OPT=", "HARNESS_OPTIONS=")
	out, err := cmd.Output()
	verdicts := regexp.MustCompile(`(?m)^verdict: (pass|fail)$`).FindAllStringSubmatch(string(out), -1)
	if err != nil || len(verdicts) != len(cases) {
		t.Fatalf("%d verdicts for %d outputs: %v\n%s", len(verdicts), len(cases), err, out)
	}
	for i, tt := range cases {
		got := verdicts[i][1]
		if *update {
			name := tt.name
			if tt.status != 0 {
				name += fmt.Sprintf(" (exit status %d)", tt.status)
			}
			archive.Files[i].Name = name + ": " + got
		} else if got != tt.prove && !laterProve[tt.name] {
			t.Errorf("%s: prove says %s, the corpus %s", tt.name, got, tt.prove)
		}
	}
	if *update {
		if err := os.WriteFile("testdata/tap.txtar", txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// What a Go test binary says before its tests is no TAP because it begins with
// "ok"; what says that something failed is.
func TestGoTestSaysOK(t *testing.T) {
	for first, want := range map[string]string{"ok - database is ready": wire.TestPass, "ok 1": wire.TestPass, "ok\nok": wire.TestPass, "not ok - database": wire.TestFail} {
		var tests []Test
		p := New("prog", func(t Test) { tests = append(tests, t) })
		p.ExpectGoTest(true, false)
		if _, err := p.Write([]byte(first + "\n\x16=== RUN   TestA\n\x16--- PASS: TestA (0.00s)\n\x16PASS\n")); err != nil {
			t.Fatal(err)
		}
		p.Finish("exit status 0", 0, 0)
		if got := verdictOf(tests); got != want {
			t.Errorf("%q: %s, want %s: %q", first, got, want, brief(tests))
		}
	}
}
