package guest

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// selector is how a test program is told which of its tests to run.
type selector func(args, tests []string) ([]string, error)

// selectorOf finds out what a program is; nil: it is not known how to select its
// tests. A guess that is wrong costs a boot: the tests do not run then.
func selectorOf(program []byte, isGoTest bool) selector {
	has := func(s string) bool { return bytes.Contains(program, []byte(s)) }
	switch {
	case isGoTest:
		return selectGo
	case has("RUST_TEST_THREADS"):
		return selectLibtest
	case has("gtest_filter") || has("libgtest.so"):
		return selectGTest
	}
	return nil
}

// Select returns the payload's job with no other tests than those that are named, as
// they were reported. An error says why they cannot be selected, in one line.
func (p *Payload) Select(tests []string) (wire.Job, error) {
	job := p.Job
	if len(job.Programs) == 0 {
		args, err := selectIn(job.Args, p.selectors[""], tests)
		job.Args = args
		return job, err
	}
	of := map[string][]string{}
	for _, test := range tests {
		program := ""
		for _, one := range job.Programs {
			// Of a and a/b, the longer one.
			if strings.HasPrefix(test, one.Name+"/") && len(one.Name) > len(program) {
				program = one.Name
			}
		}
		if program == "" {
			return wire.Job{}, fmt.Errorf("%.200q is a program, not one of its tests", test)
		}
		of[program] = append(of[program], strings.TrimPrefix(test, program+"/"))
	}
	job.Programs = nil
	for _, one := range p.Job.Programs {
		if len(of[one.Name]) == 0 {
			continue
		}
		var err error
		if one.Args, err = selectIn(one.Args, p.selectors[one.Name], of[one.Name]); err != nil {
			return wire.Job{}, fmt.Errorf("program %s: %w", one.Name, err)
		}
		job.Programs = append(job.Programs, one)
	}
	return job, nil
}

// selectIn changes the arguments of testrunner exec.
func selectIn(run []string, by selector, tests []string) ([]string, error) {
	at := slices.Index(run, "--") + 1
	switch {
	case by == nil || at == 0 || at >= len(run):
		return nil, errors.New("it is not known how to run single tests of this program: that is so of Go's, Rust's and GoogleTest's")
	case len(tests) == 0:
		return nil, errors.New("no test is named")
	}
	args, err := by(run[at+1:], tests)
	if err != nil {
		return nil, err
	}
	const most = 100 << 10 // bytes: the kernel takes 128 KiB as one argument
	n := 0
	for _, a := range args {
		n += len(a) + 1
	}
	if n > most {
		return nil, fmt.Errorf("the names of %d tests are too long for a command line", len(tests))
	}
	return slices.Concat(run[:at+1], args), nil
}

// drop removes the options that are named, without their dashes, and their values
// from arguments, up to "--".
func drop(args []string, names ...string) (kept []string) {
	for i := 0; i < len(args); i++ {
		name, _, set := strings.Cut(args[i], "=")
		switch {
		case args[i] == "--":
			return append(kept, args[i:]...)
		case !strings.HasPrefix(name, "-") || !slices.Contains(names, strings.TrimLeft(name, "-")):
			kept = append(kept, args[i])
		case !set:
			i++ // its value
		}
	}
	return kept
}

var (
	goName    = regexp.MustCompile(`^(Test|Fuzz|Example)[^/#]*$`)
	repeated  = regexp.MustCompile(`#\d\d+$`) // of a name that came twice, as with -test.count=2
	gtestName = regexp.MustCompile(`^[A-Za-z0-9_/]+\.[A-Za-z0-9_/]+$`)
)

// selectGo selects top-level tests: what a subtest is called can depend on those
// before it. testing takes -test.run apart at slashes first.
func selectGo(args, tests []string) ([]string, error) {
	var names []string
	for _, test := range tests {
		top, _, _ := strings.Cut(test, "/")
		top = repeated.ReplaceAllString(top, "")
		if !utf8.ValidString(top) || !goName.MatchString(top) {
			return nil, fmt.Errorf("%.200q is no test of Go's that -test.run could name", test)
		}
		names = append(names, regexp.QuoteMeta(top))
	}
	slices.Sort(names)
	args = drop(args, "test.run", "test.bench", "test.fuzz")
	return append([]string{"-test.run=^(" + strings.Join(slices.Compact(names), "|") + ")$"}, args...), nil
}

// Options of libtest whose value may be the next argument.
var libtestValues = []string{"--skip", "--test-threads", "--logfile", "--color", "--format", "--shuffle-seed", "-Z"}

// selectLibtest replaces the filters, which are all arguments that are no options.
func selectLibtest(args, tests []string) (kept []string, err error) {
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		option, _, _ := strings.Cut(args[i], "=")
		own := []string{args[i]}
		if slices.Contains(libtestValues, args[i]) && i+1 < len(args) {
			i++
			own = append(own, args[i])
		}
		if strings.HasPrefix(option, "-") && option != "--exact" && option != "--skip" {
			kept = append(kept, own...)
		}
	}
	kept = append(kept, "--exact")
	for _, test := range tests {
		if strings.HasPrefix(test, "-") || repeated.MatchString(test) || strings.ContainsAny(test, " \t") {
			return nil, fmt.Errorf("%.200q is no name that a program of Rust's takes", test)
		}
		kept = append(kept, test)
	}
	return kept, nil
}

// selectGTest selects by --gtest_filter, in which *, ?, : and - have a meaning.
func selectGTest(args, tests []string) ([]string, error) {
	for _, test := range tests {
		if !gtestName.MatchString(test) {
			return nil, fmt.Errorf("%.200q is no name that --gtest_filter takes", test)
		}
	}
	args = drop(args, "gtest_filter")
	return append([]string{"--gtest_filter=" + strings.Join(tests, ":")}, args...), nil
}
