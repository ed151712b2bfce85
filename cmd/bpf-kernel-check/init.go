package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

const workflowName = ".github/workflows/kernels.yml"

func (c *command) initCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Write bpf-kernel-check.yaml and a workflow for a repository",
		Long: `Looks at a repository, whose root is DIR or the working directory, and writes
` + configName + ` and ` + workflowName + `: Go modules,
Cargo, CMake, an EventsTrace and BPF objects are known. It asks nothing; what it
chose is printed, and can be changed in the files.`,
		Example: `  bpf-kernel-check init
  bpf-kernel-check init ./probe --force`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return c.init(cmp.Or(strings.Join(args, ""), "."), force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace files that are there")
	return cmd
}

func (c *command) init(dir string, force bool) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for at := filepath.Dir(abs); !exists(filepath.Join(abs, ".git")) && at != filepath.Dir(at); at = filepath.Dir(at) {
		if exists(filepath.Join(at, ".git")) {
			return usagef("%s is below the root of a repository, where a workflow has to be: give %s", dir, at)
		}
	}
	root, err := os.OpenRoot(dir) // so that a link in a checkout leads nowhere
	if err != nil {
		return usagef("%w: give the root of a repository", err)
	}
	defer root.Close()
	p, err := lookAt(root.FS())
	if err != nil {
		return usagef("look at %s: %w", dir, err)
	}
	files := []struct{ name, text string }{{configName, p.file()}, {workflowName, p.workflow()}}
	for _, f := range files {
		if _, err := root.Lstat(f.name); err == nil && !force {
			return usagef("%s is there already: edit it, or replace it with --force", filepath.Join(dir, f.name))
		}
	}
	fmt.Fprintf(c.stdout, "found %s\n", p.what)
	for _, f := range files {
		if err := replaceFile(root, f.name, f.text); err != nil {
			return usagef("write %s: %w", filepath.Join(dir, f.name), err)
		}
		fmt.Fprintf(c.stdout, "wrote %s\n", filepath.Join(dir, f.name))
	}
	fmt.Fprintf(c.stdout, "\n%s\n", p.next)
	return nil
}

// replaceFile writes a file anew, and never into one that others have open or that
// has several names.
func replaceFile(root *os.Root, name, text string) error {
	err := root.MkdirAll(path.Dir(name), 0o755)
	if err == nil {
		err = root.Remove(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// A project is what init knows of a repository.
type project struct {
	what    string // for people
	payload string // lines of the file
	steps   string // of the workflow, before the action
	next    string // what to do, for people
}

// lookAt chooses what to test.
func lookAt(tree fs.FS) (project, error) {
	found, err := findFiles(tree)
	if err != nil {
		return project{}, err
	}
	p := project{next: "next: build as " + workflowName + " does, then bpf-kernel-check run"}
	if dirs := testedModules(found["go.mod"], found["_test.go"]); len(dirs) > 0 {
		p.what, p.next = "a Go module with tests, "+path.Join(dirs[0], "go.mod"), "next: bpf-kernel-check run"
		p.payload = "# The packages that have tests, each built as go test builds it.\ngo:"
		for _, dir := range dirs {
			if len(dirs) > 1 {
				p.what = "Go modules with tests, " + strings.Join(dirs, ", ")
				p.payload += "\n  -"
			}
			p.payload += " " + strings.TrimSuffix("./"+dir, "/.") + "/..."
		}
		p.payload += "\n"
		p.steps = "      - uses: actions/setup-go@v6\n        with:\n          go-version-file: " + path.Join(dirs[0], "go.mod") + "\n"
		return p, nil
	}
	first := func(name string) string { return append(found[name], "")[0] }
	switch cargo, cmake := first("Cargo.toml"), first("CMakeLists.txt"); {
	case first("EventsTrace") != "":
		file := path.Join(first("EventsTrace"), "EventsTrace")
		p.what, p.next = "an EventsTrace, "+file, "next: bpf-kernel-check run"
		p.payload = "# Each kind of event that it must report is a test.\nevents-trace: ./" + file + "\n"
	case slices.ContainsFunc(found["CMakeLists.txt"], func(dir string) bool { return path.Base(dir) == "EventsTrace" }):
		p.what = "the source of an EventsTrace"
		p.payload = "# Each kind of event that it must report is a test.\nevents-trace: ./build/bpf-events-trace\n"
		p.steps = buildStep("Build EventsTrace",
			"cmake -S "+cmake+" -B build -DBUILD_STATIC_EVENTSTRACE=TRUE", "cmake --build build --target EventsTrace --parallel",
			`cp "$(find build -name EventsTrace -type f | head -n 1)" build/bpf-events-trace`)
	case cargo != "":
		p.what = "a Cargo package, " + path.Join(cargo, "Cargo.toml")
		p.payload = builtTests
		p.steps = buildStep("Build the tests",
			"cargo test --no-run --message-format=json --manifest-path "+path.Join(cargo, "Cargo.toml")+" >cargo.json",
			`jq -r 'select(.profile.test and .executable) | "name=" + ([(.manifest_path | split("/")[-2]), .target.kind[0], .target.name]`,
			`  | map(`+plainNames+`) | join("/")) + " -- " + (.executable | @sh)' cargo.json >bpf-tests.txt`,
			"sort -o bpf-tests.txt bpf-tests.txt")
	case cmake != "":
		p.what = "a CMake project, " + path.Join(cmake, "CMakeLists.txt")
		p.payload = builtTests
		p.steps = buildStep("Build the tests",
			"cmake -S "+cmake+" -B build", "cmake --build build --parallel", "ctest --test-dir build --show-only=json-v1 >ctest.json",
			`jq -r '.tests[] | select(.command) | "name=" + (.name | `+plainNames+`) + " -- " + (.command | @sh)' ctest.json >bpf-tests.txt`)
	case first(".bpf.o") != "" || first(".bpf.c") != "":
		dirs := found[".bpf.o"]
		if p.what, p.next = "BPF objects", "next: bpf-kernel-check run"; len(dirs) == 0 {
			dirs = found[".bpf.c"]
			p.what, p.next = "the source of BPF objects", "next: build as "+workflowName+" does, then bpf-kernel-check run"
			p.steps = buildStep("Build the BPF objects",
				"sudo apt-get update", "sudo apt-get install -y clang libbpf-dev",
				"find . -name '*.bpf.c' | while read -r file; do",
				`  clang -O2 -g -target bpf -D__TARGET_ARCH_x86 -I/usr/include/x86_64-linux-gnu -c "$file" -o "${file%.c}.o"`,
				"done")
		}
		p.payload = "# Each program of these is a test: it must load.\nobjects:\n"
		for _, dir := range dirs {
			p.payload += "  - '" + path.Join(dir, "*.bpf.o") + "'\n"
		}
	default:
		p.what = "nothing to test: no Go module with tests, no Cargo.toml, CMakeLists.txt, EventsTrace, *.bpf.c or *.bpf.o"
		p.payload = whatToRun
		p.next = "next: say in " + configName + " what to run"
	}
	return p, nil
}

// testedModules returns the modules' directories that have tests: a test is of
// the module that is nearest above it.
func testedModules(modules, tests []string) []string {
	tested := map[string]bool{}
	for _, dir := range tests {
		for ; !slices.Contains(modules, dir) && dir != "."; dir = path.Dir(dir) {
		}
		tested[dir] = true
	}
	return slices.DeleteFunc(slices.Clone(modules), func(dir string) bool { return !tested[dir] })
}

const builtTests = "# The workflow builds the tests and lists them.\ntests: bpf-tests.txt\n"

const whatToRun = `# What to run in each kernel: one of these.
# go: ./...                 # Go packages that have tests
# test: ./check --verbose   # a program, which the workflow has to build first
# objects: 'build/*.bpf.o'  # BPF objects
`

// plainNames is a filter of jq that leaves what a program's name may have.
const plainNames = `gsub("[^A-Za-z0-9_.+~@-]"; "_")`

// buildStep is a step of a workflow with the lines of a script.
func buildStep(name string, script ...string) string {
	return "      - name: " + name + "\n        run: |\n          " + strings.Join(script, "\n          ") + "\n"
}

// maxLooked bounds the files that init looks at.
const maxLooked = 100_000

// Only names that stand in YAML and in a shell as they are. A directory of
// others, of dependencies or of test data is passed over.
var (
	plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	notOurs   = []string{"vendor", "node_modules", "testdata", "target", "third_party"}
)

// findFiles returns the directories, "." for the root, that have files of a kind,
// by the kind's name. Those near the root come first.
func findFiles(tree fs.FS) (map[string][]string, error) {
	found := map[string][]string{}
	looked := 0
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch looked++; {
		case looked > maxLooked:
			return fs.SkipAll
		case err != nil && name == ".":
			return err
		case err != nil: // of a directory that cannot be read
			return fs.SkipDir
		case name == ".":
			return nil
		case d.IsDir() && (!plainName.MatchString(d.Name()) || slices.Contains(notOurs, d.Name())):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		for _, kind := range []string{"go.mod", "_test.go", "Cargo.toml", "CMakeLists.txt", "EventsTrace", ".bpf.o", ".bpf.c"} {
			is := d.Name() == kind || strings.ContainsAny(kind[:1], "._") && strings.HasSuffix(d.Name(), kind)
			if dir := path.Dir(name); is && !slices.Contains(found[kind], dir) {
				found[kind] = append(found[kind], dir)
			}
		}
		return nil
	})
	depth := func(dir string) int { return strings.Count(path.Join("root", dir), "/") }
	for _, dirs := range found {
		slices.SortStableFunc(dirs, func(a, b string) int { return cmp.Compare(depth(a), depth(b)) })
	}
	return found, err
}

// file is the text of bpf-kernel-check.yaml.
func (p project) file() string {
	return "# yaml-language-server: $schema=https://raw.githubusercontent.com/elastic/bpf-kernel-check/" + cmp.Or(releaseVersion, "main") + "/" + schemaPath + `
# What bpf-kernel-check runs, here and in ` + workflowName + `. The keys are
# the flags of bpf-kernel-check run.

# The kernels that your users have; bpf-kernel-check list shows which these are.
kernels:
  - debian:bookworm:cloud-amd64 # 6.1
  - debian:trixie:cloud-amd64 # 6.12

` + p.payload + `
out: bpf-results # leave it out of git
timeout-total: 50m # less than timeout-minutes of the workflow, to have time for reports
comment: true # on pull requests
`
}

const schemaPath = "cmd/bpf-kernel-check/bpf-kernel-check.schema.json"

// workflow is the text of the workflow.
func (p project) workflow() string {
	return `name: BPF kernels
on:
  push:
    branches: [main, master]
  pull_request:
permissions:
  contents: read
  pull-requests: write # for the comment
jobs:
  kernels:
    runs-on: ubuntu-latest
    timeout-minutes: 60
    steps:
      - uses: actions/checkout@v6
` + p.steps + `      # It takes its settings from ` + configName + `.
      - uses: elastic/bpf-kernel-check@v1
`
}
