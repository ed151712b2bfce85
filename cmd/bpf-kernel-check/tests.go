package main

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// testSpec is a value of --test, or a line of --tests:
//
//	[name=NAME] [dir=DIR] [env=K=V]... [timeout=D] [test-timeout=D]
//	    [framework=NAME] [junit=GLOB]... -- PROGRAM ARGS...
//	PROGRAM ARGS...
type testSpec struct {
	text                 string
	set                  bool // it has settings
	name, dir            string
	env                  []string
	timeout, testTimeout time.Duration
	framework            string
	junit                []string
	words                []string // the program and its arguments
}

// testSettings are what may stand before "--".
var testSettings = []string{"name", "dir", "env", "timeout", "test-timeout", "framework", "junit"}

// parseTest reads a value of --test. Settings are taken for such if the first word
// looks like one and a "--" follows.
func parseTest(text string) (testSpec, error) {
	s := testSpec{text: text}
	bad := func(format string, args ...any) (testSpec, error) {
		return s, usagef("--test %.200q: %s", text, fmt.Sprintf(format, args...))
	}
	words, err := shellquote.Split(text)
	if err != nil || len(words) == 0 {
		return s, usagef("--test %q: want a program and its arguments, quoted as for a shell", text)
	}
	var settings []string
	end := slices.Index(words, "--")
	name, _, ok := strings.Cut(words[0], "=")
	if ok && end < 0 && len(words) > 1 && slices.Contains(testSettings, name) {
		return bad("%s is a setting, and no -- follows: want settings -- PROGRAM ARGS...", name)
	}
	if end == 0 || end > 0 && ok && !strings.Contains(name, "/") {
		settings, words, s.set = words[:end], words[end+1:], end > 0
		if len(words) == 0 {
			return bad("no program follows --: want settings -- PROGRAM ARGS...")
		}
	}
	s.words = words
	for _, w := range settings {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "name":
			err = wire.CheckProgramName(value)
			s.name = value
		case "dir":
			s.dir = path.Clean("/" + value)
			if !path.IsAbs(value) {
				err = fmt.Errorf("%q: want an absolute path in the guest", value)
			}
		case "env":
			s.env = append(s.env, value)
		case "timeout":
			s.timeout, err = testLimit(value)
		case "test-timeout":
			s.testTimeout, err = testLimit(value)
		case "framework":
			s.framework, err = value, checkFramework(value)
		case "junit":
			s.junit = append(s.junit, value)
		default:
			return bad("%q is no setting: want one of %s before --%s", name, strings.Join(testSettings, ", "), kernel.Suggest(name, testSettings))
		}
		if err != nil {
			return bad("%s=%v", name, err)
		}
	}
	if s.timeout > 0 && s.testTimeout > s.timeout {
		return bad("test-timeout=%v is longer than timeout=%v, which is for all its tests together: want it at most as long", s.testTimeout, s.timeout)
	}
	return s, nil
}

func testLimit(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < time.Second || d > maxLimit {
		return 0, fmt.Errorf("%.50q: want a time of at least 1s and at most 24h, with its unit, such as 90s", value)
	}
	return d, nil
}

// shown is the value for results, which are published: without secrets, and of
// variables the names only.
func (s testSpec) shown() string {
	words := report.RedactWords(s.words)
	if !s.set {
		if s.words == nil || slices.Equal(words, s.words) {
			return s.text
		}
		return shellquote.Join(words...)
	}
	var settings []string
	add := func(name, value string) {
		if value != "" {
			settings = append(settings, name+"="+value)
		}
	}
	add("name", s.name)
	add("dir", s.dir)
	for _, kv := range s.env {
		name, _, _ := strings.Cut(kv, "=")
		add("env", name)
	}
	if s.timeout > 0 {
		add("timeout", s.timeout.String())
	}
	if s.testTimeout > 0 {
		add("test-timeout", s.testTimeout.String())
	}
	add("framework", s.framework)
	for _, glob := range s.junit {
		add("junit", glob)
	}
	return shellquote.Join(slices.Concat(settings, []string{"--"}, words)...)
}

// checkFramework says why a framework is not one whose option is known.
func checkFramework(name string) error {
	if all := guest.Frameworks(); !slices.Contains(all, name) {
		return fmt.Errorf("%.50q%s: want %s; for any other, junit names the files that it writes", name, kernel.Suggest(name, all), strings.Join(all, ", "))
	}
	return nil
}

// specs reads the values of --test and the lines of --tests, of which those that
// are empty or begin with # are passed over.
func (o *payloadOptions) specs() ([]testSpec, error) {
	texts := slices.Clone(o.tests)
	if o.testsFile != "" {
		const most = 1 << 20
		f, err := openList(o.testsFile)
		if err != nil {
			return nil, usagef("--tests: %w: give a file with a program and its arguments on each line", err)
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, most+1))
		if err != nil {
			return nil, usagef("--tests: %w", err)
		}
		if len(b) > most {
			return nil, usagef("--tests %q has more than %d MiB: want a program and its arguments on each line", o.testsFile, most>>20)
		}
		none := len(texts)
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				texts = append(texts, line)
			}
		}
		if len(texts) == none {
			return nil, usagef("--tests %q names no program: want one, with its arguments, on each line", o.testsFile)
		}
	}
	if len(texts) > wire.MaxPrograms {
		return nil, usagef("%d programs are given: want %d at most in one run", len(texts), wire.MaxPrograms)
	}
	var specs []testSpec
	for _, text := range texts {
		s, err := parseTest(text)
		if err != nil {
			return nil, err
		}
		specs = append(specs, s)
	}
	return specs, nil
}

// programName is the program's name: its own, or that of its file.
func (s *testSpec) programName() string { return cmp.Or(s.name, filepath.Base(s.words[0])) }

// several says whether programs have names. One without settings has none: its
// tests keep the names that it gives them.
func several(specs []testSpec) bool {
	return len(specs) > 1 || len(specs) == 1 && specs[0].set
}

// readTests reads the programs of --test and --tests.
func readTests(o payloadOptions, root userRoot, arch string, timeout time.Duration) (p namedPayload, err error) {
	specs := o.programs
	if !several(specs) {
		words := specs[0].words
		b, err := root.program(&p, words[0], arch)
		if err != nil {
			return p, err
		}
		p.name, p.programs = specs[0].shown(), []string{p.path}
		if root.inRoot(words[0]) {
			p.Payload = guest.InstalledPayload(p.path, b, words[1:], o.workdir, timeout)
		} else {
			p.Payload = guest.ProgramPayload(p.path, b, words[1:], o.workdir, timeout)
		}
		if err := p.JUnit(o.framework, o.junit, o.workdir); err != nil {
			return p, usagef("%w", err)
		}
		return p, p.Cover(words[0], o.workdir, o.cover)
	}
	var programs []guest.TestProgram
	var names, paths []string
	p.programFlags = map[string][]string{}
	for _, s := range specs {
		var one namedPayload
		b, err := root.program(&one, s.words[0], arch)
		if err != nil {
			return p, err
		}
		if err := wire.CheckProgramName(s.programName()); err != nil {
			return p, usagef("--test %.200q: its name %w: give it another, as in 'name=NAME -- PROGRAM'", s.text, err)
		}
		if p.arch != "" && one.arch != p.arch {
			return p, usagef("--test %q is built for %s, and the program before it for %s: give programs of one architecture a run of their own", s.text, one.arch, p.arch)
		}
		p.arch = one.arch
		for _, kv := range s.env {
			if err := guest.CheckEnv(kv); err != nil {
				return p, usagef("--test %.200q: env=%w", s.text, err)
			}
		}
		t := guest.TestProgram{
			Name: s.programName(), Path: one.path, Data: b, Installed: root.inRoot(s.words[0]), Args: s.words[1:],
			Dir: cmp.Or(s.dir, o.workdir), Env: s.env, Cover: o.cover, Timeout: s.timeout, TestTimeout: s.testTimeout,
			JUnit: s.junit, Framework: cmp.Or(s.framework, o.framework),
		}
		if len(t.JUnit) == 0 {
			t.JUnit = o.junit
		}
		programs, names, paths = append(programs, t), append(names, t.Name), append(paths, one.path)
		alone := o
		alone.tests, alone.testsFile = []string{s.shown()}, ""
		alone.programs = []testSpec{s}
		p.programFlags[t.Name] = alone.flags()
	}
	p.path, p.programs = paths[0], paths
	p.name = fmt.Sprintf("%d programs: %s", len(names), report.OneLine(strings.Join(names, ", "), 200))
	if len(names) == 1 {
		p.name = specs[0].shown()
	}
	if err := checkNames(names); err != nil {
		return p, err
	}
	p.Payload, err = guest.ProgramsPayload(programs, timeout)
	if err != nil {
		return p, usagef("--test: %w", err)
	}
	return p, nil
}

// checkNames says which program's name begins with another's and a slash: a test of
// the one could have the same name as one of the other.
func checkNames(names []string) error {
	for _, name := range names {
		for end := strings.LastIndexByte(name, '/'); end > 0; end = strings.LastIndexByte(name[:end], '/') {
			if slices.Contains(names, name[:end]) {
				return usagef("--test: the name %q begins with another program's, %q, as its tests do: give one of them another, as in 'name=NAME -- PROGRAM'", name, name[:end])
			}
		}
	}
	return nil
}
