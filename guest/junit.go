package guest

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// framework knows how a test framework is told to write JUnit XML.
type framework struct {
	name string
	args []string
	env  []string
	file string // that args or env name, a pattern
	// behind names the word that args follow, where it is not the program itself:
	// it may be started by another.
	behind string
	// has are the beginnings of arguments that say where the framework writes.
	has []string
}

const junitFile = "/run/junit.xml"

var frameworks = []framework{
	{name: "bats", args: []string{"--report-formatter", "junit", "--output", "/run"}, file: "/run/report.xml", behind: "bats", has: []string{"--report-formatter", "--output", "-o"}},
	{name: "boost", args: []string{"--logger=HRF,error:JUNIT,error," + junitFile}, file: junitFile, has: []string{"--logger", "--log_format", "--log_sink", "-f", "-k"}},
	{name: "catch2", args: []string{"-r", "junit", "-o", junitFile}, file: junitFile, has: []string{"-r", "--reporter", "-o", "--out"}},
	{name: "cmocka", env: []string{"CMOCKA_MESSAGE_OUTPUT=xml", "CMOCKA_XML_FILE=/run/junit-%g.xml"}, file: "/run/junit-*.xml"},
	{name: "criterion", args: []string{"--output=xml:" + junitFile}, file: junitFile, has: []string{"--output", "-O", "--xml"}},
	{name: "ctest", args: []string{"--output-junit", junitFile}, file: junitFile, behind: "ctest", has: []string{"--output-junit"}},
	{name: "doctest", args: []string{"-r=junit", "-o=" + junitFile}, file: junitFile, has: []string{"-r=", "--reporters=", "-o=", "--out=", "-dt-r=", "--dt-reporters=", "-dt-o=", "--dt-out="}},
	{name: "gtest", args: []string{"--gtest_output=xml:" + junitFile}, file: junitFile, has: []string{"--gtest_output"}},
	{name: "pytest", args: []string{"--junit-xml=" + junitFile}, file: junitFile, behind: "pytest", has: []string{"--junit-xml", "--junitxml"}},
}

// Frameworks are the names that Payload.JUnit knows, sorted.
func Frameworks() []string {
	var names []string
	for _, f := range frameworks {
		names = append(names, f.name)
	}
	return names
}

// JUnit has the tests of a test program read from the JUnit XML that it writes to
// files that match the patterns; dir is its working directory in the guest. With the
// name of a framework and no pattern, the program is told to write it. An error says
// what to do.
func (p *Payload) JUnit(name string, patterns []string, dir string) error {
	if name == "" && len(patterns) == 0 {
		return nil
	}
	at := slices.Index(p.Job.Args, "--")
	if at < 0 {
		return fmt.Errorf("the payload is no test program: give one")
	}
	run, words := slices.Clone(p.Job.Args[:at]), p.Job.Args[at:]
	var globs []string
	for _, pattern := range patterns {
		glob, err := CheckPattern(pattern, dir)
		if err != nil {
			return fmt.Errorf("--junit %w", err)
		}
		globs = append(globs, glob)
	}
	if name != "" {
		i := slices.IndexFunc(frameworks, func(f framework) bool { return f.name == name })
		if i < 0 {
			return fmt.Errorf("--framework is %.50q: want one of %s; for any other, --junit names the files that it writes", name, strings.Join(Frameworks(), ", "))
		}
		f := frameworks[i]
		run = append(run, "--framework", name)
		if len(globs) == 0 {
			var err error
			if words, err = f.tell(words); err != nil {
				return err
			}
			p.Job.Env = append(slices.Clone(p.Job.Env), f.env...)
			globs = []string{f.file}
		}
	}
	for _, glob := range globs {
		run = append(run, "--junit", glob)
	}
	p.Job.Args = append(run, words...)
	return nil
}

// tell adds the arguments that have the program write its XML. words begin with "--"
// and the program.
func (f framework) tell(words []string) ([]string, error) {
	at := 1
	if f.behind != "" {
		at = slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(path.Base(w), f.behind) })
		if at < 1 {
			return nil, fmt.Errorf("--framework %s: the program's words have no %s: give its option that writes JUnit XML yourself, and the file by --junit", f.name, f.behind)
		}
	}
	for _, w := range words[at+1:] {
		if w == "--" {
			break
		}
		for _, has := range f.has {
			if w == has || strings.HasPrefix(w, has) && (strings.HasPrefix(has, "--") || len(has) == 2 || strings.HasSuffix(has, "=")) {
				return nil, fmt.Errorf("--framework %s: the program has %.50q already: leave it out, or give the file of JUnit XML that it writes by --junit", f.name, w)
			}
		}
	}
	return slices.Insert(slices.Clone(words), at+1, f.args...), nil
}

// AddEnv sets each K=V for the payload. One that a framework needs otherwise is an
// error.
func (p *Payload) AddEnv(env []string) error {
	needed := slices.Clone(p.Job.Env)
	for _, f := range frameworks {
		for _, kv := range f.env {
			// Other variables of a program may be set for all of them as well.
			if slices.ContainsFunc(p.Job.Programs, func(one wire.Program) bool { return slices.Contains(one.Env, kv) }) {
				needed = append(needed, kv)
			}
		}
	}
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		for _, own := range needed {
			if strings.HasPrefix(own, name+"=") {
				return fmt.Errorf("%s is set for --framework: leave it out, or give the file of JUnit XML by --junit", name)
			}
		}
	}
	p.Job.Env = append(p.Job.Env, env...)
	return nil
}
