package gobuild

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// choose returns the packages with a test that Args choose: a binary that runs no
// test proves nothing, and would fail.
func (b *builder) choose(packages []*listed) ([]*listed, error) {
	run, skip := newMatcher(argument(b.Args, "run")), newMatcher(argument(b.Args, "skip"))
	var chosen []*listed
	for _, p := range packages {
		if p.DepOnly {
			continue
		}
		names, err := p.tests()
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(names, func(name string) bool { return run.chooses(name) && !skip.excludes(name) }) {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}

// tests returns the names of the tests, fuzz targets and examples with output in a
// package's files. A TestMain counts, since it may test something itself.
func (p *listed) tests() ([]string, error) {
	var names []string
	var files []*ast.File
	fset := token.NewFileSet()
	for _, name := range slices.Concat(p.TestGoFiles, p.XTestGoFiles) {
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("package %s: %w", p.ImportPath, err)
		}
		files = append(files, f)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && (isTest(fn.Name.Name, "Test") || isTest(fn.Name.Name, "Fuzz")) {
				names = append(names, fn.Name.Name)
			}
		}
	}
	for _, e := range doc.Examples(files...) {
		if e.Output != "" || e.EmptyOutput {
			names = append(names, "Example"+e.Name)
		}
	}
	return names, nil
}

// isTest says whether a function's name is one of a test, as go test has it.
func isTest(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	r, _ := utf8.DecodeRuneInString(rest)
	return ok && (rest == "" || !unicode.IsLower(r))
}

// Args returns the arguments of a test binary for those that go test takes: of
// its flags, -run becomes -test.run and so on.
func Args(args []string) []string {
	args = slices.Clone(args)
	for i, a := range args {
		if a == "-args" || a == "--args" {
			return slices.Delete(args, i, i+1)
		}
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if strings.HasPrefix(a, "-") && slices.Contains(testFlags, name) {
			args[i] = "-test." + strings.TrimLeft(a, "-")
		}
	}
	return args
}

// testFlags are those of go help testflag that a test binary has.
var testFlags = strings.Fields(`
	bench benchmem benchtime blockprofile blockprofilerate count coverprofile cpu cpuprofile failfast
	fullpath list memprofile memprofilerate mutexprofile mutexprofilefraction outputdir parallel run
	short shuffle skip timeout trace v`)

// argument is the value of a flag -test.NAME, the last one's if it is given more
// than once.
func argument(args []string, name string) string {
	value := ""
	for i, a := range args {
		if a == "--" {
			break
		}
		flag, v, set := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !strings.HasPrefix(a, "-") || flag != "test."+name {
			continue
		}
		if !set && i+1 < len(args) {
			v = args[i+1]
		}
		value = v
	}
	return value
}

// matcher is a pattern of -test.run or -test.skip: alternatives, which each have a
// part for tests and maybe others for their subtests.
type matcher struct {
	tests []*regexp.Regexp
	whole []bool // without a part for subtests
	none  bool   // the pattern is empty or no pattern
}

func newMatcher(pattern string) matcher {
	m := matcher{none: pattern == ""}
	for _, alternative := range split(pattern, '|') {
		parts := split(alternative, '/')
		re, err := regexp.Compile(parts[0])
		if err != nil {
			return matcher{none: true} // the binary itself says so
		}
		m.tests, m.whole = append(m.tests, re), append(m.whole, len(parts) == 1)
	}
	return m
}

func (m matcher) chooses(test string) bool {
	return m.none || slices.ContainsFunc(m.tests, func(re *regexp.Regexp) bool { return re.MatchString(test) })
}

func (m matcher) excludes(test string) bool {
	for i, re := range m.tests {
		if !m.none && m.whole[i] && re.MatchString(test) {
			return true
		}
	}
	return false
}

// split cuts a pattern at a separator outside of brackets and parentheses, as
// package testing does.
func split(pattern string, sep byte) []string {
	var parts []string
	class, depth, from := 0, 0, 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '\\':
			i++
		case c == '[':
			class++
		case c == ']' && class > 0:
			class--
		case c == '(' && class == 0:
			depth++
		case c == ')' && class == 0:
			depth--
		case c == sep && class == 0 && depth == 0:
			parts, from = append(parts, pattern[from:i]), i+1
		}
	}
	return append(parts, pattern[from:])
}
