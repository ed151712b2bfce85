package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

const generated = "<!-- Generated: go generate ./cmd/bpf-kernel-check -->\n"

// golden compares a generated file of the repository, or writes it with -update.
func golden(t *testing.T, path, want string) {
	t.Helper()
	path = filepath.Join(repository, path)
	got, err := os.ReadFile(path)
	if err == nil && string(got) == want {
		return
	}
	if !*update {
		t.Errorf("%s is stale: go test ./cmd/bpf-kernel-check -run %s -update", path, t.Name())
		return
	}
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Each command has a page that is its help.
func TestReferenceOfCommands(t *testing.T) {
	pages := map[string]bool{"action.md": true}
	root := (&command{}).root()
	for _, cmd := range root.Commands() {
		if cmd.Hidden {
			continue
		}
		var help bytes.Buffer
		cmd.SetOut(&help)
		cmd.InitDefaultHelpFlag()
		if err := cmd.Help(); err != nil {
			t.Fatal(err)
		}
		page := fmt.Sprintf("%s# bpf-kernel-check %s\n\n%s.\n\n```text\n%s```\n", generated, cmd.Name(), cmd.Short, help.String())
		for _, sub := range cmd.Commands() {
			help.Reset()
			sub.SetOut(&help)
			sub.InitDefaultHelpFlag()
			if err := sub.Help(); err != nil {
				t.Fatal(err)
			}
			page += fmt.Sprintf("\n## %s %s\n\n%s.\n\n```text\n%s```\n", cmd.Name(), sub.Name(), sub.Short, help.String())
		}
		pages[cmd.Name()+".md"] = true
		golden(t, ".github/docs/reference/"+cmd.Name()+".md", page)
	}
	found, err := filepath.Glob(filepath.Join(repository, ".github/docs/reference/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		if !pages[filepath.Base(path)] {
			t.Errorf("%s is of no command: remove it", path)
		}
	}
}

// What old and poor kernels lack is in the code's tables, and machines.md has them.
func TestReferenceOfKernels(t *testing.T) {
	const page, begin, end = ".github/docs/machines.md", "<!-- Generated from here -->\n", "<!-- to here: go generate ./cmd/bpf-kernel-check -->\n"
	b, err := os.ReadFile(filepath.Join(repository, page))
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(b), begin)
	_, tail, also := strings.Cut(rest, end)
	if !ok || !also {
		t.Fatalf("%s: want %q and %q", page, begin, end)
	}
	var w strings.Builder
	w.WriteString("\n| without | since | a test |\n| --- | --- | --- |\n")
	for _, a := range image.Abilities() {
		fmt.Fprintf(&w, "| %s | %s | %s |\n", a.What, a.Since, a.Without)
	}
	w.WriteString("\n| off | | what follows |\n| --- | --- | --- |\n")
	for _, n := range image.Needs() {
		option, what := "`"+n.Option+"`", "can be tested"
		if n.Arch != "" {
			option += ", " + n.Arch
		}
		if n.Fatal {
			what = "**cannot be tested**"
		}
		fmt.Fprintf(&w, "| %s | %s | %s |\n", option, what, n.Then)
	}
	golden(t, page, head+begin+w.String()+"\n"+end+tail)
}

// Inputs and outputs are documented where people write them, in the actions.
func TestReferenceOfActions(t *testing.T) {
	files := readRepository(t)
	var b strings.Builder
	b.WriteString(generated + "# Inputs and outputs of the actions\n\nInputs have the names of the [command's flags](run.md). A list has one element on each line.\n")
	for _, a := range []struct{ which, title string }{
		{"run", "`elastic/bpf-kernel-check`: boot a shard, or boot the whole list and report"},
		{"plan", "`elastic/bpf-kernel-check/shard`: plan"},
		{"report", "`elastic/bpf-kernel-check/report`: merge and report"},
	} {
		w, err := readWorkflow(actionFiles[a.which], files[actionFiles[a.which]])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n%s", a.title, table(w, "inputs"), table(w, "outputs"))
	}
	golden(t, ".github/docs/reference/action.md", b.String())
}
