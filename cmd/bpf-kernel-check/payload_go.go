package main

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/kballard/go-shellquote"
	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/gobuild"
	"github.com/elastic/bpf-kernel-check/report"
)

// goOptions are the flags of run for the tests of Go packages.
type goOptions struct {
	patterns []string
	tags     string
	args     string
}

func (o *goOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.patterns, "go", nil, "build and run the tests of the Go packages that `PATTERN` matches, such as ./...; repeatable")
	f.StringVar(&o.tags, "tags", "", "with --go: build `TAGS`, as go test takes them")
	f.StringVar(&o.args, "go-args", "", "with --go: `'ARGS...'` of each test binary, as go test takes them, such as '-run TestLoad -short'")
}

func (o *goOptions) given() bool { return len(o.patterns) > 0 }

// validate checks the flags without looking at files.
func (o *goOptions) validate() error {
	switch _, err := shellquote.Split(o.args); {
	case !o.given() && o.tags != "":
		return usagef("--tags goes with --go: give both")
	case !o.given() && o.args != "":
		return usagef("--go-args goes with --go: give both")
	case err != nil:
		return usagef("--go-args %q: %w: want arguments, quoted as for a shell", o.args, err)
	}
	return nil
}

// shownArgs is --go-args without the secrets among its words.
func (o *goOptions) shownArgs() string {
	words, err := shellquote.Split(o.args)
	if shown := report.RedactWords(words); err == nil && !slices.Equal(shown, words) {
		return shellquote.Join(shown...)
	}
	return o.args
}

// flags returns the flags of debug for the same packages.
func (o *goOptions) flags() (words []string) {
	for _, pattern := range o.patterns {
		words = append(words, "--go", pattern)
	}
	if o.tags != "" {
		words = append(words, "--tags", o.tags)
	}
	if o.args != "" {
		words = append(words, "--go-args", o.shownArgs())
	}
	return words
}

// readGo builds the tests of the packages: each is a program of the payload. arch is
// the --arch that was given, if any.
func readGo(ctx context.Context, o payloadOptions, arch string, timeout time.Duration) (p namedPayload, err error) {
	p.arch = cmp.Or(arch, runtime.GOARCH)
	bad := func(err error) (namedPayload, error) {
		return p, usagef("--go %s: %w", shellquote.Join(o.golang.patterns...), err)
	}
	words, err := shellquote.Split(o.golang.args)
	if err != nil {
		return bad(err)
	}
	args := gobuild.Args(words)
	tests, err := gobuild.Build(ctx, gobuild.Options{
		Patterns: o.golang.patterns, Tags: o.golang.tags, Arch: p.arch, Cover: o.cover, Args: args,
		Warn: func(msg string) { p.warnings = append(p.warnings, "--go: "+msg) },
	})
	if err != nil {
		return bad(err)
	}
	wd, err := os.Getwd()
	if err != nil {
		return bad(err)
	}
	var programs []guest.TestProgram
	p.programFlags = map[string][]string{}
	for _, t := range tests.Programs {
		programs = append(programs, guest.TestProgram{Name: t.Package, Path: t.Path, Data: t.Data, Args: args, Dir: t.Dir, Cover: o.cover})
		p.programs = append(p.programs, t.Path)
		if dir, err := filepath.Rel(wd, filepath.Dir(t.Path)); err == nil && filepath.IsLocal(dir) {
			alone := o
			alone.golang.patterns = []string{strings.TrimSuffix("./"+dir, "/.")}
			p.programFlags[t.Package] = alone.flags()
		}
	}
	programs[0].Files = tests.Files // of all
	if p.Payload, err = guest.ProgramsPayload(programs, timeout); err != nil {
		return bad(err)
	}
	p.path = strings.Join(o.golang.patterns, " ")
	p.name = "the tests of " + count(len(programs), "Go package") + ", " + p.path
	return p, nil
}
