package gobuild

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// listed is a package as go list shows it.
type listed struct {
	ImportPath, Dir, ForTest string
	DepOnly                  bool
	Module                   *struct {
		Main bool
		Dir  string
	}
	TestGoFiles, XTestGoFiles, EmbedFiles, TestEmbedFiles, XTestEmbedFiles []string
}

// noModule is what the go command says of packages that are in no module, or in
// another one.
var noModule = regexp.MustCompile(`main module|workspace modules|go\.mod file not found`)

// list returns the packages of this machine's modules that the patterns match or
// that they or their tests import.
func (b *builder) list(ctx context.Context, g group) ([]*listed, error) {
	args := append(b.flags("list", "-deps", "-test", "-json=ImportPath,Dir,ForTest,DepOnly,Module,TestGoFiles,XTestGoFiles,EmbedFiles,TestEmbedFiles,XTestEmbedFiles"), "--")
	out, err := b.run(ctx, g.dir, "the packages cannot be listed", append(args, g.patterns...)...)
	if bad := (*goError)(nil); errors.As(err, &bad) && noModule.MatchString(bad.said) {
		bad.doing += " (run this in a module's directory, or name one below it, as in ./probe/...)"
	}
	if err != nil {
		return nil, err
	}
	var packages []*listed
	dirs := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		p := &listed{}
		err := dec.Decode(p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the list of packages: %w", err)
		}
		switch ours := p.Module != nil && p.Module.Main && p.Module.Dir != ""; {
		case p.ForTest != "": // a package once more, as a test needs it
		case ours:
			packages = append(packages, p)
			dirs[p.ImportPath] = p.Dir
		case !p.DepOnly:
			return nil, fmt.Errorf("package %s is not of a module here: run this in a checkout of its module", p.ImportPath)
		}
	}
	return slices.DeleteFunc(packages, func(p *listed) bool {
		tested, main := strings.CutSuffix(p.ImportPath, ".test")
		return main && dirs[tested] == p.Dir // the main package of a test binary
	}), nil
}

// choose returns the packages with a test that Args choose: a binary that runs no
// test proves nothing, and would fail.
func (b *builder) choose(packages []*listed) ([]*listed, error) {
	run, _ := topLevel(argument(b.Args, "run"))
	skip, whole := topLevel(argument(b.Args, "skip"))
	var chosen []*listed
	for _, p := range packages {
		if p.DepOnly {
			continue
		}
		names, err := p.tests()
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(names, func(name string) bool {
			return (run == nil || run.MatchString(name)) && (skip == nil || !whole || !skip.MatchString(name))
		}) {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}

// tests returns the names of the tests, fuzz targets and examples with output in a
// package's files. A TestMain counts, since it may test something itself.
func (p *listed) tests() (names []string, err error) {
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

// topLevel returns the part of a pattern of -test.run or -test.skip that is for
// tests, nil where that cannot be told, and whether there is none for subtests.
func topLevel(pattern string) (tests *regexp.Regexp, whole bool) {
	part, _, more := strings.Cut(pattern, "/")
	if pattern == "" || more && strings.Contains(pattern, "|") { // each alternative may have subtests
		return nil, false
	}
	tests, err := regexp.Compile(part)
	if err != nil { // it was cut inside of brackets, or the binary itself refuses it
		return nil, false
	}
	return tests, !more
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
var testFlags = strings.Fields(`bench benchmem benchtime blockprofile blockprofilerate count coverprofile cpu
	cpuprofile failfast fullpath list memprofile memprofilerate mutexprofile mutexprofilefraction outputdir
	parallel run short shuffle skip timeout trace v`)

// argument is the value of a flag -test.NAME, "" for none.
func argument(args []string, name string) (value string) {
	for i, a := range args {
		flag, v, set := strings.Cut(strings.TrimLeft(a, "-"), "=")
		switch {
		case a == "--":
			return value
		case !strings.HasPrefix(a, "-") || flag != "test."+name:
		case !set && i+1 < len(args):
			value = args[i+1]
		default:
			value = v
		}
	}
	return value
}
